"""What a change of states, or of weights, costs: how far the predicted distribution of the next token moves."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sipit.models import LanguageModel
from sipit.models.network import Network


def divergences(before: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(before || after) in nats position by position, and whether the likeliest token is the same; of logits (T, V).

    Both of shape (T,), computed in float64; a token that both rule out counts nothing. Where the logits behind a change
    are no numbers any more the divergence is NaN, and nothing is the same.
    """
    p, q = (logits.cpu().double().log_softmax(1) for logits in (before, after))
    terms = torch.where(p > -torch.inf, p.exp() * (p - q), 0.0)
    return terms.sum(1).clamp_min(0.0), (p.argmax(1) == q.argmax(1)) & ~q.isnan().any(1)


def summary(kl: Sequence[torch.Tensor], same: Sequence[torch.Tensor]) -> dict[str, Any]:
    """`kl` {`mean`, `p50`, `p99`, `max`} in nats and `same_top1`, over all positions; None where there are none.

    `kl` is None as well where a position's is beyond every number: the rest of a network may overflow behind a change.
    """
    if not kl:
        return {"kl": None, "same_top1": None}
    values, alike = torch.cat(list(kl)), torch.cat(list(same))
    known = bool(values.isfinite().all())
    return {
        "kl": {
            "mean": float(values.mean()), "p50": float(values.quantile(0.5)), "p99": float(values.quantile(0.99)),
            "max": float(values.max()),
        } if known else None,
        "same_top1": float(alike.double().mean()),
    }  # fmt: skip


def predictions(
    model: LanguageModel,
    token_ids: Sequence[int],
    *,
    layer: int | None = None,
    changed: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor | None:
    """Logits of the next token behind every position of a prompt, (T, V), from states at a layer (default: the last).

    None where there is no head, or the rest does not run alone; `changed` is what becomes of the states.
    """
    network = Network(model, model.layers if layer is None else layer)
    states = network.run(torch.tensor([list(token_ids)], device=model.device))[0]
    return network.next_token_logits(states if changed is None else changed(states), token_ids=token_ids)
