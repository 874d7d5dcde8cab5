"""In which class of its base an adapter was trained, found by loading it there without a single number.

On the meta device a rank of a thousand million costs nothing, so `peft` itself loads the adapter into a base that has
shapes alone. Whatever does not fit (a rank, a width, a name) is found before anything is read.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, get_args

import torch

from proofs.errors import InvalidInput, SipitError, Unsupported
from sipit.models.adapter import Adapter
from sipit.models.library import one_line, quiet
from sipit.models.stored_class import Task, auto_class

_STORED = {
    "F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_PREFIX = "base_model.model."
_LABELS = ("score.", "classifier.", "qa_outputs.")  # heads whose rows are labels
_MISMATCH = re.compile(r"size mismatch for (\S+): .*?torch\.Size\((.*?)\).*?torch\.Size\((.*?)\)", re.DOTALL)
_SIZES = {"r", "rank", "num", "size", "dim", "length", "frequency"}  # words in the names of fields that are sizes
_NOT_OURS = {"auto_mapping", "runtime_config"}  # name code to import, or a machine


@dataclass(frozen=True, slots=True)
class Fit:
    """The class of the base in which an adapter was trained, with so many labels and rows of the embedding."""

    task: Task
    labels: int | None
    rows: int | None


def described_by(peft: Any, adapter: Adapter) -> Any:
    """The configuration of an adapter as `peft` holds it, without what names code to import.

    Raises:
        Unsupported: this version of the library does not know a field that is set.
    """
    known = {field.name for field in fields(peft.PEFT_TYPE_TO_CONFIG_MAPPING[adapter.kind])}
    new = sorted(name for name, value in adapter.fields.items() if value and name not in known | _NOT_OURS)
    if new:
        raise Unsupported(
            f"Expected an adapter that peft {peft.__version__} knows whole, but {adapter.name} has {new[0]!r}; "
            "install a newer one."
        )
    given = {name: value for name, value in adapter.fields.items() if name in known - _NOT_OURS}
    described = peft.PeftConfig.from_peft_type(**given)
    described.inference_mode = True
    return described


def fitting(peft: Any, adapter: Adapter, config: Any) -> Fit:
    """The first class of the base into which the adapter loads without a rest; its own task comes first.

    Raises:
        InvalidInput: it fits none; says why not in the first.
    """
    own = adapter.fields.get("task_type")
    tasks: list[Task] = sorted(get_args(Task), key=lambda task: task != own)
    faults: list[str] = []
    for task in tasks:
        fit = Fit(task, _labels(adapter) if task in {"SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"} else None, None)
        try:
            with quiet(), torch.device("meta"):
                empty = _empty(config, fit)
                if empty is None:
                    continue
                fit = Fit(fit.task, fit.labels, _rows(adapter, empty))
                with_rows(empty, adapter, fit.rows)
                fault = _rehearsed(peft, adapter, empty)
        except SipitError:
            raise
        except Exception as error:  # noqa: BLE001 - every method of adapting has errors of its own
            fault = one_line(error)
        if fault is None:
            return fit
        faults.append(fault)
    raise InvalidInput(
        f"Expected an adapter that fits {adapter.base}, but {adapter.name} ({adapter.kind}) does not: "
        f"{faults[0] if faults else 'the base writes no text'}; name the base that it was trained on."
    )


def _empty(config: Any, fit: Fit) -> Any:
    """A model of the base's class for a task, without numbers; None where the library has no such class."""
    config = copy.deepcopy(config)
    if fit.labels is not None:
        config.num_labels = fit.labels
    try:
        return auto_class(config, fit.task).from_config(config, trust_remote_code=False)
    except ValueError:
        return None


def _rehearsed(peft: Any, adapter: Adapter, empty: Any) -> str | None:
    """Loads the adapter into a base without numbers: what does not fit, or None."""
    described = described_by(peft, adapter)
    if getattr(described, "init_lora_weights", None):
        described.init_lora_weights = False  # some ways to begin look at numbers, and what is loaded is not begun
    try:
        model = peft.get_peft_model(empty, described, low_cpu_mem_usage=True)
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error).lower():
            raise
        return _too_large(adapter)  # a few methods compute with numbers while they are set up
    tensors = {one.name: torch.empty(one.shape, dtype=_STORED[one.dtype]) for one in adapter.tensors}
    return load_into(peft, model, tensors)


def load_into(peft: Any, model: Any, tensors: dict[str, torch.Tensor]) -> str | None:
    """Puts the tensors of an adapter into its places: what is left over or left open, or None."""
    try:
        result = peft.set_peft_model_state_dict(model, tensors, "default")
    except KeyError as error:
        return f"it has no {error.args[0]}"
    except RuntimeError as error:
        other = _MISMATCH.search(str(error))
        return one_line(error) if other is None else "its {} is {}, where the base takes {}".format(*other.groups())
    left = [name for name in result.unexpected_keys if _plain(name) not in tensors.keys() - {name}]
    if left:
        return f"its tensor {left[0]} has no place there"
    places = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    prefix = peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING.get(model.peft_config["default"].peft_type) or ""
    missing = set(result.missing_keys)
    filled = {id(place) for name, place in places.items() if name not in missing}  # one place may have many names
    for name in result.missing_keys:
        if prefix in name and ".default" in name and id(places.get(name)) not in filled:
            return f"it has no {name}"
    return None


def _plain(name: str) -> str:
    """The name of a whole layer, which `peft` may save under this one and under those of the parts that replace it."""
    return name.replace(".modules_to_save.", ".").replace(".original_module.", ".")


def _too_large(adapter: Adapter) -> str | None:
    """A number in the configuration that is a size and larger than all that the adapter stores, or None."""
    stored = sum(one.end - one.start for one in adapter.tensors)
    for name, value in adapter.fields.items():
        if isinstance(value, int) and value > stored and set(name.split("_")) & set(_SIZES):
            return f"{name}={value} is more than the {stored} bytes that it stores"
    return None


def _labels(adapter: Adapter) -> int | None:
    """How many labels the head has that was saved with the adapter."""
    names = {one.name.removeprefix(_PREFIX): one.shape for one in adapter.tensors}
    heads = [shape for name, shape in names.items() if name.startswith(_LABELS) and name.endswith("weight") and shape]
    return heads[0][0] if heads else None


def _rows(adapter: Adapter, module: Any) -> int | None:
    """Rows of the embedding that was saved with the adapter, where they are not as many as the base has."""
    table = module.get_input_embeddings()
    stored = {one.shape[0] for one in _saved(adapter, module, table) if one.shape}
    return stored.pop() if len(stored) == 1 and stored != {table.num_embeddings} else None


def _saved(adapter: Adapter, module: Any, part: Any) -> Iterator[Any]:
    """The tensors of the adapter that stand for the whole weight of a part of the base."""
    path = next((path for path, one in module.named_modules() if one is part), None)
    names = {f"{_PREFIX}{path}.weight", f"{_PREFIX}{path}.base_layer.weight"}
    return (one for one in adapter.tensors if one.name in names)


def with_rows(module: Any, adapter: Adapter, rows: int | None) -> bool:
    """Gives the embedding of a base as many rows as the adapter has; whether the head is then whole."""
    if rows is None:
        return True
    module.resize_token_embeddings(rows, mean_resizing=False)
    head = module.get_output_embeddings()
    tied = head is not None and head.weight is module.get_input_embeddings().weight
    return tied or any(True for _ in _saved(adapter, module, head))
