"""How far a run in float64 errs, where nothing more exact runs beside it.

The library casts norms, tables and softmax of some classes to float32 inside a float64 run, and leaves others alone. So
it is watched which types a run makes tensors of; the least exact of them is what its blocks are perturbed by. A table
in a half type that no token enters, such as Falcon's biases, is what the network is, and no error of the run.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sipit.models.network import Network
from sipit.noise.spread import perturbed_runs, rounding_unit
from sipit.noise.tolerance import SAFETY

TRIED = 8  # tokens of the prompt whose run is watched
PERTURBED = 4  # runs of a prompt, each with other perturbations


def unit_within(network: Network) -> float:
    """The rounding unit of the least exact type in which a run makes numbers."""
    model = network.model
    ids = model.ordinary_ids(min(TRIED, model.limit or TRIED))
    with _TypesSeen(ids) as seen:
        network.anew().run(ids)
    return rounding_unit(*seen.types, device=model.device)


def float64_errors(network: Network, token_ids: torch.Tensor, unit: float) -> torch.Tensor:
    """How far a run of a prompt (T,) errs at every position, absolute L2, shape (T,), float64.

    `SAFETY` times the largest deviation of perturbed runs: where every operation rounds, real errors are a few times
    the spread. Measured, not a bound.

    Args:
        network: of a model in float64.
        token_ids: the prompt.
        unit: of the perturbations (`unit_within`).
    """
    runs = perturbed_runs(network, token_ids, unit, samples=PERTURBED)
    return SAFETY * (runs[1:] - runs[0]).norm(dim=2).amax(0)


class _TypesSeen(TorchDispatchMode):
    """While it is entered, remembers the floating types of all tensors that are made: half types where of `first`."""

    def __init__(self, first: torch.Tensor) -> None:
        super().__init__()
        self.types: set[torch.dtype] = set()
        self._of_it = {_place(first): first}  # which are kept, so that no other takes their place

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        made = [one for one in tree_leaves(found) if torch.is_tensor(one)]
        of_it = any(_place(one) in self._of_it for one in tree_leaves((args, kwargs)) if torch.is_tensor(one))
        if of_it:
            self._of_it |= {_place(one): one for one in made}
        self.types |= {one.dtype for one in made if one.is_floating_point() and (of_it or one.dtype.itemsize > 2)}
        return found


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
