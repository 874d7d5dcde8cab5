"""Calls into the libraries that load models: kept quiet, and what they raise told in one line."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager

_LONGEST = 200  # characters of somebody else's error that a sentence of ours holds


@contextmanager
def quiet() -> Generator[None]:
    """Keeps the libraries' progress bars and warnings off the terminal, and leaves their settings as found."""
    from transformers.utils import logging as library

    hub = logging.getLogger("huggingface_hub")
    level, bars, hub_level = library.get_verbosity(), library.is_progress_bar_enabled(), hub.level
    library.set_verbosity(logging.ERROR)
    library.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            library.enable_progress_bar()


def one_line(error: BaseException) -> str:
    """The first sentence of an error's text, in one line and without a full stop; its kind where it has no text."""
    text = " ".join(str(error).split()).partition(". ")[0]
    return (text or type(error).__name__)[:_LONGEST].rstrip(".")
