"""Calls into the library that describes models."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet() -> Generator[None]:
    """The libraries' own warnings are about running models, not about reading them; errors come as exceptions."""
    import transformers

    level, disabled = transformers.logging.get_verbosity(), logging.root.manager.disable
    transformers.logging.set_verbosity_error()
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(level)
        logging.disable(disabled)
