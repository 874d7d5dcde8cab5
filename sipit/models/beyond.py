"""Whether a body runs prompts longer than the context that its configuration names: it is tried, and no name believed.

Tables of positions and biases of one context end there. Rotary tables do not, and nothing does where no position is
told: then the number is what a model was made for, and no limit.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import nn

from numerics.networks.library import asked_of_a_class, unlogged
from numerics.networks.shrinking import small_copy
from numerics.networks.text_class import context_of, new_text_model, with_context
from proofs.errors import Unsupported
from sipit.models.abilities import Abilities
from sipit.models.refusals import Refusals

SHORT = 32  # tokens of the context of the copy that is run for twice as many
_TRIED = 12  # tokens behind the context, where a body can be told their positions


def far_positions_run(body: Any, embedding: nn.Embedding, abilities: Abilities, context: int) -> bool:
    """Whether a body that understands positions runs at those behind its context.

    Args:
        body: with rotary tables, so that it looks at the positions that it is told.
        embedding: its table of tokens.
        abilities: what it was found to understand.
        context: in tokens.
    """
    places = torch.arange(_TRIED, device=embedding.weight.device)[None]
    with Refusals(), torch.inference_mode():
        far = body(input_ids=places % embedding.num_embeddings, **abilities.arguments(positions=places + context))
        return bool(torch.isfinite(far[0]).all())
    return False


def its_class_runs(body: nn.Module, config: Any, abilities: Abilities, device: torch.device) -> bool:
    """Whether a small copy of a body's class, random and of a short context, runs prompts of twice that context.

    Args:
        body: its class is asked; where the library builds another one, the answer would be about that.
        config: of the text decoder; its options are kept.
        abilities: what the body was found to understand.
        device: where the body lies, for a class may run otherwise there.
    """
    told = asked_of_a_class(Unsupported, "Expected a copy that runs, but it does not", "the context is its limit")
    with suppress(Unsupported), told, unlogged(), torch.random.fork_rng(devices=()), torch.inference_mode():
        short = with_context(small_copy(config), SHORT)
        length = 2 * (context_of(short) or SHORT)
        parts = new_text_model(short).to(device).eval().modules()
        ids = torch.arange(length, device=device)[None] % short.vocab_size
        small: Any = next(part for part in parts if type(part) is type(body))
        states = small(input_ids=ids, **abilities.arguments())[0]
        return states.shape[1] == length and bool(torch.isfinite(states).all())
    return False
