"""The largest few log-probabilities of every position, as interfaces to models give them.

A row that is kept is (T, 2 K): the ids of K tokens, then their log-probabilities, largest first. Of all others it says
that they are at most the least of these. So rows are (T, V) with the others *at* the least, just below it, so that it
stays known which are named. A candidate is compared by its own log-probability wherever a token is named, also if it
has larger ones elsewhere, and at all others by the larger of its own and its least of K (`apart`). Both move no
farther than the log-probabilities themselves do, also where two of them change places at the border: an engine may name
either of two that tie.
"""

import torch

from numerics.dtypes import name_of
from proofs.errors import InvalidInput


def leading(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Log-probabilities (…, V), those behind the `count` largest raised to just below the least of these."""
    largest = rows.topk(min(count, rows.shape[-1]), dim=-1)
    return _just_below(largest.values[..., -1:]).expand_as(rows).scatter(-1, largest.indices, largest.values)


def apart(rows: torch.Tensor, observed: torch.Tensor, count: int | None) -> torch.Tensor:
    """How log-probabilities (…, n, V) of candidates differ from rows (n, V) of the `count` largest; None for all."""
    if count is None:
        return rows - observed
    least, own = (one.topk(count, dim=-1).values[..., -1:] for one in (observed, rows))
    return torch.where(observed >= least, rows - observed, rows.maximum(own) - least)


def stored_values(rows: torch.Tensor, count: int | None) -> torch.Tensor:
    """The log-probabilities (…, K) that rows (…, V) of the K largest were made of; other rows as they are."""
    return rows if count is None else rows.topk(count, dim=-1).values


def _just_below(values: torch.Tensor) -> torch.Tensor:
    return torch.nextafter(values, values.new_tensor(-torch.inf))


def check_top(count: int, vocabulary: int) -> None:
    """Raises InvalidInput for more log-probabilities of a position than there are."""
    if count > vocabulary:
        raise InvalidInput(
            f"Expected a top of at most {vocabulary} for logprobs, one for each token there is, but got top={count}; "
            "name fewer, or leave it away for all."
        )


def packed(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Ids and log-probabilities (T, 2 K) of rows (T, V) of all of them."""
    check_top(count, rows.shape[-1])
    largest = rows.topk(count, dim=-1)
    return torch.cat([largest.indices.to(rows.dtype), largest.values], dim=-1)


def without_ids(rows: torch.Tensor, count: int | None) -> torch.Tensor:
    """The log-probabilities of rows (T, 2 K); rows of another shape, or where none are counted, as they are."""
    return rows if count is None or rows.shape[-1] != 2 * count else rows[..., count:]


def unpacked(rows: torch.Tensor, vocabulary: int, count: int, number: int) -> torch.Tensor:
    """The rows (T, V) that (T, 2 K) stand for; those of prompt `number`, for the message.

    Raises:
        InvalidInput: other shapes, a type that rounds ids, ids that are none or named twice, more of them than there
            are, or a log-probability above 0.
    """
    check_top(count, vocabulary)
    if 2 / torch.finfo(rows.dtype).eps < vocabulary - 1:
        raise InvalidInput(
            f"Expected ids below {vocabulary} in float32, but tensor {number} is {name_of(rows.dtype)}, which rounds "
            "them; save ids and log-probabilities as float32."
        )
    if rows.ndim != 2 or rows.shape[1] != 2 * count:
        raise InvalidInput(
            f"Expected ids and log-probabilities of {count} tokens, shape (T, {2 * count}), but tensor {number} has "
            f"shape {tuple(rows.shape)}; correct --top, or save ids first and log-probabilities behind them."
        )
    ids, values = rows[:, :count], rows[:, count:]
    sound = bool(((ids >= 0) & (ids < vocabulary) & (ids == ids.round())).all()) and bool((values <= 0).all())
    if not sound or bool((ids.sort(dim=1).values.diff(dim=1) == 0).any()):
        raise InvalidInput(
            f"Expected {count} ids below {vocabulary}, each once, and log-probabilities of at most 0 behind them, but "
            f"tensor {number} has others; save ids first and log-probabilities behind them."
        )
    values = values.to(torch.promote_types(values.dtype, torch.float32))  # half types have no number just below
    return _just_below(values.amin(1, keepdim=True)).expand(-1, vocabulary).scatter(1, ids.long(), values)
