"""Which part of docs/classification.md is about which architecture of `transformers`, by its model type.

The sections are about networks over the reals with all token rows free. That a class is such a network was read off
its source, and is not shown here: records call it a placement, and no kernel vouches for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PAGE = "docs/classification.md"


@dataclass(frozen=True, slots=True)
class Placement:
    """What is known of an architecture.

    Attributes:
        without_bos, behind_bos: which prompts collide for every parameter.
        by: the section of the page that shows it.
        within: for which configurations.
    """

    without_bos: str
    behind_bos: str
    by: str
    within: str = "as published"

    def excludes(self, family: str) -> bool:
        """Whether prompts of a family that always collide speak against this placement."""
        return self.without_bos == NONE or (self.without_bos == RUNS and family != "repeated tokens")

    def to_json(self) -> dict[str, Any]:
        """The placement in a record."""
        return {
            "without_bos": self.without_bos,
            "behind_bos": self.behind_bos,
            "by": f"{PAGE}, {self.by}",
            "within": self.within,
            "checked": False,
        }


NONE, RUNS = "no two prompts", "exactly runs of one token"
LEARNED = Placement(NONE, NONE, "Architectures of the library (Theorem 2.2)")
BEHIND = Placement(NONE, NONE, "Norms behind the sums, and fixed positions")
ROTARY = Placement(RUNS, NONE, "Scores that tell positions apart", "full attention in some layer")
WINDOWS = Placement(
    "at least runs of one token, and prompts that agree within reach", "at least prompts that agree within reach",
    "Recurrent layers and mixed stacks", "windows in every layer; for prompts shorter than one, exactly runs",
)  # fmt: skip
MIXED = Placement(
    RUNS, NONE, "Recurrent layers and mixed stacks", "three full layers without positions, or rotary ones"
)
ALIBI = Placement(RUNS, NONE, "ALiBi and no positions", "two blocks or more, no clipping")
SINK = Placement(NONE, NONE, "Scores that tell positions apart", "a sink in some layer that sees everything")
STATES = Placement(NONE, NONE, "Recurrent layers and mixed stacks", "one state-space layer or more")

PLACES: Mapping[Placement, tuple[str, ...]] = {
    LEARNED: ("gpt2", "gpt_neo", "opt", "biogpt"),
    BEHIND: ("openai-gpt", "ctrl", "xglm"),
    ROTARY: (
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gptj", "gpt_neox",
        "stablelm", "olmo2", "granite", "mixtral", "qwen2_moe", "qwen3_moe", "falcon", "deepseek_v2", "deepseek_v3",
    ),
    MIXED: ("cohere2", "llama4_text", "smollm3"),
    ALIBI: ("bloom", "mpt"),
    SINK: ("gpt_oss",),
    STATES: ("mamba", "mamba2", "jamba", "zamba", "zamba2", "bamba", "falcon_h1", "granitemoehybrid", "nemotron_h"),
}  # fmt: skip
BY_TYPE = {name: place for place, names in PLACES.items() for name in names}


def placement(model_type: str, *, windows_everywhere: bool = False, alibi: bool = False) -> Placement | None:
    """Where an architecture stands; None where the page does not speak of it.

    Args:
        model_type: as in the library's configurations.
        windows_everywhere: whether every layer sees a window only.
        alibi: whether its configuration asks for ALiBi, where it has the choice; the table of Falcon is rounded.
    """
    found = BY_TYPE.get(model_type)
    if found is ROTARY and alibi:
        return None
    if windows_everywhere and found is not STATES:  # all other proofs need a layer that sees the whole prompt
        return WINDOWS if found is ROTARY else None
    return found
