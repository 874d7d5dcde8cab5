"""A checkpoint in the class of the library that it is for, with what was not stored told apart.

The body of the text decoder has to be stored whole. A head that was not stored (a classifier's checkpoint, an
embedding model's) is drawn at random by the library; it is remembered as missing, and never used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from numerics.networks.text_class import multimodal
from proofs.errors import InvalidInput, Unsupported
from sipit.models.digest import digest_of_files
from sipit.models.files import file_of, weight_files
from sipit.models.library import one_line, quiet
from sipit.models.structure import body_of

Task = Literal["CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"]

# The library would apply an adapter beside the weights on its own, or not, as its version has it. It looks for none in
# a folder that is not there.
_NO_ADAPTER = {"subfolder": "no-adapter"}


@dataclass(frozen=True, slots=True)
class Whole:
    """A module as its checkpoint stores it: with a head that writes text (`has_head`), or without; its digest."""

    module: Any
    has_head: bool
    digest: str


def auto_class(config: Any, task: Task = "CAUSAL_LM") -> Any:
    """The class of the library that chooses the class for a task; a language model may see and hear as well."""
    import transformers

    has_encoder = any(getattr(part, "is_encoder_decoder", False) for part in (config, config.get_text_config()))
    if task == "CAUSAL_LM" and multimodal(type(config)) and not has_encoder:
        return getattr(transformers, "AutoModelForMultimodalLM", transformers.AutoModelForImageTextToText)
    return {
        "CAUSAL_LM": transformers.AutoModelForCausalLM,
        "SEQ_CLS": transformers.AutoModelForSequenceClassification,
        "TOKEN_CLS": transformers.AutoModelForTokenClassification,
        "QUESTION_ANS": transformers.AutoModelForQuestionAnswering,
        "FEATURE_EXTRACTION": transformers.AutoModel,
    }[task]


def _headless_class(config: Any) -> Any | None:
    """The class of the library that a checkpoint names as its own, where that is one that writes no text."""
    import transformers

    for name in config.architectures or ():
        kind: Any = getattr(transformers, name, None) if isinstance(name, str) else None
        if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel) and not kind.can_generate():
            return kind if kind.config_class is type(config) else None
    return None


def read_whole(
    name: str,
    dtype: torch.dtype,
    *,
    device_map: Any = None,
    task: Task | None = None,
    labels: int | None = None,
) -> Whole:
    """Loads a directory or a hub id that holds weights, in its own class or in that for a task with so many labels.

    Raises:
        InvalidInput: weights of the body are missing.
        Unsupported: no class of the library, or one that refuses the checkpoint.
        OSError: nothing there that the library can read.
    """
    config = read_whole_config(name, labels=labels)
    own = _headless_class(config) if task is None else None
    try:
        with quiet():
            module, found = (own or auto_class(config, task or "CAUSAL_LM")).from_pretrained(
                name,
                config=config,
                dtype=dtype,
                device_map=device_map,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                adapter_kwargs=dict(_NO_ADAPTER),
            )
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - the classes of models refuse checkpoints with anything
        raise _refused(name, config, error) from None
    missing = sorted(found["missing_keys"])
    inside = [key for key in missing if _is_inside(module, key)]
    if inside:
        raise InvalidInput(
            f"Expected every weight in {name}, but {len(inside)} are missing, {inside[0]} first, and would be drawn "
            "at random; copy the model again."
        )
    folder = Path(str(file_of(name, "config.json"))).parent
    stored = config if labels is None else read_whole_config(name)
    return Whole(module, not missing and _writes_text(module, stored), digest_of_files(stored, weight_files(folder)))


def read_whole_config(name: str, *, labels: int | None = None) -> Any:
    """The configuration of a directory or a hub id.

    Raises:
        Unsupported: of a class that is not in the library.
        OSError: there is none.
    """
    from transformers import AutoConfig

    try:
        with quiet():
            given = {} if labels is None else {"num_labels": labels}
            return AutoConfig.from_pretrained(name, trust_remote_code=False, **given)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - the classes of configurations refuse values with anything
        raise _refused(name, None, error) from None


def _refused(name: str, config: Any, error: BaseException) -> Unsupported:
    reason = one_line(error)
    if "trust_remote_code" in str(error):
        reason = "it needs code of its own, which is never run; name a model whose class is in the library"
    elif "Unrecognized configuration class" in str(error):
        reason = f"the library has no decoder-only class for {config.model_type!r}; name another model"
    return Unsupported(f"Expected a causal language model that transformers loads, but {name} is not: {reason}.")


def _is_inside(module: Any, key: str) -> bool:
    """Whether a stored name belongs to the body of the text decoder."""
    body = body_of(module)
    path = next(path for path, part in module.named_modules() if part is body)
    return key.startswith(f"{path}." if path else "")


def _writes_text(module: Any, config: Any) -> bool:
    """Whether a checkpoint has a head: stored on its own, or tied to the embedding in a class that writes text."""
    head = module.get_output_embeddings()
    tied = head is not None and getattr(head, "weight", None) is module.get_input_embeddings().weight
    return head is not None and not (tied and _headless_class(config) is not None)
