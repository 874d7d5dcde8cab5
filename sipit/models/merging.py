"""An adapter merged into the weights of its base: the network that is worked with, and that the proofs are about.

It is merged in float32 (float64 where that is wanted), so that every weight of the result is rounded once, by the cast
to the type that is computed in. That merging changed no state is seen on a short prompt.
"""

from typing import Any

import torch
from torch import nn

from numerics.dtypes import name_of
from proofs.errors import MissingResource, SipitError, Unsupported
from sipit.models.abilities import agree
from sipit.models.adapter import Adapter, no_base
from sipit.models.digest import digest_of_adapter
from sipit.models.fitting import described_by, fitting, load_into, with_rows
from sipit.models.library import one_line, quiet
from sipit.models.stored_class import Whole, read_whole, read_whole_config
from sipit.models.structure import body_of

_LENGTH = 4  # tokens of the prompt on which the merged model is compared with the adapted one


def merged(adapter: Adapter, dtype: torch.dtype) -> Whole:
    """The base with the adapter merged into it, in float32 or wider; its notes say so.

    Raises:
        MissingResource: `peft` is not installed.
        InvalidInput: no base, or an adapter that does not fit it.
        Unsupported: an adapter that changes more than weights.
    """
    peft = _peft(adapter)
    _check_kind(peft, adapter)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    try:
        config = read_whole_config(adapter.base)
        fit = fitting(peft, adapter, config)
        whole = read_whole(adapter.base, wide, task=fit.task, labels=fit.labels)
    except OSError:
        raise no_base(adapter) from None
    has_head = with_rows(whole.module, adapter, fit.rows) and whole.has_head
    try:
        with quiet(), torch.no_grad():
            module = _merge(peft, adapter, whole.module, wide)
    except SipitError:
        raise
    except Exception as error:  # noqa: BLE001 - every method of adapting has errors of its own
        raise _not_merged(adapter, one_line(error)) from None
    digest = digest_of_adapter(adapter.fields, adapter.weights, whole.digest)
    where = "the weights beside it" if adapter.beside else adapter.base
    precision = name_of(wide)
    note = f"the adapter ({adapter.kind}) merged in {precision} into {where}"
    return Whole(module, has_head, digest, (*whole.notes, note))


def _peft(adapter: Adapter) -> Any:
    try:
        import peft
    except ImportError:
        raise MissingResource(
            f"Expected the library peft, which applies the adapter {adapter.name}, but it is not installed; "
            "run: pip install 'sipit[adapters]'"
        ) from None
    return peft


def _check_kind(peft: Any, adapter: Adapter) -> None:
    """Raises where the library knows no such method, or where it is none that changes weights."""
    kinds = {getattr(kind, "value", kind): made for kind, made in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if adapter.kind not in kinds:
        raise Unsupported(
            f"Expected a kind of adapter that peft {peft.__version__} knows, but {adapter.name} is {adapter.kind!r}; "
            "install a newer one, or merge the adapter into its base."
        )
    if issubclass(kinds[adapter.kind], peft.PromptLearningConfig):
        raise Unsupported(
            f"Expected an adapter that changes weights, but {adapter.name} ({adapter.kind}) puts tokens of its own "
            "before every prompt; name the base."
        )


def _merge(peft: Any, adapter: Adapter, base: Any, wide: torch.dtype) -> Any:
    """The base with the adapter in its weights."""
    from safetensors.torch import load_file

    config = base.config
    model = peft.get_peft_model(base, described_by(peft, adapter))
    fault = load_into(peft, model, load_file(adapter.weights))
    if fault is not None:
        raise _not_merged(adapter, fault)
    model = model.to(wide).eval()
    before = _states(model.get_base_model())
    _untie(model)
    module = model.merge_and_unload(safe_merge=True)
    if not agree(before, _states(module), dtype=wide):
        raise _not_merged(adapter, "the states are then others")
    _tie_again(module, config)
    return module


def _states(module: Any) -> torch.Tensor:
    body = body_of(module)
    rows = module.get_input_embeddings().weight.shape[0]
    ids = torch.arange(1, _LENGTH + 1, device=module.device) % rows
    return body(input_ids=ids[None])[0]


def _untie(model: nn.Module) -> None:
    """Gives every part its own copy of a weight that it shares, so that merging into one leaves the others alone."""
    seen: set[int] = set()
    for part in model.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            if id(weight) in seen:
                setattr(part, name, nn.Parameter(weight.clone(), requires_grad=False))
            seen.add(id(weight))


def _tie_again(module: Any, config: Any) -> None:
    """Lets the head share the rows of the embedding where these are still equal; else says that it does not."""
    head, table = module.get_output_embeddings(), module.get_input_embeddings()
    if head is None or not getattr(config.get_text_config(), "tie_word_embeddings", False):
        return
    if torch.equal(head.weight, table.weight):
        head.weight = table.weight
    else:
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False


def _not_merged(adapter: Adapter, reason: str) -> Unsupported:
    return Unsupported(
        f"Expected an adapter that can be merged into its base, but {adapter.name} ({adapter.kind}) cannot: {reason}; "
        "name a merged model."
    )
