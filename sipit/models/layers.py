"""The states of one run at several layers at once."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from proofs.arguments import shown
from proofs.errors import InvalidInput
from sipit.models import LanguageModel
from sipit.models.hooks import hooked
from sipit.models.network import Network


def check_numbers(model: LanguageModel, layers: Sequence[int]) -> None:
    """Raises InvalidInput where the model has no layer of such a number, where numbers alone are taken."""
    wrong = next((layer for layer in layers if type(layer) is not int or not 0 <= layer <= model.layers), None)
    if wrong is not None:
        raise InvalidInput(
            f"Expected layers from 0 to {model.layers} for {model.name}, but got layer={shown(wrong)}; choose of these."
        )


@contextmanager
def reading(model: LanguageModel, layers: Sequence[int]) -> Generator[dict[int, list[torch.Tensor]]]:
    """Collects states (batch, T, d) by layer, run by run: what enters the first block (0), what block l hands on."""
    states: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    stream = model.decoder.chain.stream

    def reader(layer: int) -> Any:
        def after(_module: Any, _arguments: Any, output: Any) -> None:
            states[layer].append(stream.handed_on(output))

        return after

    def before(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        states[0].append(stream.entered(arguments, named).clone())

    blocks = model.decoder.blocks

    def put_on() -> Iterator[Any]:
        # Entered in front: the hook that ends a run at the last layer would keep later ones from being called.
        for layer in layers:
            if layer > 0:
                yield blocks[layer - 1].register_forward_hook(reader(layer), prepend=True)
        if 0 in states:
            yield blocks[0].register_forward_pre_hook(before, with_kwargs=True, prepend=True)

    with hooked(put_on):
        yield states


def layered_states(model: LanguageModel, token_ids: Sequence[int], layers: Sequence[int]) -> torch.Tensor:
    """The states of a prompt at several layers, by one forward: shape (layers, T, d)."""
    with reading(model, layers) as states:
        Network(model, max(layers)).run(torch.tensor([list(token_ids)], device=model.device))
    return torch.stack([states[layer][0][0] for layer in layers])
