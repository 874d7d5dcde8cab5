"""The prompts that a search starts from: those of the closest pairs."""

from typing import Any

from sipit.collisions.examination import Examined
from sipit.models import LanguageModel
from sipit.prompts.corpora import Corpus

BASES = 10
NO_BASES = "no two prompts differ over the reals, so that there are none to start from"
FULL = "no token fits behind the closest prompts, which are as long as the model takes"


def closest_prompts(examined: Examined, *, count: int = BASES) -> list[int]:
    """The first `count` prompts of the closest pairs that are not known to collide, closest first."""
    findings = examined.findings
    pairs = [*findings.equal.listed((), count**2), *findings.outside]
    return list(dict.fromkeys(prompt for pair in pairs for prompt in (pair.first, pair.second)))[:count]


def has_room(model: LanguageModel, length: int) -> bool:
    """Whether a prompt of this length and one token more are prompts that a model was made for, of one network."""
    return (model.context is None or length < model.context) and model.lengths.alike(length, length + 1)


def bases_json(corpus: Corpus, bases: list[int]) -> dict[str, Any]:
    """How a record names them."""
    return {
        "bases": [int(corpus.numbers[prompt]) for prompt in bases],
        "base_token_ids": [corpus.prompts.token_ids(prompt) for prompt in bases],
    }


def summary(layers: list[dict[str, Any]]) -> str:
    """One line for people about the layers of a search."""
    parts: list[str] = []
    for layer in layers:
        outside, known = layer["outside"], layer["known_to_collide"]
        least = outside["minimum_distance"]
        parts.append(
            f"layer {layer['layer']}: {outside['below_threshold']} hits and {known['pairs']} known collisions, "
            f"least distance {'none' if least is None else format(least, '.6g')}"
        )
    return "; ".join(parts)
