"""The tolerance of an inversion, derived from measured noise.

States that were captured elsewhere differ from recomputed ones: by the shape of the run (one forward, a cache, a
padded batch), by the number format they were computed in, and by the one they are stored in. A fixed number is wrong
on both sides; so the noise is measured for this model, layer and pair of formats, as a relative L2 error, because
the norms of states differ by orders of magnitude between positions.
"""

import copy
from dataclasses import dataclass, replace

import torch

from proofs.errors import InvalidInput
from sipit.capturing import capture
from sipit.corpus import random_tokens, section_prompts
from sipit.models import LanguageModel
from sipit.models.structure import find_decoder
from sipit.network import Layer, Network
from sipit.prefix import prefix_opener
from sipit.states import States
from sipit.storage import keep_json, kept_json

SAFETY = 4  # the tolerance is this multiple of the largest noise seen in a sample
_LENGTH = 48  # tokens of a calibration prompt
_SEED = 20251017


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest relative L2 residual that a true token may have; `kind` is `measured` or `given`."""

    value: float
    kind: str
    derived_from: str

    @classmethod
    def given(cls, value: float) -> "Tolerance":
        """A tolerance chosen by the user.

        Raises:
            InvalidInput: not a positive number below 1.
        """
        if not 0 < value < 1:
            raise InvalidInput(
                f"Expected a relative tolerance between 0 and 1, but got {value}; use 'auto' to have it measured."
            )
        return cls(value, "given", "the caller")


def derive_tolerance(model: LanguageModel, states: States) -> Tolerance:
    """The tolerance for these states: four times the largest relative noise between capturing and recomputing.

    The captures are repeated on calibration prompts in the dtype of the manifest (else in the stored dtype): one
    forward, token by token with a cache, and a batch padded on either side; and each is compared with both ways in
    which candidates are computed. A measurement, not a bound.
    """
    stored = states.arrays[0].dtype
    computed = getattr(torch, states.manifest.dtype) if states.manifest is not None else stored
    key = f"noise/{model.digest[:32]}-{states.layer}-{_name(model.dtype)}-{_name(computed)}-{_name(stored)}"
    key += f"-{model.device.type}.json"
    kept = kept_json(key)
    if kept is None:
        noise, positions = measure_noise(model, states.layer, computed=computed, stored=stored)
        kept = keep_json(key, {"noise": noise, "positions": positions})
    # Below the rounding of one operation there is nothing to measure, for instance at layer 0.
    floor = max(torch.finfo(dtype).eps for dtype in (stored, computed, model.dtype))
    names = " and ".join(dict.fromkeys(_name(dtype) for dtype in (computed, stored)))
    return Tolerance(
        value=max(SAFETY * kept["noise"], floor),
        kind="measured",
        derived_from=(
            f"{SAFETY} x the largest relative noise {kept['noise']:.2e} over {kept['positions']} positions between "
            f"captures in {names} and recomputation in {_name(model.dtype)} at layer {states.layer}"
        ),
    )


def measure_noise(
    model: LanguageModel, layer: Layer, *, computed: torch.dtype, stored: torch.dtype
) -> tuple[float, int]:
    """The largest relative L2 difference between captured and recomputed states, and how many positions were seen."""
    prompts = _calibration_prompts(model)
    capturing = model if computed == model.dtype else _in_dtype(model, computed)
    captures = [
        capture(capturing, prompts, layer=layer),
        capture(capturing, prompts, layer=layer, cached=True),
        capture(capturing, prompts, layer=layer, batch=len(prompts), padding="left"),
        capture(capturing, prompts, layer=layer, batch=len(prompts), padding="right"),
    ]
    network = Network(model, layer)
    prefix = prefix_opener(network)(network)
    noise, positions = 0.0, 0
    for number, prompt in enumerate(prompts):
        ids = torch.tensor(prompt, device=model.device)
        drafted = prefix.extend(0, ids[None])[0].double()
        prefix.keep(0)
        tested = prefix.candidates(torch.arange(len(prompt), device=model.device), ids).double()
        for captured in captures:
            observed = captured[number].to(stored).to(model.device).double()
            for recomputed in (drafted, tested):
                relative = (recomputed - observed).norm(dim=1) / observed.norm(dim=1)
                noise = max(noise, float(relative.max()))
        positions += len(prompt)
    return noise, positions


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _calibration_prompts(model: LanguageModel) -> list[list[int]]:
    """Natural text where there is a tokenizer, and random tokens, of unequal lengths so that batches are padded."""
    generator = torch.Generator().manual_seed(_SEED)
    length = min(_LENGTH, model.context or _LENGTH)
    natural = section_prompts(model, count=3, length=length)
    drawn = random_tokens(model, (3, length), generator=generator).tolist()
    return [ids[: max(1, length - 7 * number)] for number, ids in enumerate(natural + drawn)]


def _in_dtype(model: LanguageModel, dtype: torch.dtype) -> LanguageModel:
    """The same model computing in another dtype."""
    module = copy.deepcopy(model.module).to(dtype)
    return replace(model, module=module, decoder=find_decoder(module), dtype=dtype)
