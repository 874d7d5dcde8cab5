"""What else than the site that it is taken for a name of another program can mean in a model.

llama.cpp has one name for tensors of many architectures: `ffn_out` is what the MLP returns, in Gemma before the norm
behind it and so not what is added; `Vcur` stands twice where values have a bias; `attn_norm` is one of two norms of a
Falcon. TransformerLens changes weights as it loads them, unless it is told not to: what is written to a stream before
a LayerNorm is centred, and biases of values are folded into those of the output. Its hook of a half is behind the norm.
"""

from collections.abc import Sequence
from typing import cast

import torch

from proofs.errors import InvalidInput
from sipit.models import LanguageModel
from sipit.observations.halves import HALVES, Half, returned_by_matrix
from sipit.observations.norms import input_norms, norms_of_input
from sipit.observations.sites import without_mean, without_mean_by_chance
from sipit.observations.value_bias import values_without_bias
from sipit.states.readers.contents import Place

HOOKS = "hooks of TransformerLens"
LLAMA_CPP = "tensors of llama.cpp"
_FOLDED = "that without its bias, which TransformerLens folds away by default (fold_value_biases)"
_CENTRED = "that less the mean of every row, which TransformerLens takes away by default (center_writing_weights)"


def other_meaning(
    model: LanguageModel | None, program: str, place: Place, arrays: Sequence[torch.Tensor]
) -> str | None:
    """What else tensors (T, n) that a program names for a place can be; None where they are that place's alone.

    Raises:
        InvalidInput: only a model could tell, and there is none.
        Unsupported: the model has no such half.
    """
    site, layer = place
    if program == HOOKS and site in {*HALVES, "residual", "centred"}:
        rows = torch.cat(list(arrays))
        doubtful = without_mean(rows) and (site in HALVES or without_mean_by_chance(rows))
        other = "that with its mean left in" if site == "centred" else _CENTRED
        return other if doubtful else None
    if program not in (HOOKS, LLAMA_CPP) or site not in {"attention-out", "mlp-out", "normed", "values"}:
        return None
    if model is None:
        raise InvalidInput(
            f"Expected a model to tell whether {program} are {place} in it, but got none; name it with model=."
        )
    if not isinstance(layer, int) or layer > model.layers - (site in {"normed", "values"}):
        return None  # which is refused as a layer that the model has not
    if site == "normed":
        return "what another norm makes of the same" if len(norms_of_input(model)[layer]) > 1 else None
    if site != "values":
        before = "what is returned in front of the norm that stands behind it"
        return None if returned_by_matrix(model, layer, cast(Half, site)) else before
    shifted = program == HOOKS and getattr(input_norms(model)[layer], "bias", None) is not None
    if values_without_bias(model, layer) and not shifted:
        return None
    return _FOLDED if program == HOOKS else "what its matrix returns, before a bias or whatever else follows"
