"""Inversions on many processes or machines, with Ray: actors with a model each, and a few prompts at a time for each.

The tolerance is derived once and handed out, so that every prompt is held against the same one. An actor that dies is
started again, and the prompts it had are inverted again.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from numerics.dtypes import name_of
from sipit.cluster.states import Cluster, expect_same
from sipit.inversion.batching import PROMPTS
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Inversion
from sipit.inversion.policies import make_policy
from sipit.models import load_model
from sipit.noise.tolerance import Format, Tolerance
from sipit.observations.network import observed_network
from sipit.observations.observation import Observation
from sipit.prefix.choice import prefix_opener
from sipit.record import Progress
from sipit.states.files import States
from sipit.states.manifest import Manifest

TURNS = 4  # tasks for each actor at least, so that none waits long for a hard prompt of another


class InversionWorker:
    """An actor: one model, and the states it is given."""

    def __init__(
        self, model: tuple[str, str, str, int, str], observation: Observation, policy: str, tolerance: Tolerance,
        rivals: int, adaptive: bool, positions: int, budget: float, tolerances: Mapping[Format, Tolerance],
        manifest: Manifest | None,
    ) -> None:  # fmt: skip
        name, dtype, device, seed, self._digest = model
        network = observed_network(load_model(name, dtype=dtype, device=device, seed=seed), observation)
        self._inverter = Inverter(
            network=network,
            open_prefix=prefix_opener(network),
            policy=make_policy(policy, network, positions=positions),
            tolerance=tolerance,
            rivals=rivals,
            adaptive=adaptive,
            budget=budget,
            tolerances=tolerances,
        )
        self._observation, self._manifest = observation, manifest

    def run(self, arrays: Sequence[torch.Tensor], truth: Sequence[Sequence[int]] | None) -> list[Inversion]:
        """The prompts of some tensors of states, held against the true ones where these are known.

        Raises:
            InvalidInput: as for `expect_same`.
        """
        expect_same(self._inverter.network.model, self._digest)
        states = States(tuple(arrays), manifest=self._manifest, observation=self._observation)
        return self._inverter.invert_all(states, truth=truth)


def invert_on_cluster(
    cluster: Cluster,
    inverter: Inverter,
    states: States,
    *,
    policy: str,
    seed: int = 0,
    truth: Sequence[Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> list[Inversion]:
    """As `Inverter.invert_all`, by the workers of a cluster; nothing of interrupted work is kept.

    Args:
        policy: the name of the inverter's policy; its probes are kept where the workers run, or trained there.
        seed: draws the parameters of a tiny model.
        progress: called with (positions decided, positions in all).
    """
    model = inverter.network.model
    size = max(1, min(PROMPTS, math.ceil(len(states) / (TURNS * cluster.workers))))
    cuts = [slice(start, start + size) for start in range(0, len(states), size)]
    parts = [(states.arrays[cut], None if truth is None else truth[cut]) for cut in cuts]
    named = (model.name, name_of(model.dtype), str(model.device), seed, model.digest)
    arguments = (
        named, states.observation, policy, inverter.tolerance, inverter.rivals, inverter.adaptive,
        sum(map(len, states)), inverter.budget, dict(inverter.tolerances), states.manifest,
    )  # fmt: skip
    found: dict[int, list[Inversion]] = {}
    for number, inversions in cluster.by_actors(InversionWorker, arguments, parts):
        found[number] = inversions
        if progress is not None:
            done = sum(len(array) for number in found for array in parts[number][0])
            progress(done, sum(map(len, states)))
    return [inversion for number in range(len(parts)) for inversion in found[number]]
