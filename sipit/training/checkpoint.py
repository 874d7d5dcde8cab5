"""Checkpoints of training: one safetensors file, parameters and optimizer state as tensors, all else as JSON beside.

The JSON lies in the metadata of the same file, so that a checkpoint is written whole or not at all. Nothing in it is
ever run, and sizes are held against the file before anything is read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from proofs.errors import InvalidInput
from proofs.evidence import write_atomically
from sipit.cache import note_of, opened_tensors, sealed_tensors

SCHEMA = "sipit-checkpoint/2"
CHECKPOINT = "checkpoint.safetensors"  # its name in the folder of a run


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Where a run stands: tensors by name, the step reached, and what was measured so far (JSON)."""

    tensors: Mapping[str, torch.Tensor]
    step: int
    series: list[dict[str, Any]]


def write_checkpoint(path: Path, checkpoint: Checkpoint, settings: Mapping[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all; `settings` say which run it belongs to.

    Raises:
        InvalidInput: the file cannot be written.
    """
    about = {"schema": SCHEMA, "settings": dict(settings), "step": checkpoint.step, "series": checkpoint.series}
    tensors = {name: tensor.detach() for name, tensor in checkpoint.tensors.items()}
    write_atomically(path, sealed_tensors(tensors, json.dumps(about, allow_nan=False)))


def read_checkpoint(path: Path, settings: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint of the same run, or None where there is none yet.

    Raises:
        InvalidInput: a file that is no checkpoint, or a damaged one, or one of a run with other settings.
    """
    if not path.exists():
        return None
    about: Any = None
    try:
        about = json.loads(note_of(path))
        known = about["schema"] == SCHEMA and type(about["step"]) is int and isinstance(about["series"], list)
        found = about["settings"] if known else None
    except (ValueError, TypeError, KeyError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput(f"Expected a checkpoint of ours, but {path} is none; choose another --folder.")
    wanted = json.loads(json.dumps(dict(settings)))
    differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if differing:
        raise InvalidInput(
            f"Expected a checkpoint of the same run, but {path} has other {', '.join(differing)}; "
            "choose another --folder, or the same options."
        )
    opened = opened_tensors(path)
    if opened is None:
        raise InvalidInput(f"Expected a checkpoint as it was written, but {path} is damaged; remove it.")
    return Checkpoint(opened[0], about["step"], about["series"])
