"""What the almost-sure theorems assume, and which of it was checked: quoted by every record that leans on them."""

from typing import TYPE_CHECKING, Any

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


def quoted_theorem(model: "LanguageModel", optimizer: str) -> dict[str, Any]:
    """The theorem about training that a run would like to lean on, its hypotheses, and what was checked of them.

    Regularity and the position scheme are decided on the captured graph; the rest is listed as what it is.
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
            {"hypothesis": rule, "checked": False},
            {
                "hypothesis": "the first parameters follow an absolutely continuous law (Gaussian noise is added to "
                "every one of them, but as floats)",
                "checked": False,
            },
            {"hypothesis": "steps and states are computed over the reals (here: in floating point)", "checked": False},
        ],
    }
