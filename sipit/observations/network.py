"""A model read at the sites of an observation: candidates are computed there, and compared there."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

from proofs.errors import Unsupported
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.observations.cached import empty_memory
from sipit.observations.observation import RESIDUAL, Observation
from sipit.observations.readers import AtHead, InCache, Keep, MadeOf, Reader
from sipit.observations.sites import find_reader
from sipit.observations.top import leading

THIN = 8  # numbers of a token below which the whole vocabulary is tested
_LENGTH = 4  # tokens of the prompt with which the width is seen


@dataclass(frozen=True)
class ObservedNetwork(Network):
    """The map from token ids to what `readers` take of a run, side by side, shape (batch, T, n).

    `layer` is that of the residual stream behind the deepest block that is run. A run ends once every reader has its
    tensor.
    """

    observation: Observation = RESIDUAL
    readers: tuple[Reader, ...] = ()

    @cached_property
    def width(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] - known once one prompt has been run
        """Numbers of a token."""
        return self.anew().run(self.model.ordinary_ids(_LENGTH)).shape[-1]

    @property
    def place(self) -> str:
        """See `Network.place`."""
        return self.observation.key

    def memory_for(self, memory: Any) -> Any:
        """See `Network.memory_for`; an empty one where a reader looks into it."""
        looked_into = memory is None and any(isinstance(reader, InCache) for reader in self.readers)
        return empty_memory(self.model) if looked_into else memory

    @property
    def body(self) -> Any:
        """The body, or with its head where logits are read."""
        return self.model.module if any(of_head(reader) for reader in self.readers) else self.model.decoder.body

    @contextmanager
    def reading(self, keep: Keep, memory: Any = None) -> Generator[None]:
        """See `Network.reading`."""
        parts: dict[int, torch.Tensor] = {}

        def collect(number: int, part: torch.Tensor) -> None:
            parts[number] = part
            if len(parts) == len(self.readers):
                keep(torch.cat([parts[at].to(self.model.device) for at in range(len(parts))], dim=-1))

        with ExitStack() as stack:
            for number, reader in enumerate(self.readers):
                stack.enter_context(reader.reading(lambda part, number=number: collect(number, part), memory))
            yield

    @property
    def goes_on_alone(self) -> bool:
        """Whether it is logits that are observed: the rest of the model goes on from the stream alone."""
        return all(of_head(reader) for reader in self.readers)

    def next_token_logits(
        self,
        states: torch.Tensor,
        rows: torch.Tensor | None = None,
        *,
        token_ids: Sequence[int] | None = None,
    ) -> torch.Tensor | None:
        """What is observed where that is logits, whatever the ids; else None."""
        if not self.goes_on_alone:
            return None
        missing = self.model.vocabulary_size - states.shape[1]
        states = states if rows is None else states[rows.to(states.device)]
        return torch.nn.functional.pad(states.to(self.model.device), (0, missing), value=-torch.inf)


def of_head(reader: Reader) -> bool:
    """Whether a reader takes logits, or what is made of them."""
    return isinstance(reader, AtHead) or (isinstance(reader, MadeOf) and of_head(reader.reader))


def says_little(network: Network) -> bool:
    """Whether a token has so few numbers that another may meet them by chance: then every token has to be tested."""
    return (top_of(network) or network.width) < THIN


def top_of(network: Network) -> int | None:
    """How many log-probabilities of every position are observed, the largest; None for all that there is."""
    return network.observation.top if isinstance(network, ObservedNetwork) else None


def observed_network(model: LanguageModel, observation: Observation) -> Network:
    """The model read as observed, at half depth where no layer is named.

    Raises:
        InvalidInput: it has no such layer.
        Unsupported: it has no such tensor there.
    """
    chosen = observation.within(model.layers, model.name)
    if chosen.plain:
        return Network(model, chosen.layer)
    layers = [int(layer) for layer in chosen.layers] or [model.layers]
    readers = tuple(find_reader(model, site, layer) for site in chosen.sites for layer in layers)
    depth = max(reader.depth for reader in readers)
    network = ObservedNetwork(model, min(depth, model.layers), observation=replace(chosen, top=None), readers=readers)
    return of_largest(network, chosen.top)


def of_largest(network: Network, top: int | None) -> Network:
    """A network of all log-probabilities, of which so many of every position are observed; None for all."""
    if top is None:
        return network
    assert isinstance(network, ObservedNetwork)  # what has a top is no residual stream
    (reader,), observation = network.readers, replace(network.observation, top=top)
    return replace(network, observation=observation, readers=(MadeOf(reader, partial(leading, count=top)),))


def of_all(network: Network) -> Network:
    """The network of all log-probabilities, where some of them are observed; any other as it is."""
    if not isinstance(network, ObservedNetwork) or network.observation.top is None:
        return network
    every = observed_network(network.model, replace(network.observation, top=None))
    return replace(every, work=network.work)


def expectation(model: LanguageModel) -> Network | None:
    """What a model expects of the next token behind every prefix, log-probabilities; None where it has no head."""
    try:
        return observed_network(model, Observation(("logprobs",)))
    except Unsupported:
        return None
