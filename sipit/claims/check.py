"""Which hypotheses of the theorems an architecture, and its weights, meet: the work behind `sipit check`."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numerics.dtypes import name_of
from proofs.errors import InvalidInput, Unsupported
from proofs.evidence import Record
from proofs.kernel.collisions import find_collisions
from proofs.kernel.door import SHORTEST
from proofs.kernel.patterns import constants_are_known, rows_are_free
from proofs.kernel.regularity import shown_here, verdict_of
from proofs.kernel.result import digest
from proofs.network.graph import Graph
from proofs.processes import in_order, processors
from proofs.provers.analyticity import AnalyticityProof, Obstructions, prove_analytic
from proofs.provers.branches import LARGEST_SUBJECT
from proofs.structure.dependence import causal
from proofs.structure.equal_prompts import UNTOLD, in_room
from proofs.theorems.architectures import placement
from proofs.theorems.conditions import Network
from proofs.verdict import Verdict
from sipit.claims.fields import checked, duplicated
from sipit.claims.law import law
from sipit.claims.vocabulary import vocabulary
from sipit.models.files import ADAPTER_CONFIG
from sipit.models.names import built_in, is_folder
from sipit.models.stored import not_read
from sipit.record import Stages, Stopwatch, exact_provenance, silent

if TYPE_CHECKING:
    from numerics.graphs.windows import Window

LENGTH = 11  # tokens: a prime, so that no number of heads or groups is taken for the length of the sequence
ON_SMALL_COPY = 7  # tokens, where a small copy stands for a network too large to be evaluated
SHALLOW = 8  # blocks up to which a capture is done before another process would have begun
LONGEST = 40  # tokens of a window or chunk that is captured on both sides
BY_ID = "tokens are read by more than tables of rows: what holds for certain tokens alone was not looked at"
UNVALUED = "entries of constants are not known: whether they make prompts one was not looked at"
BEYOND = (
    "every layer sees a window of {size} tokens alone: prompts that agree in their last {reach} tokens were not looked "
    "at, for the longest captured have {length}"
)
BOUNDED = (
    "no layer sees more than some of the last tokens, as a small copy shows: prompts that differ farther back were not "
    "looked at, for the longest captured have {length}"
)
REPEATED = (
    "the graphs do not show that prompts of one repeated token collide, and a small copy keeps them no farther apart "
    "than rounding does"
)
ORDER = (
    "in no run of a small copy does the last of many states depend on the order of two tokens: prompts that differ in "
    "it are longer than those that were captured"
)
UNTRIED = (
    "no run of a small copy shows whether any layer sees more than some of the last tokens: prompts that differ "
    "farther back were not looked at, for the longest captured have {length}"
)


def check_model(
    model: str,
    *,
    layer: int | None = None,
    attention: Literal["eager", "sdpa"] = "eager",
    seed: int = 0,
    dtype: str = "auto",
    device: str = "cpu",
    nearest: bool = False,
    stages: Stages = silent,
) -> Record:
    """Proves the regularity of a model's map, and names its structural collisions and duplicate embedding rows.

    Args:
        model: what `load_model` takes, or the path of a config.json (or of a folder without weights), for which
            nothing is loaded.
        layer: number of blocks; None for all of them, before the final norm.
        attention: the implementation that is captured.
        seed: draws the parameters of a tiny model.
        dtype: of a model with weights; `auto` takes the type that they are stored in.
        device: of a model with weights.
        nearest: find the exact nearest pair of embedding rows, however large the table.
        stages: called as the work goes on, with how far it is.

    Raises:
        InvalidInput, Unsupported: the model is none, cannot be captured, or has weights that are not read.
    """
    from numerics.graphs.capture import expect_computed
    from numerics.graphs.positions import position_scheme
    from numerics.graphs.small_graphs import small_graph, witness_in_small_copy
    from numerics.graphs.windows import window
    from numerics.networks.configuration import read_config
    from numerics.networks.shrinking import small_copy
    from numerics.networks.text_class import context_of

    watch = Stopwatch()
    config: Any
    loaded: Any = None
    if config_alone(model):
        config = read_config(model)
    else:
        from sipit.models import load_model

        loaded = load_model(model, dtype=dtype, device=device, seed=seed)
        config = loaded.module.config
        expect_computed(loaded.module, config)
    seen = window(config, layer, attention)
    lengths = [LENGTH, *other_lengths(config, layer, bounded=seen is not None and seen.every_layer is True)]
    workers = 1 if loaded is not None or len(lengths) > 2 or not _deep(config) else processors()
    graphs = dict(zip(lengths, in_order((config, layer, attention), _captured, lengths, workers), strict=True))
    graph, others = graphs[LENGTH], {length: graphs[length] for length in lengths[1:]}
    tried = sum(kind.size for _, kind in graph.parameters()) <= LARGEST_SUBJECT
    small = graph if tried else small_graph(config, attention, length=ON_SMALL_COPY)
    if small is not None:
        _expect_its_class(small, config if tried else small_copy(config), attention)
    looks_back = _causal(graphs.values(), small)
    found = prove_analytic(graph)
    if isinstance(found, Obstructions):
        found = witness_in_small_copy(found, config)
    structural, undecided = _collisions(graphs)
    scheme = position_scheme(graphs, config, small, attention)
    families = None if structural is None else {entry["family"] for entry in structural}
    place = placed(config, seen, scheme.scheme, families, layer)
    doubt = None
    if place is not None or structural == []:
        doubt = _doubt(scheme.evidence, seen, config, layer) or _not_looked_at(graphs)
    if structural == []:
        undecided = doubt or _out_of_reach(graphs, seen, context_of(config))
        structural = None if undecided else structural
    duplicates = None if loaded is None else vocabulary(loaded, nearest=nearest, stages=stages)
    written = {} if structural is None else {str(n): other.to_json() for n, other in others.items()}
    certificate: dict[str, Any] = {
        **found.to_json(),
        "structural_collisions": structural,
        "collisions_undecided": undecided,
        "other_lengths": written,
    }
    if structural is not None:
        certificate["claim"]["other_lengths"] = digest(written)
    result = {
        **checked(certificate),
        "conditions": _conditions(found),
        "causal": looks_back,
        "positions": scheme.scheme,
        "positions_evidence": dict(scheme.evidence),
        "duplicate_embeddings": duplicates,
        "law": law(config, None if loaded is None else loaded.module),
        "bos": None if loaded is None else _bos(loaded.tokenizer),
        "window": None if seen is None else seen.to_json(),
        "classification": None if doubt else place,
        "certificate": certificate,
    }
    refuting = structural or shown_here(certificate["witness"]) or duplicated(duplicates)
    verdict = verdict_of(found.regularity, certificate["obstructions"], refuting)
    if structural is None and verdict is Verdict.PROVED:
        verdict = Verdict.UNDECIDED
    provenance = exact_provenance(
        model,
        "exact rationals; Arb balls for witnesses; float64 for the trial of positions",
        *(() if loaded is None else loaded.assembly),
        digest=None if loaded is None else loaded.digest,
        dtype=None if loaded is None else name_of(loaded.dtype),
        device=None if loaded is None else str(loaded.device),
        seed=seed,
        attention=attention,
    )
    return Record("check", verdict, result, provenance, watch.seconds)


def _collisions(graphs: dict[int, Graph]) -> tuple[list[dict[str, Any]] | None, str | None]:
    """The families of prompts that always collide; or None and why, where telling states apart takes too much room."""
    found = in_room(find_collisions, graphs)
    return found, UNTOLD if found is None else None


def _deep(config: Any) -> bool:
    return getattr(config.get_text_config(), "num_hidden_layers", 1) > SHALLOW


def _captured(asked: tuple[Any, int | None, Literal["eager", "sdpa"]], length: int) -> Graph:
    """The network for prompts of one length; a deep one takes half a minute, in a process of its own if it can."""
    from numerics.graphs.capture import capture_graph

    config, layer, attention = asked
    return capture_graph(config, layer, attention, length=length)


def other_lengths(config: Any, layer: int | None, *, bounded: bool = False) -> list[int]:
    """The lengths besides LENGTH for which a network is captured: short ones, and those around windows and their reach.

    One block alone may not tell permuted prefixes or multiplied multisets apart; these need three and four tokens.
    """
    from numerics.graphs.windows import named_windows, reach

    blocks = getattr(config.get_text_config(), "num_hidden_layers", 1) if layer is None else layer
    borders = {border for name, size in named_windows(config).items() for border in (size, reach(name, size, blocks))}
    sides = {n for border in borders if border < LONGEST for n in (border, border + 1)}
    sides |= {LONGEST} if bounded else set()
    return sorted(({SHORTEST} | sides | ({3, 4} if blocks == 1 else set())) - {LENGTH})


def config_alone(model: str) -> bool:
    """Whether a name is a config file, or a folder with a config and neither weights nor an adapter.

    Raises:
        InvalidInput: a folder called like a built-in model; one with weights that are not read, for what is said of a
            model is said of its rows as well.
    """
    path = Path(model)
    if not is_folder(model):
        return path.suffix == ".json"
    if built_in(model) is not None:
        return False
    there = any(path.glob("*.safetensors")) or any(path.glob("*.gguf")) or (path / ADAPTER_CONFIG).exists()
    if there or not (path / "config.json").is_file():
        return False
    unread = not_read(path)
    if unread is not None:
        raise InvalidInput(
            f"Expected weights in safetensors, or a configuration alone, but {path} has {unread}, which is not read; "
            f"save the weights with save_pretrained, or give {path / 'config.json'} for the architecture alone."
        )
    return True


def _conditions(found: AnalyticityProof | Obstructions) -> dict[str, Any]:
    return {
        "discharged": sum(c.discharged for c in found.conditions),
        "open": [
            {"statement": c.statement, "module": found.graph.nodes[c.node].module,
             "source": found.graph.nodes[c.node].source}
            for c in found.conditions if not c.discharged
        ],
    }  # fmt: skip


def _causal(graphs: Collection[Graph], small: Graph | None) -> bool | None:
    """Whether at every captured length no state depends on a later token; None where neither is proved nor seen.

    Raises:
        InvalidInput: a later token changes an earlier state.
    """
    from numerics.graphs.small_graphs import sees_later_tokens

    if all(map(causal, graphs)):
        return True
    if small is not None and sees_later_tokens(small):
        raise InvalidInput(
            f"Expected a causal decoder, but in {small.about['architecture']} later tokens change earlier states; "
            "give a decoder, or a config with is_decoder set where the class knows it."
        )
    return None


def _expect_its_class(graph: Graph, config: Any, attention: Any) -> None:
    """Raises Unsupported where a graph computes something else than the class that it was captured from."""
    from numerics.graphs.as_its_class import departs

    found = departs(graph, config, attention)
    if found is not None:
        raise Unsupported(
            f"Expected the captured graph to compute what {graph.about['architecture']} does, but at random parameters "
            f"their states are {found[0]:.2g} apart, where rounding explains {found[1]:.2g}; name another --attention, "
            "or another class."
        )


def _bos(tokenizer: Any) -> dict[str, Any] | None:
    """Whether the tokenizer puts a BOS in front of a text; without one repeated tokens stay repeated.

    `added` is None where no text shows it.
    """
    if tokenizer is None:
        return None
    from sipit.models.tokenizers import special_ends_of

    ends = special_ends_of(tokenizer)
    bos = tokenizer.bos_token_id
    return {"token_id": bos, "added": None if ends is None else bos is not None and ends[0][:1] == (bos,)}


def _doubt(evidence: Mapping[str, Any], seen: "Window | None", config: Any, layer: int | None) -> str | None:
    """Why a run of a small copy speaks against it that no prompts collide but those shown to; None where none does.

    Of windows in every layer it is known how far they reach.
    """
    from numerics.graphs.windows import sees_order

    if evidence["agrees_with_the_graph"] is False:
        return REPEATED
    windowed = seen is not None and seen.every_layer is True
    return ORDER if not windowed and sees_order(config, layer) is False else None


def _not_looked_at(graphs: dict[int, Graph]) -> str | None:
    """What of the networks may make prompts one, and was not looked at; None where there is nothing."""
    if not all(map(constants_are_known, graphs.values())):
        return UNVALUED
    return None if rows_are_free(*graphs.values()) else BY_ID


def _out_of_reach(graphs: dict[int, Graph], seen: "Window | None", context: int | None) -> str | None:
    """Why longer prompts than those captured may collide, where none was found to; None where none is expected to."""
    if seen is None or seen.every_layer is False or (context is not None and (seen.reach or 0) >= context):
        return None
    if seen.every_layer is None:
        return UNTRIED.format(length=max(graphs))
    if seen.reach is None:
        return BOUNDED.format(length=max(graphs))
    return BEYOND.format(size=seen.size, length=max(graphs), reach=seen.reach)


def placed(
    config: Any,
    seen: "Window | None",
    scheme: str,
    found: Collection[str] | None = None,
    layer: int | None = None,
) -> dict[str, Any] | None:
    """What the classification says of such an architecture, if it speaks of it.

    Args:
        config: of the architecture.
        seen: the window that bounds what its states see; of one that may have a bound no page speaks.
        scheme: how the order of tokens enters; of one without it no page speaks.
        found: the families that were shown to collide, which a placement has to agree with; None where nothing told.
        layer: the state after so many blocks; None for all of them.
    """
    text = config.get_text_config()
    if scheme == "none" or (seen is not None and seen.every_layer is None):
        return None
    windowed = seen is not None and seen.every_layer is True
    place = placement(text.model_type, windows_everywhere=windowed)
    if place is None or (found is not None and not place.agrees(found)):
        return None
    within = place.within(Network(text, text.num_hidden_layers if layer is None else layer, windowed))
    return None if within is None else place.to_json(within)
