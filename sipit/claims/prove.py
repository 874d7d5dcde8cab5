"""The theorems checked by machine on small networks: the work behind `sipit prove`."""

import re
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from proofs.arguments import exact_in, shown
from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.network.graph import Graph
from proofs.provers.analyticity import AnalyticityProof, prove_analytic
from proofs.structure.equal_prompts import UNTOLD
from sipit.claims.fields import counted, settled, stepped
from sipit.claims.number_systems import PATTERNS, STEP, SURDS, in_floats
from sipit.models.names import TINY, drawn_family
from sipit.record import Stopwatch, exact_provenance

if TYPE_CHECKING:
    from numerics.graphs.variants import Variant
    from proofs.kernel.generic_position import Longer
    from proofs.theorems.generic_position import GenericPosition

LONGEST_RATE = 100  # digits of numerator and denominator


def prove_witness(*, vocabulary: int, context: int) -> Record:
    """The published witness of Theorem 2.2, as printed and as repaired, over all ordered pairs of prompts.

    Args:
        vocabulary: number of tokens.
        context: largest number of tokens of a prompt.

    Raises:
        InvalidInput: too many pairs, or a size below one.
    """
    from numerics.graphs.capture import capture_graph
    from proofs.recomputed.published_witness import WIDTH
    from proofs.recomputed.witness import MOST_PAIRS, count_witness

    if vocabulary < 1 or context < 1:
        raise InvalidInput(f"Expected at least one token and position, but got {vocabulary} and {context}; raise them.")
    _expect_few(vocabulary, context, most=MOST_PAIRS)  # before a network is captured for every length
    watch = Stopwatch()
    config = _gpt2(vocabulary=vocabulary, context=context, width=WIDTH)
    graphs = {length: capture_graph(config, length=length) for length in range(1, context + 1)}
    found = count_witness(graphs, vocabulary=vocabulary, context=context)
    certificate = found.to_json()
    provenance = exact_provenance("GPT-2 of width 4, one head, one block", SURDS)
    result = {**counted(certificate), "certificate": certificate}
    return Record("prove witness", found.verdict, result, provenance, watch.seconds)


def _expect_few(vocabulary: int, context: int, *, most: int) -> None:
    """Raises InvalidInput for more ordered pairs of prompts than `most`; counted no further than needed."""
    prompts = 0
    for _ in range(context):
        prompts = (prompts + 1) * vocabulary  # v + v² + … one power at a time
        if prompts * (prompts - 1) > most:
            raise InvalidInput(
                f"Expected at most {most} ordered pairs of prompts, but --vocabulary {vocabulary} and --context "
                f"{context} give more; choose smaller numbers."
            )


def prove_training_step(*, model: str, width: int, rate: str, optimizer: str, seed: int) -> Record:
    """One optimizer step on a small copy of a family: its Jacobian determinant, certified not to vanish.

    Args:
        model: `tiny-<family>`, whose class is used with one block, three tokens and prompts of two.
        width: of the states.
        rate: an exact rational such as 1/10.
        optimizer: gd, weight-decay, clip-value, clip-norm, sign, heavy-ball, adam or adamw.
        seed: draws the parameters.

    Raises:
        InvalidInput: no such family or optimizer, a rate that is not a positive rational, or too many parameters.
        Unsupported: an activation whose derivatives are not known.
    """
    from numerics.graphs.logits import capture_logits
    from proofs.recomputed.loss import Sample
    from proofs.recomputed.optimizers import Rule
    from proofs.recomputed.training_step import RULES, prove_step

    watch = Stopwatch()
    exact = exact_in(rate)
    if exact is None or max(abs(exact.numerator), exact.denominator) >= 10**LONGEST_RATE:
        raise InvalidInput(f"Expected a rational rate such as 1/10, but got --rate {shown(rate)}; write one.")
    named: dict[str, Rule] = {known: known for known in RULES}
    rule = named.get(optimizer)
    if rule is None:
        raise InvalidInput(
            f"Expected an optimizer among {', '.join(RULES)}, but got --optimizer {optimizer}; choose of them."
        )
    family = _family(model)
    graph = capture_logits(_toy(family, width), length=2)
    one, half = Fraction(1), Fraction(1, 2)
    samples = [Sample((0, 1), (one, 0 * one, 0 * one)), Sample((1, 2), (0 * one, half, half)),
               Sample((2, 2), (0 * one, one, 0 * one))]  # fmt: skip
    found = prove_step(graph, samples, rule=rule, rate=exact, seed=seed)
    certificate = found.to_json()
    result = {
        **stepped(certificate),
        "certificate": certificate,
    }
    provenance = exact_provenance(f"{TINY}{family} at width {width}, one block", STEP, seed=seed)
    return Record("prove training-step", found.verdict, result, provenance, watch.seconds)


def prove_generic_position(
    *, context: int, bos: bool, model: str | None, variant: "Variant | None", tied: bool, seed: int
) -> Record:
    """Every pattern of prompt pairs of an architecture: a witness, a proof of collision, or undecided.

    Args:
        context: largest number of tokens of a prompt behind the BOS: with one, T <= context + 1.
        bos: whether a reserved token stands in front of every prompt.
        model: `tiny-<family>`, through its own class; or None.
        variant: the small decoder where no model is given.
        tied: whether the unembedding is the embedding; the state reads neither way, and the record says so.
        seed: draws the points.

    Raises:
        InvalidInput: no such family, or a context or width out of range.
        Unsupported: the network cannot be captured.
    """
    from proofs.kernel.generic_position import LARGEST_CONTEXT
    from proofs.theorems.generic_position import examine

    if not 1 <= context <= LARGEST_CONTEXT:
        raise InvalidInput(
            f"Expected a context from 1 to {LARGEST_CONTEXT}, but got --context {context}; choose such a one."
        )
    watch = Stopwatch()
    family = None if model is None else _family(model)
    named = None if family is None else f"{TINY}{family}"
    graphs = {n: _graph(family, variant, n, _vocabulary(context)) for n in range(1 + bos, context + 1 + bos)}
    zeroed = [name for name, _ in graphs[1 + bos].parameters() if _DOWN.search(name)] if _branching(graphs) else []
    silenced = _last_outputs([name for name, _ in graphs[1 + bos].parameters()])
    longer = _longer(variant, context, bos)
    found = examine(graphs, context=context, bos=bos, seed=seed, zeroed=zeroed, silenced=silenced, longer=longer)
    certificate = found.to_json()
    known = settled(certificate)
    result = {
        **known,
        "scope": {**known["scope"], **_growth(found)},
        "architecture": named or (None if variant is None else asdict(variant)),
        "tied": {"asked": tied, "matters": False, "reason": "the state before the unembedding does not read it"},
        "against_classification": _against(found, variant if model is None else None),
        "every_length": _every_length(variant if model is None else None, bos),
        "collisions_undecided": UNTOLD if found.untold else None,
        **_rounding(family, known["collisions"], seed),
        "certificate": certificate,
    }
    provenance = exact_provenance(named or "small decoder", PATTERNS, *_ran_in_floats(result), seed=seed)
    return Record("prove generic-position", found.verdict, result, provenance, watch.seconds)


_DOWN = re.compile(r"(\.down\.|\.fc2\.|down_proj|mlp\.c_proj|dense_4h_to_h)")
_OUTPUT = re.compile(_DOWN.pattern + r"|\.out\.|o_proj|out_proj|c_proj|attention\.dense\.")
_NUMBERED = re.compile(r"\.(\d+)\.")


_GROWTH = {
    "width": "the states k times as wide, for every k >= 1 (each written k times; found on the graph)",
    "heads": "every larger number of heads, or of groups of them, of the same width (found on the graph)",
    "units": "every larger number of units inside the steps (found on the graph)",
}


def _growth(found: "GenericPosition") -> dict[str, str]:
    """Networks with the same nodes and constants and longer axes for which the same holds; no kernel derives it."""
    ways = found.grows.items()
    return {name: _GROWTH[name] if grows is True else f"as captured only: {grows}" for name, grows in ways}


def _graph(family: str | None, variant: "Variant | None", length: int, vocabulary: int) -> Graph:
    from numerics.graphs.capture import capture_graph
    from numerics.graphs.variants import capture_variant

    if family is None:
        if variant is None:
            raise InvalidInput("Expected a model or a variant, but got neither; name one.")
        return capture_variant(variant, length=length, vocabulary=vocabulary)
    from sipit.models.tiny import tiny_config

    return capture_graph(tiny_config(family), length=length)


def _vocabulary(context: int) -> int:
    """Tokens of a small decoder: all patterns fit."""
    return 2 * context + 2


def _family(model: str) -> str:
    from sipit.models.tiny import FAMILIES

    family = drawn_family(model)
    if family is None:
        raise InvalidInput(f"Expected tiny-<family>, but got --model {model}; families: {', '.join(FAMILIES)}.")
    return family


def _last_outputs(names: list[str]) -> list[str]:
    """The output projections of the last block, by name; whether zeros there silence it is decided on the graph."""
    numbers = {name: int(found[1]) for name in names if (found := _NUMBERED.search(name))}
    last = max(numbers.values(), default=-1)
    return [name for name in names if numbers.get(name) == last and _OUTPUT.search(name)]


def _branching(graphs: dict[int, Graph]) -> bool:
    return any(not isinstance(prove_analytic(graph), AnalyticityProof) for graph in graphs.values())


def _longer(variant: "Variant | None", context: int, bos: bool) -> "Longer | None":
    """The pair of 82 tokens, for two blocks without positions: their network is captured for that length too."""
    from proofs.kernel.generic_position import Longer
    from proofs.theorems.two_blocks import pair

    if variant is None or (variant.positions, variant.depth, bos) != ("none", 2, False):
        return None
    words = pair()
    graph = _graph(None, variant, len(words[0]), _vocabulary(context))
    return Longer((words,), {graph.length: graph})


def _every_length(variant: "Variant | None", bos: bool) -> dict[str, Any] | None:
    """What the classification says of prompts of every length; None where it makes no statement."""
    from proofs.theorems.classification import for_every_length

    if variant is None or not _classified(variant):
        return None
    return for_every_length(variant.positions, variant.depth, bos=bos)


def _classified(variant: "Variant") -> bool:
    """Whether the classification speaks of such blocks: residual, with norms, wide enough."""
    from proofs.theorems.classification import least_width

    wide = variant.width >= least_width(variant.positions, post_norm=variant.post_norm)
    return variant.residual and variant.norm != "none" and wide


def _against(found: "GenericPosition", variant: "Variant | None") -> dict[str, Any] | None:
    """How the enumeration compares with the classification by positions; None where that makes no statement."""
    from proofs.theorems.classification import collides

    if variant is None or not _classified(variant):
        return None
    expected = {(s, t): collides(variant.positions, variant.depth, s, t) for s, t, _ in found.classes}
    wrong = [[s, t] for s, t, o in found.classes if o != "undecided" and o.startswith("collide") != expected[s, t]]
    return {"agree": len(found.classes) - len(wrong), "disagree": len(wrong), "examples": wrong[:4]}


def _rounding(family: str | None, collisions: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """What floats report on pairs that collide exactly: of the pairs found, and of runs of every byte."""
    if family is None or not collisions:
        return {"rounding": [], "rounding_of_runs": []}
    from sipit.claims.in_floats import rounded_pairs, rounded_runs

    return {
        "rounding": rounded_pairs(family, collisions[:3], seed=seed),
        "rounding_of_runs": rounded_runs(family, seed=seed),
    }


def _ran_in_floats(result: dict[str, Any]) -> list[str]:
    """The runs of the library that fill the fields `rounding` and `rounding_of_runs`."""
    ran = [f"{row['dtype']} ({row['attention']} attention)" for row in result["rounding"] + result["rounding_of_runs"]]
    return [in_floats("what rounding makes of collisions", list(dict.fromkeys(ran)))] if ran else []


def _toy(family: str, width: int) -> Any:
    """A family's own class with one block, one head, three tokens and an unembedding of its own."""
    from sipit.models.tiny import tiny_config

    if not 1 <= width <= 64:
        raise InvalidInput(f"Expected a width from 1 to 64, but got --width {width}; choose such a one.")
    config = tiny_config(family)
    small = {
        "hidden_size": width, "n_embd": width, "num_hidden_layers": 1, "n_layer": 1, "num_layers": 1,
        "num_attention_heads": 1, "n_head": 1, "num_heads": 1, "num_key_value_heads": 1, "head_dim": width,
        "intermediate_size": width + 1, "ffn_dim": width, "n_inner": width, "word_embed_proj_dim": width,
        "ffn_hidden_size": 2 * width,
        "vocab_size": 3, "max_position_embeddings": 4, "n_positions": 4,
    }  # fmt: skip
    data = config.to_dict()
    changed = {name: value for name, value in small.items() if name in data}
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    kinds = {name: value[:1] for name, value in data.items() if name == "layer_types" and isinstance(value, list)}
    if "attention_types" in data:
        kinds |= {"attention_types": [[["global"], 1]], "attention_layers": ["global"]}
    return type(config).from_dict({**data, **changed, **special, **kinds, "tie_word_embeddings": False})


def _gpt2(*, vocabulary: int, context: int, width: int) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        n_embd=width, n_head=1, n_layer=1, vocab_size=vocabulary, n_positions=context, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
