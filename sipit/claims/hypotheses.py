"""What the almost-sure theorems assume, and which of it was checked: quoted by every record that leans on them."""

import copy
from typing import TYPE_CHECKING, Any

from proofs.errors import Unsupported
from proofs.network.graph import Graph

if TYPE_CHECKING:
    from sipit.models import LanguageModel

LENGTH = 4  # tokens, of the network that a theorem about training is asked of
ALMOST_SURE: list[dict[str, Any]] = [
    {"hypothesis": "the parameters follow an absolutely continuous law", "checked": False},
    {"hypothesis": "the network runs over the reals, as captured", "checked": False},
]
_RULES = {
    "sgd": (
        "Theorem 2.3 of arXiv 2510.15511, repaired and extended to every positive rate: for almost every first "
        "parameter, after N gradient steps the last states of all prompts up to a length differ.",
        "plain gradient steps keep laws absolutely continuous (sipit prove training-step --optimizer gd)",
    ),
    "adamw": (
        "AdamW from zero state keeps laws absolutely continuous at all rates under a final RMS norm, or a layer norm "
        "and one logit vector a step; with several, as here, at all rates off a hypersurface: then the last states "
        "of all prompts up to a length differ after N steps, for almost every first parameter.",
        "the rates lie off the hypersurface (docs/training-step.md; computed for at most three equal steps)",
    ),
}


_READ_OUT = (
    "the logits are U (beta + gamma x^) without a bias, x^ a final norm of the tokens' rows where all else is 0, and "
    "U, beta and gamma are read nowhere else"
)
_TIED = "; or U is the table of these rows, and the loss cross-entropy"


def quoted_theorem(model: "LanguageModel", optimizer: str, *, decay: float = 0.0) -> dict[str, Any]:
    """The theorem about training that a run would like to lean on, its hypotheses, and what was checked of them.

    Regularity, the position scheme and how logits are read out are decided on captured graphs; what `holds` not is not
    shown there. The rest is listed as what it is.

    Args:
        model: the network that is trained.
        optimizer: `sgd` or `adamw`.
        decay: rate times decay, of AdamW.
    """
    from numerics.graphs.capture import capture_graph
    from proofs.provers.analyticity import AnalyticityProof, prove_analytic
    from proofs.structure.positions import positions

    graph = capture_graph(model.module.config, length=LENGTH)
    analytic = isinstance(prove_analytic(graph), AnalyticityProof)
    scheme = positions(graph).scheme
    statement, rule = _RULES[optimizer]
    return {
        "statement": statement,
        "says_of_this_run": "nothing: a trained checkpoint is one point of a null set. What follows is measured.",
        "hypotheses": [
            {
                "hypothesis": f"the state is analytic in the parameters (captured for {LENGTH} tokens)",
                "checked": True,
                "holds": analytic,
            },
            {
                "hypothesis": "positions are learned and absolute (others: sipit prove generic-position)",
                "checked": True,
                "holds": scheme == "absolute",
            },
            {
                "hypothesis": "the number of steps, the rates and the batches do not depend on the parameters",
                "checked": True,
                "holds": True,
            },
            *(_of_descent(model) if optimizer == "sgd" else _of_adam(model, decay)),
            {"hypothesis": rule, "checked": False},
            {
                "hypothesis": "the first parameters follow an absolutely continuous law (Gaussian noise is added to "
                "every one of them, but as floats)",
                "checked": False,
            },
            {"hypothesis": "steps and states are computed over the reals (here: in floating point)", "checked": False},
        ],
    }


def _of_descent(model: "LanguageModel") -> list[dict[str, Any]]:
    """How logits are read out; docs/training-step.md has the argument for a tied table too."""
    config = model.module.config
    apart = copy.deepcopy(config)
    apart.tie_word_embeddings = False
    shown = any(_is_read_out(_logits(one)) for one in (config, apart))
    return [{"hypothesis": f"{_READ_OUT}{_TIED}", "checked": True, "holds": shown}]


def _of_adam(model: "LanguageModel", decay: float) -> list[dict[str, Any]]:
    """The same without the tied table, of which nothing is known, and what the theorem on zero state asks beside."""
    from proofs.recomputed.settled import real_for_every_sign

    graph = _logits(model.module.config)
    return [
        {"hypothesis": _READ_OUT, "checked": True, "holds": _is_read_out(graph)},
        {
            "hypothesis": "values stay real for every sign of every root, and no logarithm is taken",
            "checked": True,
            "holds": graph is not None and real_for_every_sign(graph),
        },
        {"hypothesis": "rate times decay is below 1", "checked": True, "holds": decay < 1},
    ]


def _logits(config: Any) -> Graph | None:
    from numerics.graphs.logits import capture_logits

    try:
        return capture_logits(config, length=LENGTH)
    except Unsupported:
        return None


def _is_read_out(graph: Graph | None) -> bool:
    from proofs.kernel.patterns import rows_are_free
    from proofs.recomputed.gate import norms_rows, reads_out

    return graph is not None and reads_out(graph) and norms_rows(graph) and rows_are_free(graph)
