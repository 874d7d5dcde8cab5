"""Whatever numpy, torch or a list can mean by hidden states, as tensors of floats."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import torch

from proofs.arguments import nothing_hidden
from proofs.errors import InvalidInput

AGAIN = "capture it again, in a wider dtype if it overflowed"
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def as_arrays(given: Any, *, heads: bool = False, ids: bool = False) -> tuple[torch.Tensor, ...]:
    """One tensor per prompt. One table of rows alone is one prompt, a stack (N, T, d) alone is N.

    With `heads` one tensor alone stays as it is: which of its axes is which is known beside a model. With `ids` whole
    numbers are meant, of whatever type.

    Raises:
        InvalidInput: what holds no numbers, or numbers that are no states: whole ones, complex ones, eight bits, or
            such as a mask hides; what has no order.
    """
    if isinstance(given, torch.Tensor) and given.is_nested:
        given = given.unbind()
    if isinstance(given, torch.Tensor | np.ndarray):
        given = list(given) if given.ndim == 3 and not heads else [given]
    if isinstance(given, Mapping):
        given = list(given.values())
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Set):
        raise InvalidInput(f"Expected one (T, d) array per prompt, but got a {type(given).__name__}; give a list.")
    return tuple(_as_rows(number, array, ids) for number, array in enumerate(given))


def check_finite(what: str, rows: torch.Tensor, way: str = AGAIN) -> None:
    """Raises InvalidInput where states (…, T, n) have NaN or infinity; `what` says whose they are, `way` what to do."""
    finite = torch.isfinite(rows).all(dim=-1)
    if not bool(finite.all()):
        position = int(torch.nonzero(~finite)[0, -1])
        raise InvalidInput(
            f"Expected finite states, but {what} of shape {tuple(rows.shape)} has NaN or infinity at position "
            f"{position}; {way}."
        )


def _as_rows(number: int, given: Any, ids: bool) -> torch.Tensor:
    """The rows of one prompt."""
    nothing_hidden(f"tensor {number}", given)
    try:
        rows = given.detach() if isinstance(given, torch.Tensor) else from_numpy(np.array(given))
        rows = rows.to_dense() if rows.layout != torch.strided else rows
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InvalidInput(
            f"Expected an array of numbers of shape (T, d), but tensor {number} is a {type(given).__name__} that is "
            "none; give a tensor, a numpy array or rows of numbers."
        ) from None
    if ids and not (rows.is_complex() or rows.dtype == torch.bool):
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    if rows.dtype not in _FLOATS:
        raise InvalidInput(
            f"Expected states in float64, float32, bfloat16 or float16, but tensor {number} holds "
            f"{str(rows.dtype).removeprefix('torch.')}; undo its scale, and give floats."
        )
    if rows.is_meta:
        raise InvalidInput(f"Expected states, but tensor {number} is on the meta device and holds none; load it first.")
    return rows


def from_numpy(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """The tensor of an array of any order of bytes or axes; types that torch has not become the nearest that it has."""
    if array.dtype.name == "bfloat16":  # of a library beside numpy
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def way_out(shape: tuple[int, ...], width: int, streams: int | None) -> str:
    """What to do about a tensor of another shape than (T, width), where a token may have several streams."""
    if len(shape) == 2 and shape[0] == width:
        return "transpose it"
    if streams is not None and streams * shape[-1] == width:
        return f"a token has {streams} streams of {shape[-1]} numbers there: give all of them side by side"
    return "check the model and how the states were saved"
