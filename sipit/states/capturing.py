"""`capture`: what is observed of prompts at one layer, in the ways that other programs would take it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from numerics.dtypes import name_of
from proofs.arguments import called, one_of, switch, whole
from proofs.errors import InvalidInput, Unsupported
from sipit.models import LanguageModel
from sipit.models.abilities import Side, agree, agree_closely
from sipit.models.copies import in_dtype
from sipit.models.language_model import check_loaded
from sipit.models.network import Network
from sipit.models.trial import PADS, TRIED
from sipit.observations.network import observed_network
from sipit.observations.observation import Observation
from sipit.observations.top import check_top, packed
from sipit.prompts.reading import tokenize
from sipit.record import Progress, versions, versions_in_words
from sipit.states.arrays import check_finite
from sipit.states.files import States
from sipit.states.manifest import Manifest

Ran = Callable[[int, bool], None]


def capture(
    model: LanguageModel,
    prompts: Any,
    *,
    layer: Any = None,
    observe: str | Observation | None = None,
    top: int | None = None,
    cached: bool = False,
    batch: int = 1,
    padding: Side = "right",
    special_tokens: bool = True,
    finite: bool = True,
    compared: bool = True,
    progress: Progress | None = None,
    ran: Ran | None = None,
) -> States:
    """The states of prompts at block `layer` (default: half depth), one tensor of shape (T, n) each.

    Args:
        model: who computes them; states keep its dtype and stay on its device.
        prompts: texts or lists of token ids, or whatever numpy, torch or a tokenizer makes of them.
        layer: 0 is the embedding, L the residual stream before the final norm, "final" the state after it; several
            where that is observed (`sipit.observations.observation`).
        observe: which tensors, such as "keys,values"; by default the residual stream, of width n = d.
        top: how many log-probabilities of each position are kept, of those that there are.
        cached: one token at a time with a key-value cache, as during generation.
        batch: prompts that run together; the shorter ones are padded, unless that was seen to change their states
            (`LanguageModel.abilities`), or depends on the length of the whole run: then each runs alone.
        padding: on which side.
        special_tokens: whether text gets the tokenizer's special tokens.
        finite: whether NaN and infinities, which nothing can be found from, are refused; without it they are returned
            as they come, for whoever tells what overflows.
        compared: whether what a cache, or padding, makes of prompts that are longer than what was tried when the model
            was loaded is compared with one forward; without it whoever asks does so.
        progress: called with (prompts done, prompts in all).
        ran: called for each group of prompts, with how many it has and whether they ran together.

    Raises:
        InvalidInput: a bad prompt, layer or observation, `cached` together with a batch, or states that are not
            finite.
        Unsupported: the model has no such tensor, or draws random numbers as it runs; or `cached`, and the body
            continues a prompt from nothing that it returns, looks at its length, or goes on otherwise than in one
            forward.
    """
    check_loaded(model)
    chosen = Observation.of(observe, layer, top).within(model.layers, model.name)
    network = observed_network(model, replace(chosen, top=None))
    if chosen.top is not None:
        check_top(chosen.top, network.width)
    batch, cached = whole("the batch", batch, least=1), switch("cached", cached)
    if cached and batch > 1:
        raise InvalidInput(f"Expected a batch of 1 with a cache, but got batch={batch}; leave one of them away.")
    one_of("a side of padding", padding, ("left", "right"))
    special_tokens, progress = switch("special_tokens", special_tokens), called("progress", progress)
    finite, compared, ran = switch("finite", finite), switch("compared", compared), called("ran", ran)
    if cached and model.abilities.memory is None:
        raise Unsupported(
            f"Expected a model that continues a prompt from a cache, but {model.abilities.refused['memory']} "
            f"({versions_in_words()}); capture by one forward."
        )
    token_ids = tokenize(model, prompts, special_tokens=special_tokens)
    longest = max(map(len, token_ids))
    if cached and not model.lengths.alike(1, longest):
        raise Unsupported(
            f"Expected prompts whose tokens can be run one by one, but one has {longest} tokens, and "
            f"{model.lengths.reason}; capture by one forward."
        )
    arrays: list[torch.Tensor] = []
    before = _chance(model.device)
    for start in range(0, len(token_ids), batch):
        group = token_ids[start : start + batch]
        together = None if cached else _together(network, group, padding, compared)
        arrays += [_token_by_token(network, group[0])] if cached else together or _alone(network, group)
        if ran is not None:
            ran(len(group), len(group) == 1 or together is not None)
        if progress is not None:
            progress(len(arrays), len(token_ids))
    if not torch.equal(before, _chance(model.device)):
        _expect_repeated(network, max(token_ids, key=len))
    if cached and compared:
        expect_as_one_forward(network, token_ids, arrays)
    if chosen.top is not None:
        arrays = [packed(array, chosen.top) for array in arrays]
    if finite:
        for number, array in enumerate(arrays):
            check_finite(f"tensor {number}", array, way_out_of(model))
    return States(arrays=tuple(arrays), manifest=_manifest(model, chosen, token_ids), observation=chosen)


def way_out_of(model: LanguageModel) -> str:
    """What to do where the states of a model are not finite."""
    if torch.finfo(model.dtype).bits < 32:
        return f"{model.name} computes in {name_of(model.dtype)}, so load it in a wider dtype (--dtype float32)"
    return f"look at the weights and the configuration of {model.name}, or observe an earlier layer"


def _together(network: Network, group: list[list[int]], padding: Side, compared: bool) -> list[torch.Tensor] | None:
    """One run of several prompts; a single prompt is one ordinary forward.

    None where they have to run alone, which is as good and slower: what cannot be padded, and a group in which padding
    changes more than rounding does.
    """
    model = network.model
    longest = max(map(len, group))
    if all(len(ids) == longest for ids in group):
        return list(network.run(torch.tensor(group, device=model.device)).clone())
    alike = all(model.lengths.alike(longest, len(ids)) for ids in group)
    needed = model.abilities.padding.get(padding) if alike else None
    if needed is None:
        return None
    pad = next(iter(model.decoder.special_tokens), 0)
    ids = torch.full((len(group), longest), pad, device=model.device)
    mask = torch.zeros_like(ids)
    spans: list[slice] = []
    for row, tokens in enumerate(group):
        span = slice(longest - len(tokens), longest) if padding == "left" else slice(0, len(tokens))
        ids[row, span] = torch.tensor(tokens, device=model.device)
        mask[row, span] = 1
        spans.append(span)
    given = {"mask": mask, "positions": (mask.cumsum(1) - 1).clamp_min(0)}
    states = network.run(ids, **{name: given[name] for name in needed})
    found = [states[row, span].clone() for row, span in enumerate(spans)]
    return None if compared and changed_by_padding(network, group, found) else found


def changed_by_padding(network: Network, group: list[list[int]], states: Sequence[torch.Tensor]) -> bool:
    """Whether states of prompts that ran together are others than alone.

    Asked of the longest one that was padded, and of the one with the most padding; a token alone shows nothing of it.
    """
    longest = max(map(len, group))
    beyond = [ids for ids in group if len(ids) < longest and (len(ids) > TRIED or longest - len(ids) > PADS)]
    padded = sorted(beyond, key=len)
    asked = padded[-1:] + [ids for ids in padded[:-1] if len(ids) > 1][:1]
    alone = zip(asked, _alone(network, asked), strict=True)
    return any(not _only_rounds(plain, states[group.index(ids)], network.model.dtype) for ids, plain in alone)


def _only_rounds(plain: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether states (T, d) in another way agree closely, all of them and those of more tokens than were tried."""
    plain, other = plain.double(), other.double()
    late = TRIED if len(plain) > TRIED else 0
    return all(agree_closely(plain[start:], other[start:], dtype) for start in {0, late})


def _alone(network: Network, group: list[list[int]]) -> list[torch.Tensor]:
    return [network.run(torch.tensor([tokens], device=network.model.device))[0].clone() for tokens in group]


def _token_by_token(network: Network, token_ids: list[int]) -> torch.Tensor:
    """One token per run over what the body remembers, as during generation.

    A body that cannot be told positions counts what it remembers, in a block that a run to layer 0 never enters.
    """
    known = network.model.abilities
    told = known.positions is not None
    empty = known.empty_memory if told else None
    memory: Any = None if empty is None else empty()
    states: list[torch.Tensor] = []
    for position, token in enumerate(torch.tensor(token_ids, device=network.model.device)):
        at = torch.full_like(token, position)[None, None] if told else None
        if empty is None:
            state, memory = network.run_whole(token[None, None], memory=memory, positions=at)
        else:
            state = network.run(token[None, None], memory=memory, positions=at)
        states.append(state[0].clone())
    return torch.cat(states)


def _chance(device: torch.device) -> torch.Tensor:
    """Where the generators of random numbers stand that a model may draw from."""
    own = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return torch.cat([torch.get_rng_state(), *own])


def _expect_repeated(network: Network, token_ids: list[int]) -> None:
    """Raises Unsupported where two runs of a prompt differ, as with hashes that are drawn anew for each."""
    first, second = _alone(network, [token_ids, token_ids])
    if not agree(first.double(), second.double(), network.model.dtype):
        raise Unsupported(
            f"Expected states that a prompt decides, but {type(network.model.module).__name__} draws random numbers as "
            f"it runs, and two runs of {len(token_ids)} tokens differ; fix its seed in the configuration, or give a "
            "shorter prompt."
        )


def expect_as_one_forward(network: Network, prompts: list[list[int]], arrays: Sequence[torch.Tensor]) -> None:
    """Raises Unsupported where what a body remembers leads elsewhere in prompts that are longer than what was tried.

    The longest of them is asked. In a half type a choice may turn by rounding alone, what is observed may be next to
    nothing, and some positions carry the rounding of hundreds: where it differs, the stream is asked, of a wider copy.
    """
    token_ids, states = max(zip(prompts, arrays, strict=True), key=lambda one: len(one[0]))
    model, ids = network.model, torch.tensor([token_ids], device=network.model.device)
    if len(token_ids) <= TRIED or _only_rounds(network.run(ids)[0], states, model.dtype):
        return
    exact = in_dtype(model, torch.float64 if torch.finfo(model.dtype).bits >= 32 else torch.float32)
    stream = Network(exact, max(1, network.depth))
    plain, other = stream.run(ids)[0].double(), _token_by_token(stream, token_ids).double()
    finite = plain.isfinite().all(1).tolist()  # of what overflows something else is said
    wrong = [at for at, sound in enumerate(finite) if sound and not agree(plain[at], other[at], exact.dtype)]
    if wrong:
        apart = ((plain - other)[wrong].norm(dim=-1) / plain[wrong].norm(dim=-1)).max()  # inf of a zero one
        raise Unsupported(
            f"Expected a model that goes on from a cache as in one forward, but from position {wrong[0]} on the states "
            f"of {model.name} differ from it, by up to {float(apart):.1e} (relative; {versions_in_words()}); capture "
            "by one forward."
        )


def _manifest(model: LanguageModel, observation: Observation, token_ids: list[list[int]]) -> Manifest:
    bos = getattr(model.tokenizer, "bos_token_id", None)
    return Manifest(
        model=model.name,
        digest=model.digest,
        layer=observation.layer,
        norm="after" if observation.layer == "final" else "before",
        dtype=name_of(model.dtype),
        bos=all(ids[0] == bos for ids in token_ids),
        versions=versions(),
        observation=observation.to_json(),
    )
