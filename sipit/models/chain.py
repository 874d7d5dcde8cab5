"""Which modules of a body are its blocks: seen while two short prompts run that differ in their last token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from numerics.networks.stream import Stream
from sipit.models.hooks import hooked
from sipit.models.library import one_line
from sipit.models.refusals import Refusals
from sipit.models.trial import without_memory

_CAUSAL, _CAUSAL_HALF = 2e-5, 1e-3  # relative; in half types. A body of float64 may compute in float32 inside
_PARALLEL = 1e-2  # 1 less the cosine of a row and what a table makes of it
_LENGTH = 4  # tokens of the prompts


@dataclass(frozen=True, slots=True)
class Chain:
    """The blocks that a text goes through, in order, and in which form they hand on its states.

    `stream` says how blocks hold the states, of `width`. `final_width` is that of the state after the final norm, which
    is what the body returns, or what the module `final` does where the body goes on from there to another width (a
    projection, a head); None where nothing of the stream's width stands behind the last block.
    `returns` says block by block how many values it returns, of which the state is the first, or None where it returns
    the state alone. `tables` are the embedding tables of the body that the ids themselves index.
    """

    blocks: tuple[nn.Module, ...]
    stream: Stream
    width: int
    final_width: int | None
    final: nn.Module | None
    returns: tuple[int | None, ...]
    tables: tuple[nn.Embedding, ...]


def find_chain(body: nn.Module, lists: Sequence[nn.ModuleList], *, rows: int, depth: int | None) -> Chain | str:
    """The chain of blocks of a body, in one of some lists of modules, or why there is none.

    A module that text alone passes by (Mllama has some that look at a picture) is no block.

    Args:
        body: maps ids below `rows` to states.
        lists: where blocks may lie; those of `depth` modules, if there are any, are meant.
    """
    lists = [part for part in lists if len(part) == depth] or lists
    device = next(body.parameters()).device
    begin = [i % rows for i in range(2, _LENGTH + 1)]
    prompts = [torch.tensor([[*begin, last % rows]], device=device) for last in (0, 1)]
    runs, arguments = list[_Run](), dict[str, Any]()
    with Refusals() as refusals, torch.inference_mode():
        arguments = without_memory(body, prompts[0])
        runs = [_watched(body, lists, ids, arguments) for ids in prompts]
    if refusals.reason is not None:
        return f"its body does not run on token ids alone ({one_line(refusals.reason)})"
    called = sorted({call.owner for call in runs[0].calls})
    orders = [[[call.index for call in run.calls if call.owner == owner] for owner in called] for run in runs]
    if orders[0] != orders[1] or any(order != sorted(set(order)) for order in orders[0]):
        return "its blocks are not called once each in order"
    if len(called) != 1:
        return f"it has {len(called)} lists of {'' if depth is None else f'{depth} '}blocks where one is expected"
    outputs = [[call.output for call in run.calls] for run in runs]
    stream = Stream.seen(outputs[0][0], _LENGTH)
    if stream is None or any(Stream.seen(output, _LENGTH) != stream for output in outputs[0]):
        return "a block does not hand on one state per token"
    if any(Stream.seen(run.final, _LENGTH) != Stream() for run in runs):
        return "it does not end with one state per token"
    computed = next(body.parameters()).dtype
    before, after = (stream.handed_on(output[-1])[0, :-1].double() for output in outputs)
    limit = _CAUSAL_HALF if computed in (torch.float16, torch.bfloat16) else _CAUSAL
    if float((before - after).norm()) > limit * float(before.norm()):
        return "a later token changes the states of earlier ones, so it is not causal"
    width, final_width, norm = stream.handed_on(outputs[0][0]).shape[-1], runs[0].final.shape[-1], None
    if final_width != width and stream.streams is None:
        norm = _last_behind(body, lists[called[0]][orders[0][0][-1]], prompts[0], arguments, width)
        final_width = None if norm is None else width
    return Chain(
        blocks=tuple(lists[called[0]][index] for index in orders[0][0]),
        stream=stream,
        width=width,
        final_width=final_width,
        final=norm,
        returns=tuple(len(output) if isinstance(output, tuple | list) else None for output in outputs[0]),
        tables=tuple(table for table in runs[0].tables if any(table is other for other in runs[1].tables)),
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """What a module returned: the one at `index` of list number `owner`."""

    owner: int
    index: int
    output: Any


@dataclass(frozen=True, slots=True)
class _Run:
    """The calls of modules in their order, the tables that the ids index, and what the body returned first."""

    calls: list[_Call]
    tables: list[nn.Embedding]
    final: Any


def _watched(body: nn.Module, lists: Sequence[nn.ModuleList], ids: torch.Tensor, arguments: dict[str, Any]) -> _Run:
    calls: list[_Call] = []
    tables: list[nn.Embedding] = []

    def hook(owner: int, index: int) -> Any:
        return lambda _module, _arguments, output: calls.append(_Call(owner, index, output))

    def look(table: Any, _arguments: Any, output: Any) -> None:
        # Its rows of the ids, which it may scale, have to come back: some tables of positions are handed ids as well.
        seen = isinstance(output, torch.Tensor) and output.shape[:-1] == ids.shape
        if not seen or int(ids.max()) >= table.num_embeddings:
            return
        rows, output = table.weight[ids.to(table.weight.device)].double(), output.double()
        if bool(((output * rows).sum(-1) >= (1 - _PARALLEL) * output.norm(dim=-1) * rows.norm(dim=-1)).all()):
            tables.append(table)

    def put_on() -> Iterator[Any]:
        for owner, part in enumerate(lists):
            for index, module in enumerate(part):
                yield module.register_forward_hook(hook(owner, index))
        for part in body.modules():
            if isinstance(part, nn.Embedding):
                yield part.register_forward_hook(look)

    with hooked(put_on):
        return _Run(calls, tables, body(input_ids=ids, **arguments)[0])


def _last_behind(
    body: nn.Module, block: nn.Module, ids: torch.Tensor, arguments: dict[str, Any], width: int
) -> nn.Module | None:
    """The last module behind a block that returns one state of a width for every token; None where there is none."""
    found: list[nn.Module] = []

    def look(module: nn.Module, _arguments: Any, output: Any) -> None:
        if module is block:
            found.clear()
        elif isinstance(output, torch.Tensor) and output.shape == (*ids.shape, width):
            found.append(module)

    with hooked(lambda: [part.register_forward_hook(look) for part in body.modules()]), torch.inference_mode():
        body(input_ids=ids, **arguments)
    return found[-1] if found else None
