"""The text decoder of a whole model, as a language model of its own, in the class that is captured as a graph.

What sees or hears is left behind, and so is a head that does not write text. That the decoder alone does what it does
inside the whole is not believed: both run one short prompt of text.
"""

from typing import Any

import torch

from numerics.networks.text_class import new_text_model, text_part
from proofs.errors import Unsupported
from sipit.models.abilities import agree
from sipit.models.hooks import hooked
from sipit.models.library import one_line, quiet
from sipit.models.stored_class import Whole
from sipit.models.structure import body_of

_LENGTH = 4  # tokens of the prompt on which the decoder is compared with the whole model


def text_model(whole: Whole) -> tuple[Any, list[str]]:
    """The module to work with, and in words what was left behind of the whole one.

    Raises:
        Unsupported: no class of the library holds this decoder, or it does something else inside the whole model.
    """
    module, notes = whole.module, list[str]()
    config = module.config.get_text_config()
    if not whole.has_head:
        notes.append("no language-model head is stored, so drafts have no prior of it")
    if config is not module.config:
        _check_alike(module)
        notes.append(f"the text decoder of {type(module).__name__}, with text alone")
    elif module.can_generate():
        if not whole.has_head:
            _take_out(module, body_of(module), *_tied_head(module))
        return module, notes
    alone = _alone(module, config, module.get_output_embeddings() if whole.has_head else None)
    alone.hf_quantizer = getattr(module, "hf_quantizer", None)  # some methods pack into what no weight tells of
    return alone, notes


def _alone(module: Any, config: Any, head: Any) -> Any:
    """The body of a module in the class for its own configuration, and with its head where there is one."""
    body, kind = body_of(module), type(module).__name__
    if text_part(config) is None:
        raise Unsupported(f"Expected a decoder-only language model, but {kind} holds none; name another model.")
    with torch.device("meta"), quiet():
        shell = new_text_model(config, dtype=torch.float32)
    empty = body_of(shell)
    if type(empty) is not type(body):
        raise Unsupported(
            f"Expected the text decoder of {kind} to be {type(empty).__name__}, but it is {type(body).__name__}; "
            "name a model of text alone."
        )
    if empty is shell:
        if head is not None:
            body.lm_head = head
        return body
    shell.set_submodule(next(path for path, part in shell.named_modules() if part is empty), body)
    if head is not None:
        shell.set_output_embeddings(head)
    else:
        shell.tie_weights()
    _take_out(shell, body, *([] if head is None else [head]), *_tied_head(shell))
    return shell.requires_grad_(False).eval()


def _tied_head(module: Any) -> list[Any]:
    """The head that shares all it has with the embedding, which proofs may name it by; nothing where there is none."""
    head, table = module.get_output_embeddings(), module.get_input_embeddings()
    tied = head is not None and all(parameter is table.weight for parameter in head.parameters())
    return [head] if tied else []


def _take_out(module: Any, *kept: Any) -> None:
    """Takes every part out of a module that is none of the kept ones and holds none of them."""
    for name, part in list(module.named_children()):
        if any(part is one for one in kept):
            continue
        if any(inner is one for inner in part.modules() for one in kept):
            _take_out(part, *kept)
        else:
            setattr(module, name, None)


def _check_alike(module: Any) -> None:
    """Runs a prompt of text through a whole model and through its decoder alone.

    Raises:
        Unsupported: the whole model does not run on text alone, or its decoder then gives other states.
    """
    body, kind = body_of(module), type(module).__name__
    seen: list[torch.Tensor] = []
    reason = ""
    ids = torch.tensor([_ordinary_tokens(module)], device=next(body.parameters()).device)

    def look(_module: Any, _arguments: Any, output: Any) -> None:
        seen.append(output[0])

    try:
        with hooked(lambda: [body.register_forward_hook(look)]), torch.inference_mode(), quiet():
            body(input_ids=ids)
            module(input_ids=ids)
    except Exception as error:  # noqa: BLE001 - a model that wants a picture raises anything
        reason = f" ({one_line(error)})"
    if len(seen) != 2:
        raise Unsupported(
            f"Expected a model that runs on text alone, but {kind} does not{reason}; name a model of text alone."
        )
    if not agree(*seen, dtype=seen[0].dtype):
        raise Unsupported(
            f"Expected the text decoder of {kind} to give the same states alone as inside it, but it does not; "
            "name a model of text alone."
        )


def _ordinary_tokens(module: Any) -> list[int]:
    """The first ids that the configuration gives no part to play, such as that of standing for a picture."""
    config = module.config
    parts = [config, *(value for value in vars(config).values() if hasattr(value, "to_dict"))]
    special = {
        value for part in parts for name, value in vars(part).items() if "token" in name and isinstance(value, int)
    }
    rows = module.get_input_embeddings().num_embeddings
    ordinary = [token for token in range(min(rows, len(special) + _LENGTH)) if token not in special]
    return (ordinary or [0])[:_LENGTH]
