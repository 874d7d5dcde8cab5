"""The conditions under which docs/classification.md speaks of an architecture: the words and the test of each are one.

A condition gives the words under which it holds of a network, and None where it does not hold or where the
configuration does not tell. No condition is quoted that was not tried.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, TypeAlias

LEAST_WIDTH = 4  # of states: what the page asks for of layer norms with learned positions, or behind the sums
PLANE = 2  # entries of queries and keys that one frequency rotates
FULL = ("full_attention", "global")
STATE_SPACE = ("linear_attention", "hybrid", "mamba")  # kinds of blocks with such a layer, in the classes of STATES
ORDERLESS = 3  # full layers without positions behind which exactly runs collide


@dataclass(frozen=True, slots=True)
class Network:
    """What conditions are asked of.

    Attributes:
        config: of its text decoder, with the fields of `transformers`.
        blocks: how many of its blocks are behind the state.
        windows_everywhere: whether every one of them sees a window only, as runs and graphs show.
    """

    config: Any
    blocks: int
    windows_everywhere: bool = False


Condition: TypeAlias = Callable[[Network], str | None]


def words_of(conditions: Sequence[Condition], network: Network) -> str | None:
    """The words under which all conditions hold of a network; None where one of them does not."""
    said = [condition(network) for condition in conditions]
    return None if None in said else "; ".join(one for one in said if one)


def one_block(network: Network) -> str | None:
    """At least one block."""
    return "one block or more" if network.blocks >= 1 else None


def two_blocks(network: Network) -> str | None:
    """At least two blocks."""
    return "two blocks or more" if network.blocks >= 2 else None


def wide(network: Network) -> str | None:
    """States, and rows of tokens where they are projected, have as many entries as every witness of the page."""
    widths = [getattr(network.config, "hidden_size", None), getattr(network.config, "word_embed_proj_dim", LEAST_WIDTH)]
    enough = all(isinstance(width, int) and width >= LEAST_WIDTH for width in widths)
    return f"states of {LEAST_WIDTH} entries or more" if enough else None


def normed(network: Network) -> str | None:
    """Norms have a learned gain, and divide by no 0."""
    positive = all(_is_number(value) and value > 0 for value in _fields(network, "_eps", "_epsilon"))
    learned = getattr(network.config, "layer_norm_elementwise_affine", True) is True
    return "norms with a learned gain and an epsilon above 0" if positive and learned else None


def unclipped(network: Network) -> str | None:
    """Queries, keys and values are not clipped (classes leave out a clip of 0)."""
    return None if any(_fields(network, "clip_qkv")) else "no clipping"


def unmuted(network: Network) -> str | None:
    """No branch is multiplied by 0; what a class sets by itself where a configuration says None is not 0."""
    factors = [
        one
        for value in _fields(network, "multiplier", "multipliers", "softmax_scale", "attention_factor")
        for one in (value if isinstance(value, list | tuple) else [value])
    ]
    return "no factor of 0" if all(one is None or (_is_number(one) and one != 0) for one in factors) else None


def residual_before_norms(network: Network) -> str | None:
    """A branch is added to what its norm is given."""
    return None if any(_fields(network, "residual_connection_post_layernorm")) else "residuals before norms"


def without_bias(network: Network) -> str | None:
    """No bias of ALiBi, where a class has the choice; the table of Falcon is rounded."""
    return None if getattr(network.config, "alibi", False) else "no ALiBi"


def rotated(network: Network) -> str | None:
    """Some plane of queries and keys is rotated."""
    config = network.config
    heads, width = getattr(config, "num_attention_heads", None), getattr(config, "hidden_size", None)
    size = getattr(config, "head_dim", None) or (width // heads if width and heads else 0)
    parts = [factor for factor in _fields(network, "partial_rotary_factor") if factor is not None]
    sizes = [size, *(int(size * factor) for factor in parts if _is_number(factor))]
    sizes += [size for size in _fields(network, "rotary_dim", "qk_rope_head_dim") if size is not None]
    known = all(map(_is_number, parts))
    return "a plane that rotates" if known and all(size >= PLANE for size in sizes) else None


def full_attention(network: Network) -> str | None:
    """Some layer sees the whole prompt, by what runs show and by what the configuration names."""
    kinds = _kinds(network)
    named = any(kind in FULL for kind in kinds) if kinds else not getattr(network.config, "sliding_window", None)
    return "full attention in some layer" if named and not network.windows_everywhere else None


def windows(network: Network) -> str | None:
    """No layer sees the whole prompt."""
    return "windows in every layer; for prompts shorter than one, exactly runs" if network.windows_everywhere else None


def full_layers_enough(network: Network) -> str | None:
    """A full layer that is rotary, or three without positions: of one alone the page names prompts that collide.

    Llama 4 scales the scores of a layer without positions with the place of the query, from a certain place on.
    """
    config = network.config
    full = [number for number, kind in enumerate(_kinds(network)) if kind in FULL]
    # Those of Cohere 2 are never rotary, whatever its configuration says.
    turned = () if config.model_type == "cohere2" else getattr(config, "no_rope_layers", None)
    if turned is None or network.windows_everywhere or (turned and len(turned) < network.blocks):
        return None
    if any(turned[number] for number in full if turned):
        return f"a rotary layer that sees everything; {rotated(network)}" if rotated(network) else None
    if len(full) < ORDERLESS:
        return None
    said = "three full layers without positions or more"
    if not getattr(config, "attn_temperature_tuning", False):
        return said
    scale = getattr(config, "floor_scale", None)
    below = f"prompts of fewer than {scale} tokens, where the temperature of these layers is 1"
    return f"{said}; {below}" if isinstance(scale, int) and scale > PLANE else None


def state_space(network: Network) -> str | None:
    """Some block has a state-space layer."""
    return "one state-space layer or more" if any(kind in STATE_SPACE for kind in _kinds(network)) else None


def two_channels(network: Network) -> str | None:
    """Each group of heads of a state-space layer has two channels."""
    config = network.config
    named = (("mamba_d_ssm",), ("mamba_num_heads", "mamba_head_dim"), ("mamba_expand", "hidden_size"),
             ("expand", "hidden_size"))  # fmt: skip
    sizes: Iterator[list[Any]] = ([getattr(config, name, None) for name in names] for names in named)
    inner = next((prod(size) for size in sizes if all(map(_is_number, size))), 0)
    return "two inner channels or more" if inner >= 2 * getattr(config, "n_mamba_heads", 1) else None


def time_passes(network: Network) -> str | None:
    """Steps of time, where they are clamped, may be above 0."""
    limits = getattr(network.config, "time_step_limit", (0.0, 1.0))
    known = isinstance(limits, list | tuple) and len(limits) == 2
    return "steps of time above 0" if known and isfinite(limits[0]) and limits[1] > max(limits[0], 0) else None


SETTING: tuple[Condition, ...] = (one_block, wide, normed, unclipped, unmuted)  # of every section of the page


def _kinds(network: Network) -> list[str]:
    """The kinds of the blocks behind the state, in their order; none where the configuration has no list of them."""
    named = (getattr(network.config, name, None) for name in ("layer_types", "attention_layers"))
    kinds: Sequence[str] = next((kinds for kinds in named if isinstance(kinds, list | tuple)), ())
    return list(kinds[: network.blocks])


def _fields(network: Network, *ends: str) -> list[Any]:
    """The values of all fields whose names end so, also in tables inside the configuration; not what forms logits."""
    return list(_ending(network.config.to_dict(), ends))


def _ending(fields: Mapping[str, Any], ends: tuple[str, ...]) -> Iterator[Any]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _ending(value, ends)
        elif str(name).endswith(ends) and not str(name).startswith("lm_head"):
            yield value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
