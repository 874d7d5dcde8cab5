"""The text decoder inside a multimodal configuration: its own configuration, and the class that it is built in.

A model that also sees or hears holds a text decoder with a configuration of its own. For most of these the library
has a causal class (`LlamaForCausalLM` for the text of Llava); for the others (Qwen2-VL) it has the body alone.
"""

import copy
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any

_CONTEXTS = ("max_position_embeddings", "max_seq_len", "max_target_positions")


def multimodal(kind: type[Any]) -> bool:
    """Whether the library has a class for this kind of configuration that writes text from other inputs too."""
    from transformers.models.auto import modeling_auto

    return (
        kind in modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING
        or kind in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    )


def text_part(config: Any) -> Any | None:
    """The configuration of the decoder: itself where it is one, its text part where it is multimodal, else None."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return config
    text = config.get_text_config() if multimodal(type(config)) else config
    known = type(text) in MODEL_FOR_CAUSAL_LM_MAPPING or _class_beside(type(text)) is not None
    return text if known and (text is not config or _is_part(type(config))) else None


def new_text_model(config: Any, **options: Any) -> Any:
    """A model in the class for the decoder of a configuration: a causal one, else the body; its weights are random.

    Args:
        config: one that `text_part` returns.
        **options: of `from_config`, such as `dtype` and `attn_implementation`.
    """
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False, **options)
    kind: Any = _class_beside(type(config))
    return kind._from_config(config, **options)


def text_blocks(config: Any, blocks: Iterable[Any]) -> tuple[Any, ...]:
    """The blocks of a decoder that run on text; some (of Mllama) look at pictures alone, as the config says."""
    looking = getattr(config, "cross_attention_layers", None) or ()
    return tuple(block for number, block in enumerate(blocks) if number not in looking)


def context_of(config: Any) -> int | None:
    """The longest prompt that the configuration of a decoder names, in tokens; None where it names none."""
    decoder = getattr(config, "get_text_config", lambda: config)()
    named = (getattr(decoder, name, None) for name in _CONTEXTS)
    return next((length for length in named if type(length) is int), None)


def with_context(config: Any, length: int) -> Any:
    """A copy of the configuration of a decoder that names a context of at most so many tokens, where it names one."""
    shorter = copy.deepcopy(config)
    for name in _CONTEXTS:
        named = getattr(shorter, name, None)
        if type(named) is int:
            setattr(shorter, name, min(named, length))
    return shorter


@cache
def _class_beside(kind: type[Any]) -> Any | None:
    """The class for a kind of configuration in the library's own module beside it, one that generates if there is."""
    from transformers import PreTrainedModel

    if not kind.__module__.startswith("transformers.models."):
        return None
    name = kind.__module__.replace(".configuration_", ".modeling_")
    found = [
        part
        for part in vars(import_module(name)).values()
        if isinstance(part, type) and issubclass(part, PreTrainedModel) and part.__module__ == name
        and part.config_class is kind and not part.__name__.endswith("PreTrainedModel")
    ]  # fmt: skip
    order = sorted(found, key=lambda part: (not part.can_generate(), not part.__name__.endswith("TextModel")))
    return order[0] if order else None


@cache
def _is_part(kind: type[Any]) -> bool:
    """Whether a kind of configuration is the text part of a multimodal one that the library defines beside it."""
    from transformers import PretrainedConfig

    wholes: list[Any] = [
        whole
        for whole in vars(import_module(kind.__module__)).values()
        if isinstance(whole, type) and issubclass(whole, PretrainedConfig) and multimodal(whole)
    ]
    return any(whole.sub_configs.get("text_config") is kind for whole in wholes)
