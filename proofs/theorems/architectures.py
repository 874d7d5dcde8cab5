"""Which part of docs/classification.md is about which architecture of `transformers`, by its model type.

The sections are about networks over the reals with all token rows free. That a class is such a network was read off
its source, and is not shown here: records call it a placement, and no kernel vouches for it. What of it depends on
the configuration is tried (`proofs.theorems.conditions`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from proofs.theorems.conditions import (
    SETTING,
    Condition,
    Network,
    full_attention,
    full_layers_enough,
    residual_before_norms,
    rotated,
    state_space,
    time_passes,
    two_blocks,
    two_channels,
    windows,
    without_bias,
    words_of,
)

PAGE = "docs/classification.md"
REPEATED = "repeated tokens"


@dataclass(frozen=True, slots=True)
class Placement:
    """What is known of an architecture.

    Attributes:
        without_bos, behind_bos: which prompts collide for every parameter.
        by: the section of the page that shows it.
        conditions: for which configurations, besides those of every section.
    """

    without_bos: str
    behind_bos: str
    by: str
    conditions: tuple[Condition, ...] = ()

    def agrees(self, families: Collection[str]) -> bool:
        """Whether this is said of a network of which these families were shown to collide, and no others."""
        if self.without_bos == NONE:
            return not families
        return set(families) == {REPEATED} if self.without_bos == RUNS else REPEATED in families

    def within(self, network: Network) -> str | None:
        """The conditions in words, where all of them hold of a network; else None."""
        return words_of((*SETTING, *self.conditions), network)

    def to_json(self, within: str) -> dict[str, Any]:
        """The placement in a record.

        Args:
            within: for which configurations.
        """
        return {
            "without_bos": self.without_bos,
            "behind_bos": self.behind_bos,
            "by": f"{PAGE}, {self.by}",
            "within": within,
            "checked": False,
        }


NONE, RUNS = "no two prompts", "exactly runs of one token"
MIXED_STACKS, SCORES = "Recurrent layers and mixed stacks", "Scores that tell positions apart"
LEARNED = Placement(NONE, NONE, "Architectures of the library (Theorem 2.2)", (full_attention,))
BEHIND = Placement(NONE, NONE, "Norms behind the sums, and fixed positions", (full_attention,))
ROTARY = Placement(RUNS, NONE, SCORES, (full_attention, rotated, without_bias))
WINDOWS = Placement(
    "at least runs of one token, and prompts that agree within reach", "at least prompts that agree within reach",
    MIXED_STACKS, (windows, rotated, without_bias),
)  # fmt: skip
MIXED = Placement(RUNS, NONE, MIXED_STACKS, (full_layers_enough,))
ALIBI = Placement(RUNS, NONE, "ALiBi and no positions", (two_blocks, residual_before_norms))
SINK = Placement(NONE, NONE, SCORES, (full_attention,))
STATES = Placement(NONE, NONE, MIXED_STACKS, (state_space, two_channels, time_passes))

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


def placement(model_type: str, *, windows_everywhere: bool = False) -> Placement | None:
    """Where an architecture stands, if its configuration meets the conditions; None where no page speaks of it.

    Args:
        model_type: as in the library's configurations.
        windows_everywhere: whether every layer sees a window only: all other proofs need one that sees everything.
    """
    found = BY_TYPE.get(model_type)
    if windows_everywhere:
        return WINDOWS if found is ROTARY else None
    return found
