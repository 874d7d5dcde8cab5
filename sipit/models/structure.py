"""Finds the parts of a decoder-only model by its structure, and confirms them by running it.

There is no list of allowed models. A model is a chain of blocks between an embedding and a final norm, whose earlier
states do not move when a later token changes; whatever is not, is refused with all the reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from numerics.networks.text_class import context_of
from proofs.errors import Unsupported
from sipit.models.abilities import Abilities
from sipit.models.beyond import far_positions_run, its_class_runs
from sipit.models.chain import Chain, find_chain
from sipit.models.entry import Entrance, other_tables
from sipit.models.length import LengthDependence, Table, find_dependence, find_tables
from sipit.models.lookups import looked_up_safely
from sipit.models.trial import find_abilities, trial_length, without_memory

_LENGTH = 12  # tokens of the prompt with which tables of positions are found


@dataclass(frozen=True, slots=True, eq=False)
class Decoder:
    """The parts of a decoder-only model.

    `body` maps ids to the state after the final norm (no unembedding); `chain` are its L blocks in order and the form
    of their states; `tables` are the embedding tables that the ids index, the input embedding first, `other_tables`
    (V, n) what else they choose rows of; `rows_enter` is whether the first block is handed embedding rows as they are.
    `context` is the longest prompt that it was made for, in tokens, `limit` the longest that it takes; None where there
    is none. `lengths` says which lengths of a prompt change the states of all its positions. `special_tokens` are ids
    of the configuration that a library may treat in a way of its own, the padding token first; `abilities` is what the
    body was found to understand.
    """

    body: nn.Module
    chain: Chain
    tables: tuple[nn.Embedding, ...]
    other_tables: tuple[torch.Tensor, ...]
    context: int | None
    limit: int | None
    lengths: LengthDependence
    special_tokens: tuple[int, ...]
    abilities: Abilities
    rows_enter: bool = True

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The L blocks in order."""
        return self.chain.blocks

    @property
    def entrance(self) -> Entrance:
        """The way from ids to the first block."""
        arguments, table = self.abilities.arguments(), self.tables[0].weight.detach()
        return Entrance(self.body, arguments, self.blocks[0], self.chain.stream, table)


def find_decoder(module: Any) -> Decoder:
    """The parts of a `transformers` causal language model.

    Raises:
        Unsupported: not a chain of blocks, or not causal; the message lists every reason.
    """
    body = body_of(module)
    embedding = getattr(body, "get_input_embeddings", lambda: None)() or module.get_input_embeddings()
    config = getattr(module.config, "get_text_config", lambda: module.config)()
    depth = getattr(config, "num_hidden_layers", None)
    lists = _outer_lists(body)
    reasons: list[str] = []
    if not isinstance(embedding, nn.Embedding):
        reasons.append(f"its input embedding is {type(embedding).__name__}, not a table of rows")
    if not lists:
        reasons.append(f"it has 0 lists of {depth} blocks where one is expected")
    if reasons:
        raise _refusal(module, reasons)
    modes = _modes(body)
    with looked_up_safely(embedding.weight.device):
        chain = find_chain(body, lists, rows=embedding.num_embeddings, depth=depth)
        if isinstance(chain, str):
            raise _refusal(module, [chain])
        found = _tried(body, chain, embedding, config)
    changed = [place for place, mode in _modes(body).items() if modes.get(place, mode) != mode]
    if changed:
        where, name = changed[0]
        said = f"{name} of {where or 'its body'}, {modes[changed[0]]!r} as it is loaded, is another one afterwards"
        raise _refusal(module, [f"running a short prompt changes it for good: {said}"])
    return found


def _modes(body: nn.Module) -> dict[tuple[str, str], str]:
    """What the modules of a body are set to in words, such as a kind of attention."""
    parts = body.named_modules()
    return {(at, name): value for at, part in parts for name, value in vars(part).items() if isinstance(value, str)}


def _tried(body: Any, chain: Chain, embedding: nn.Embedding, config: Any) -> Decoder:
    """The parts of a body with this chain of blocks, as running it shows them."""
    others = [part for part in body.modules() if isinstance(part, nn.Embedding) and part is not embedding]
    token_tables = [table for table in chain.tables if table.num_embeddings == embedding.num_embeddings]
    special = _special_tokens(config, embedding.num_embeddings)
    context = _context(config, [table for table in others if table not in token_tables])
    abilities = find_abilities(body, chain.blocks, chain.stream, embedding, special, longest=context)
    turning = _tables(body, embedding, context)
    if context is None:
        limit = None
    elif turning and abilities.positions is not None:
        limit = None if far_positions_run(body, embedding, abilities, context) else context
    else:
        limit = None if its_class_runs(body, config, abilities, embedding.weight.device) else context
    tables = (embedding, *[table for table in token_tables if table is not embedding])
    found = Decoder(
        body=body,
        chain=chain,
        tables=tables,
        other_tables=other_tables(body, tables, abilities.arguments()),
        context=context,
        limit=limit,
        lengths=find_dependence(
            chain.blocks[0],
            chain.stream,
            turning,
            config,
            lambda ids: body(input_ids=ids, **abilities.arguments()),
            embedding.num_embeddings,
            limit,
        ),
        special_tokens=special,
        abilities=abilities,
    )
    return replace(found, rows_enter=found.entrance.plain())


def body_of(module: Any) -> Any:
    """The part of a model of the library that maps ids to states: its text decoder, without a head."""
    body = module.get_decoder() if hasattr(module, "get_decoder") else module.base_model
    if not hasattr(body, "get_input_embeddings"):  # ModernBERT calls its unembedding the decoder
        return module.base_model
    if not getattr(body, "can_generate", bool)():
        return body
    if body is not module:  # the decoder inside some multimodal models has a head of its own
        return body_of(body)
    inside = [part for part in module.children() if hasattr(part, "get_input_embeddings")]
    return inside[0] if len(inside) == 1 else module


def _context(config: Any, others: Sequence[nn.Embedding]) -> int | None:
    limit = context_of(config)
    if limit is None:
        return None
    # A table of positions with a row for padding is counted from behind that row, as in RoBERTa.
    behind = [len(table.weight) - table.padding_idx - 1 for table in others if table.padding_idx is not None]
    return min([limit, *(rows for rows in behind if limit // 2 < rows)])


def _tables(body: Any, embedding: nn.Embedding, context: int | None) -> list[Table]:
    """The rotary tables that a body asks."""
    ids = torch.arange(trial_length(_LENGTH, context), device=embedding.weight.device)[None] % embedding.num_embeddings
    return find_tables(body, ids, without_memory(body, ids))


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


def _refusal(module: Any, reasons: list[str]) -> Unsupported:
    half = any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in module.parameters())
    return Unsupported(
        f"Expected a decoder-only model, but {type(module).__name__} is none: {'; '.join(reasons)}. "
        f"Name another model{', or --dtype float32' if half else ''}."
    )
