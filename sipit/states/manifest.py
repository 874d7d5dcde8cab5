"""The manifest of a states file: which model, layer and arithmetic the states come from, and never the prompt."""

import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput
from proofs.kernel.result import same
from sipit.models import LanguageModel
from sipit.observations.observation import Observation
from sipit.record import versions

STATES_SCHEMA = "sipit-states/1"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where states come from; `dtype` is the type that the capturing model computed in, `bos` whether ids start so.

    `observation` is what was observed, as `Observation.to_json` writes it; None for the residual stream at the layer.
    `layers` names all of a file with several, of which `layer` is the last (`sipit.states.layered`). `fingerprint` says
    that rows are so many projections, drawn with that seed (`sipit.privacy.fingerprint`).
    """

    model: str
    digest: str
    layer: Any
    norm: str
    dtype: str
    bos: bool
    versions: dict[str, str]
    schema: str = STATES_SCHEMA
    observation: dict[str, Any] | None = None
    layers: tuple[int, ...] | None = None
    fingerprint: tuple[int, int] | None = None

    def check_model(self, model: LanguageModel) -> None:
        """Raises InvalidInput where the states are of another model."""
        if self.digest != model.digest:
            raise InvalidInput(
                f"Expected states of {model.name} (digest {model.digest[:16]}), but they were captured from "
                f"{self.model} (digest {self.digest[:16]}){self.doubt}; name that model."
            )

    @property
    def doubt(self) -> str:
        """What else than another model may have made the digest another, as the end of a clause; empty for nothing.

        A release of the library may give a configuration further fields, and the digest is of them too.
        """
        theirs, ours = self.versions.get("transformers", "of a release that is not said"), versions()["transformers"]
        if theirs == ours:
            return ""
        return f", unless transformers {theirs} gave it another digest than {ours} does (install the former to see)"

    @property
    def observed(self) -> Observation:
        """What was observed."""
        plain = {"sites": ["residual"], "layers": [self.layer], "top": None}
        return Observation.from_json(plain if self.observation is None else self.observation)


_DTYPES = ("float64", "float32", "float16", "bfloat16")


def read_manifest(path: Path, text: str) -> Manifest:
    """The manifest of a file, of its text.

    Raises:
        InvalidInput: it is none of ours, or a field of it is damaged: which.
    """
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput(f"Expected a manifest in JSON, but that of {path} is none; capture it again.") from None
    if not isinstance(data, dict) or data.get("schema") != STATES_SCHEMA:
        raise InvalidInput(f"Expected a manifest of schema {STATES_SCHEMA}, but {path} has another; capture it again.")
    fault = _damaged(data)
    if fault is None:
        for name in ("layers", "fingerprint"):
            data[name] = None if data.get(name) is None else tuple(data[name])
        manifest = Manifest(**data)
        try:
            # Compared by type as well: true is no layer 1.
            fault = None if same(manifest.observed.layer, manifest.layer) else "layer"
        except (ValueError, TypeError, KeyError, RecursionError):
            fault = "layer" if manifest.observation is None else "observation"
        if fault is None:
            return manifest
    raise InvalidInput(
        f"Expected a whole manifest, but in that of {path} the field {fault!r} is missing, unknown or damaged; capture "
        "it again."
    )


def _damaged(data: dict[str, Any]) -> str | None:
    """The first field of a manifest that is missing, unknown, or of the wrong kind; None where each is sound by itself.

    Layers and observations are looked at as a whole, in `read_manifest`.
    """
    known = {field.name: field.default is MISSING for field in fields(Manifest)}
    layers, kept = data.get("layers"), data.get("fingerprint")
    sound = {
        **{name: name in data for name, needed in known.items() if needed},
        **{name: isinstance(data.get(name), str) for name in ("model", "digest", "norm")},
        "dtype": data.get("dtype") in _DTYPES,
        "versions": _words(data.get("versions")),
        "layers": layers is None or (_whole_numbers(layers) and bool(layers)),
        "fingerprint": kept is None or (_whole_numbers(kept) and len(kept) == 2),
        **{name: False for name in data if name not in known},
    }
    return next((name for name, good in sound.items() if not good), None)


def _words(given: Any) -> bool:
    return isinstance(given, dict) and all(isinstance(one, str) for one in given.values())


def _whole_numbers(given: Any) -> bool:
    return isinstance(given, list) and all(type(one) is int for one in given)
