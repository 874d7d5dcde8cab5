"""The tokenizer beside a model, or why there is none; a model without one is worked with by token ids."""

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput
from proofs.network.tensor_file import check_pointer
from sipit.models.files import file_of, read_object
from sipit.models.growth import MOST, growth
from sipit.models.library import missing_library, one_line, quiet
from sipit.models.stored import gguf_file

NO_TOKENIZER = "has no tokenizer"
_TOO_LONG = f"that may make a text more than {MOST} times as long, which is not run"
_TRIED = 4096  # tokens whose texts are tried, before it is not told where special ones stand
_SETTINGS, _VERSIONS = "tokenizer_config.json", "fast_tokenizer_files"  # by which the library chooses what it loads
_PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")  # another library reads them
_FILES = ("tokenizer.json", *_PIECES, "tiktoken.model", "vocab.json", "vocab.txt", _SETTINGS)


def find_tokenizer(name: str) -> tuple[Any, str]:
    """The tokenizer of a directory, a GGUF file or a hub id; or None, and what is to be said of the model then."""
    from transformers import AutoTokenizer

    packed = gguf_file(name)
    if packed is None:
        if _names_others(name):
            return None, f"has a {_SETTINGS} that names other files ({_VERSIONS}), which are not read"
        path = file_of(name, _FILES[0])  # priced before it is loaded: that runs its steps on tokens that were added
        if path is not None and _grows(path.read_bytes):
            return None, f"has a {_FILES[0]} {_TOO_LONG}"
    where, given = (name, {}) if packed is None else (str(packed.parent), {"gguf_file": packed.name})
    try:
        with quiet(), _panics_as_errors():
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **given)
            backend = getattr(tokenizer, "backend_tokenizer", None)
            if backend is not None and _grows(backend.to_str):  # be it of other files
                return None, f"has a tokenizer {_TOO_LONG}"
            known = {*tokenizer.get_vocab().values()} - {*tokenizer.all_special_ids}
    except Exception as error:  # noqa: BLE001 - tokenizers raise anything, the bare class among it
        return None, _why_none(name, packed is not None, error)
    # Where a folder has no tokenizer files, the library makes an empty tokenizer up for some families.
    return (tokenizer, "") if len(known) > 1 else (None, NO_TOKENIZER)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Writes the files of a tokenizer into a folder.

    Raises:
        OSError: they cannot be written; the library raises the bare class for the one that it writes itself.
    """
    try:
        with _panics_as_errors():
            tokenizer.save_pretrained(folder)
    except Exception as error:
        if "os error" not in str(error):
            raise
        raise OSError(one_line(error)) from error


def token_ids_of(tokenizer: Any, text: str, *, special_tokens: bool = True) -> list[int]:
    """The ids of a text.

    Raises:
        InvalidInput: the tokenizer gives up on it, as a pattern does that tries too many ways.
    """
    try:
        with _panics_as_errors():  # verbose=False: the library warns about long texts, which we refuse in our own words
            return list(tokenizer(text, add_special_tokens=special_tokens, verbose=False).input_ids)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - tokenizers raise anything
        raise InvalidInput(
            f"Expected a text that the tokenizer of the model reads, but it gives up on one of {len(text)} characters "
            f"({one_line(error)}); give token_ids."
        ) from None


def text_of(tokenizer: Any, token_ids: list[int]) -> str | None:
    """The text of ids; None without a tokenizer, or where it does not know them or gives up: the ids stay known."""
    if tokenizer is None or any(token >= len(tokenizer) for token in token_ids):
        return None
    try:
        with _panics_as_errors():
            return str(tokenizer.decode(token_ids))
    except Exception:  # noqa: BLE001 - tokenizers raise anything
        return None


def special_ends_of(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The special tokens that a tokenizer puts in front of a text, and those behind it; None where that is not seen.

    They are seen around a text that it makes ordinary tokens of: which letters it knows, it says itself.
    """
    special = {*tokenizer.all_special_ids}
    for token in range(min(len(tokenizer), _TRIED)):
        text = None if token in special else text_of(tokenizer, [token])
        plain, whole = (token_ids_of(tokenizer, text or "", special_tokens=added) for added in (False, True))
        if not plain or special & {*plain}:
            continue
        begins = [at for at in range(len(whole)) if whole[at : at + len(plain)] == plain]
        if len(begins) == 1:
            return tuple(whole[: begins[0]]), tuple(whole[begins[0] + len(plain) :])
    return None


def digest_of_tokenizer(tokenizer: Any) -> str:
    """The sha256 of all that says which ids a tokenizer makes of a text, and which text of ids."""
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    said = repr(sorted(tokenizer.get_vocab().items())) if backend is None else backend.to_str()
    return hashlib.sha256(said.encode(errors="backslashreplace")).hexdigest()


@contextmanager
def _panics_as_errors() -> Generator[None]:
    """Raises as an Exception what panics in another language, which is none."""
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic derives from nothing else
        raise RuntimeError(one_line(error)) from None


def _names_others(name: str) -> bool:
    """Whether the library is told to load another file than the `tokenizer.json` that is looked at."""
    path = file_of(name, _SETTINGS)
    try:
        return path is not None and _VERSIONS in read_object(path)
    except InvalidInput:
        return False  # which is told where it is loaded


def _grows(read: Callable[[], bytes | str]) -> bool:
    """Whether a `tokenizer.json` may make a text far longer; one that cannot be read is for the library to refuse."""
    try:
        return growth(read()) > MOST
    except (OSError, ValueError, RecursionError):
        return False


def _why_none(name: str, packed: bool, error: Exception) -> str:
    """What is said of a model whose tokenizer was not to be had."""
    file, path = (
        ("GGUF tokenizer", None)
        if packed
        else next(((file, path) for file in _FILES if (path := file_of(name, file)) is not None), (None, None))
    )
    if file is None:
        return NO_TOKENIZER
    if path is not None:
        try:
            check_pointer(path)
        except InvalidInput:
            return f"has for {file} a Git LFS pointer, which git lfs pull replaces by the file"
    piece = file in _PIECES and find_spec("sentencepiece") is None
    library = "sentencepiece" if piece else missing_library(error)
    if library is not None:
        return f"needs {library} for its {file} (pip install {library})"
    return f"has a {file} that cannot be read here ({one_line(error)})"
