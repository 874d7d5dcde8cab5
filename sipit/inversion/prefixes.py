"""Whether the states of a prefix are those that it has in a longer prompt: asked where a search has found nothing.

A search runs prefixes, and takes for granted that the rest of the prompt changes nothing of them. Calibration shows it
for short prompts; attention that chooses so many keys, say, is another thing beyond that many tokens.
"""

from collections.abc import Sequence

import torch

from proofs.errors import Unsupported
from sipit.models.abilities import agree_closely
from sipit.models.length import whole_length
from sipit.models.network import Network
from sipit.noise.distances import relative_distance
from sipit.prompts.calibration import calibration_prompts

_ROUNDING = 16  # times a tolerance that rounding does not explain


def expect_prefixes_as_alone(network: Network, token_ids: Sequence[int], length: int, tolerance: float) -> None:
    """Raises Unsupported where prefixes of a prompt of `length` tokens have other states when they are run alone.

    Args:
        token_ids: what was found; repeated, they stand for the whole prompt, and where there are none, a text does.
        tolerance: relative L2, of the states of the network; one that was given may be less than rounding, so that
            states that only rounding tells apart are taken for the same.
    """
    if length < 2:
        return
    network, model = network.anew(), network.model
    ids = torch.tensor(token_ids or calibration_prompts(model)[0], device=model.device)
    ids = ids.repeat(-(-length // len(ids)))[None, :length]
    begin = max(1, len(token_ids))
    tried = sorted({min(begin + more, length - 1) for more in (0, *(2**k for k in range(length.bit_length())))})
    with whole_length(length):
        inside = network.run(ids)[0].double()
        for some in tried:
            alone = network.run(ids[:, :some])[0].double()
            apart = float(relative_distance(alone, inside[:some], damped=False).max())
            if apart > _ROUNDING * tolerance and not agree_closely(alone, inside[:some], model.dtype):
                raise Unsupported(
                    f"Expected states that depend on the tokens before them alone, but in {model.name} the "
                    f"first {some} tokens of a prompt of {length} have states that differ by {apart:.1e} (relative) "
                    "from those that they have alone: nothing is told of states of so many tokens; capture fewer."
                )
