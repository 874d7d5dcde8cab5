"""The checks that run on torch: processor, devices, the embedded model, a model's body, a round trip."""

from collections.abc import Iterator

from numerics.dtypes import name_of
from proofs.errors import InvalidInput, MissingResource
from sipit.installation.checks import Check, degraded, ok, tried
from sipit.installation.devices import check_devices, examine_device, present_devices
from sipit.installation.found import Examination
from sipit.installation.processor import check_processor
from sipit.installation.round_trip import check_abilities, check_round_trip
from sipit.memory import GIB
from sipit.models import LanguageModel, load_model
from sipit.models.smollm2 import gguf_file


def check_machine(found: Examination, name: str, *, dtype: str, device: str, seed: int) -> Iterator[Check]:
    """Their lines; devices, model and abilities are put into what is found.

    Raises:
        InvalidInput: no such model, dtype or device.
    """

    def devices() -> Iterator[Check]:
        found.devices = [examine_device(present) for present in present_devices()]
        yield from check_devices(found.devices)

    def model() -> Iterator[Check]:
        found.model = loaded = load_model(name, dtype=dtype, device=device, seed=seed)
        sizes = f"{loaded.layers} blocks of width {loaded.width}, {loaded.vocabulary_size} tokens"
        yield ok("model", f"{name}: {sizes}, in {name_of(loaded.dtype)} on {loaded.device}")

    def abilities(model: LanguageModel) -> Iterator[Check]:
        found.abilities = model.abilities.as_dict()
        yield check_abilities(model)

    yield from tried("processor", check_processor)
    yield from tried("devices", devices)
    yield from tried("embedded model", check_embedded)
    yield from tried("model", model, let_through=InvalidInput)
    if (loaded := found.model) is not None:
        yield from tried("abilities", lambda: abilities(loaded))
        yield from tried("round trip", lambda: check_round_trip(loaded, seed=seed))


def check_embedded() -> Iterator[Check]:
    """The line about the embedded model."""
    try:
        path = gguf_file()
    except MissingResource:
        yield degraded("embedded model", "smollm2 is not installed", "sipit download smollm2")
    else:
        yield ok("embedded model", f"smollm2: {path.name}, {path.stat().st_size / GIB:.2f} GiB")
