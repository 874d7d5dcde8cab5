"""Calls into the libraries that describe models: kept quiet, and what they raise told in one sentence of ours."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from proofs.errors import SipitError
from proofs.threads import turn

_LONGEST = 200  # characters of somebody else's error that a sentence of ours holds


@contextmanager
def quiet() -> Generator[None]:
    """Keeps the libraries' progress bars and warnings off the terminal, and leaves their settings as found.

    These are those of the process, so that threads take turns.
    """
    from transformers.utils import logging as library

    hub = logging.getLogger("huggingface_hub")
    with turn:
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


@contextmanager
def unlogged() -> Generator[None]:
    """As `quiet`, and nothing up to errors is logged by anybody: where a model is only described, these come as
    exceptions, and what is logged beside them (torch.export does) is about running it.
    """
    with turn:
        disabled = logging.root.manager.disable
        logging.disable(max(disabled, logging.ERROR))
        try:
            with quiet():
                yield
        finally:
            logging.disable(disabled)


@contextmanager
def asked_of_a_class(kind: type[SipitError], expected: str, way_out: str) -> Generator[None]:
    """Within, whatever a class of a library raises becomes an error of this kind, a sentence with these ends.

    Such classes raise anything at all on what a stranger has written, so that no list of exceptions would do. What is
    a sentence already, and a lack of memory, which is not about what was given, go on their way.
    """
    try:
        yield
    except (SipitError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - see above
        raise kind(f"{expected}: {one_line(error)}; {way_out}.") from None


def one_line(error: BaseException) -> str:
    """The first sentence of an error's text, in one line and without a full stop, or its kind."""
    text, kind = " ".join(str(error).split()).partition(". ")[0], type(error).__name__
    if isinstance(error, KeyError) and text:  # which says the name alone
        text = f"it knows nothing by the name {text}"
    return (text or kind)[:_LONGEST].rstrip(".")
