"""Finds the parts of a decoder-only model by its structure, and confirms them by running it.

There is no list of allowed models. A model is a chain of blocks between an embedding and a final norm, whose earlier
states do not move when a later token changes; whatever is not, is refused with all the reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from numerics.stream import hidden_of
from proofs.errors import Unsupported
from sipit.models.abilities import Abilities
from sipit.models.trial import find_abilities

_CAUSAL = 1e-3  # relative; a bidirectional model moves its states by order one, rounding by far less


@dataclass(frozen=True, slots=True)
class Decoder:
    """The parts of a decoder-only model.

    `body` maps ids to the state after the final norm (no unembedding); `blocks` are the L blocks in order;
    `tables` are the embedding tables that the ids index, the input embedding first. A block returns the state alone,
    or a tuple that starts with it: `extra_outputs` says how many values follow it, block by block.
    `context` is the longest prompt it takes, in tokens, None where there is no limit. `special_tokens` are ids of the
    configuration that a library may treat in a way of its own, the padding token first; `abilities` is what the body
    was found to understand.
    """

    body: nn.Module
    blocks: tuple[nn.Module, ...]
    tables: tuple[nn.Embedding, ...]
    width: int
    extra_outputs: tuple[int, ...]
    context: int | None
    special_tokens: tuple[int, ...]
    abilities: Abilities


def find_decoder(module: Any) -> Decoder:
    """The parts of a `transformers` causal language model.

    Raises:
        Unsupported: not a chain of blocks, or not causal; the message lists every reason.
    """
    body = module.get_decoder() if hasattr(module, "get_decoder") else module.base_model
    embedding = getattr(body, "get_input_embeddings", lambda: None)() or module.get_input_embeddings()
    reasons: list[str] = []
    if not isinstance(embedding, nn.Embedding):
        reasons.append(f"its input embedding is {type(embedding).__name__}, not a table of rows")
    config = getattr(module.config, "get_text_config", lambda: module.config)()
    depth = getattr(config, "num_hidden_layers", None)
    chains = [part for part in _outer_lists(body) if len(part) == depth]
    if len(chains) != 1:
        reasons.append(f"it has {len(chains)} lists of {depth} blocks where one is expected")
    if reasons:
        raise _refusal(module, reasons)
    blocks = tuple(chains[0])
    observed = _observe(body, blocks, embedding.num_embeddings)
    if isinstance(observed, str):
        raise _refusal(module, [observed])
    others = [part for part in body.modules() if isinstance(part, nn.Embedding) and part is not embedding]
    token_tables = [table for table in others if table.num_embeddings == embedding.num_embeddings]
    width, extra_outputs = observed
    special = _special_tokens(config, embedding.num_embeddings)
    return Decoder(
        body=body,
        blocks=blocks,
        tables=(embedding, *token_tables),
        width=width,
        extra_outputs=extra_outputs,
        context=_context(config, [table for table in others if table not in token_tables]),
        special_tokens=special,
        abilities=find_abilities(body, blocks, embedding, special),
    )


def _context(config: Any, others: Sequence[nn.Embedding]) -> int | None:
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int):
        return None
    # A table of positions with a row for padding is counted from behind that row, as in RoBERTa.
    behind = [len(table.weight) - table.padding_idx - 1 for table in others if table.padding_idx is not None]
    return min([limit, *(rows for rows in behind if limit // 2 < rows)])


def _special_tokens(config: Any, rows: int) -> tuple[int, ...]:
    values = [getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos")]
    ids = [value for given in values for value in (given if isinstance(given, list) else [given])]
    return tuple(dict.fromkeys(token for token in ids if type(token) is int and 0 <= token < rows))


def _outer_lists(body: nn.Module) -> list[nn.ModuleList]:
    """The module lists that lie in no other one."""
    found: list[nn.ModuleList] = []
    for child in body.children():
        found.extend([child] if isinstance(child, nn.ModuleList) else _outer_lists(child))
    return found


def _observe(body: nn.Module, blocks: tuple[nn.Module, ...], rows: int) -> tuple[int, tuple[int, ...]] | str:
    """Runs two short prompts that differ in the last token; width and extra outputs, or why this is no decoder."""
    calls: list[tuple[int, Any]] = []

    def hook(index: int) -> Any:
        return lambda _module, _arguments, output: calls.append((index, output))

    handles = [block.register_forward_hook(hook(index)) for index, block in enumerate(blocks)]
    length = 4
    try:
        with torch.inference_mode():
            device = next(body.parameters()).device
            for last in (0, 1):
                ids = torch.tensor([[*(i % rows for i in range(2, length + 1)), last % rows]], device=device)
                body(input_ids=ids)
    finally:
        for handle in handles:
            handle.remove()
    depth = len(blocks)
    if [index for index, _ in calls] != [*range(depth), *range(depth)]:
        return "its blocks are not called once each in order"
    states = [hidden_of(output) for _, output in calls]
    width = states[0].shape[-1]
    if any(state.shape != (1, length, width) for state in states):
        return f"a block does not hand on one state of width {width} per token"
    before, after = (states[index][0, :-1].double() for index in (depth - 1, 2 * depth - 1))
    if float((before - after).norm()) > _CAUSAL * float(before.norm()):
        return "a later token changes the states of earlier ones, so it is not causal"
    extra = [len(output) - 1 if isinstance(output, tuple) else 0 for _, output in calls[:depth]]
    return width, tuple(extra)


def _refusal(module: Any, reasons: list[str]) -> Unsupported:
    return Unsupported(
        f"Expected a decoder-only model, but {type(module).__name__} is none: {'; '.join(reasons)}. Name another model."
    )
