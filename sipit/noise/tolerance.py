"""The tolerance of an inversion, derived from measured noise.

A fixed number is wrong on both sides: states captured elsewhere differ from recomputed ones, by an amount that
depends on the model, the layer and the number format, and here and there on the prompt.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch

from numerics.dtypes import name_of
from numerics.grids import grid_type
from proofs.errors import InvalidInput
from sipit.cache import keep_json, kept_json, measured_with
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.noise.measured import Noise, measure_noise
from sipit.noise.spread import rounding_unit, spread_of_rounding
from sipit.noise.stored_steps import ANYHOW, NEAREST, coarse_box
from sipit.observations.observation import Observation
from sipit.observations.top import stored_values, without_ids
from sipit.states.files import States, floats_in, look_into, manifest_of

COARSE = 1e-4  # rounding unit from which a type counts as a half type
_MOST = 0.5  # tolerance of an ill-conditioned position: unrelated states lie about 1 apart
_FAR = 1e4  # multiples of a tolerance beyond which a residual is no rounding, however amplified
SAFETY = 4  # a tolerance is this multiple of the noise that was measured or estimated


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest relative L2 residual that a true token may have; `kind` is `measured` or `given`.

    `ratio` and `unit` derive the tolerance of a single ill-conditioned position, see `at`; 0 where none is wanted.
    `damped` says that residuals are taken in the damped distance of `sipit.noise.distances`; `boxed`, that they count
    from the box of all values that would have been stored alike, so many steps to either side (0: from the values
    themselves); `left_out` names the ways of capturing that were not counted, with the reasons.
    """

    value: float
    kind: str
    derived_from: str
    ratio: float = 0.0
    unit: float = 0.0
    damped: bool = False
    boxed: float = 0.0
    left_out: tuple[str, ...] = ()

    @classmethod
    def asked(cls, value: "float | str | Tolerance | None") -> "Tolerance | None":
        """The one that a caller wants; None where it is to be measured, which None and 'auto' stand for.

        Raises:
            InvalidInput: as for `given`.
        """
        if value is None or (isinstance(value, str) and value == "auto"):
            return None
        return value if isinstance(value, cls) else cls.given(value)

    @classmethod
    def given(cls, value: Any) -> "Tolerance":
        """A tolerance chosen by the user, the same everywhere.

        Raises:
            InvalidInput: not a positive number below 1.
        """
        try:
            sound = 0 < float(value) < 1
        except (TypeError, ValueError, RuntimeError):
            sound = False
        if not sound:
            raise InvalidInput(
                f"Expected a relative tolerance between 0 and 1, but got {value!r}; use 'auto' to have it measured."
            )
        return cls(float(value), "given", "the caller")

    def at(self, network: Network, token_ids: torch.Tensor) -> float:
        """The tolerance at the last position of a prompt (T,): more where its rounding is amplified more.

        Four times the noise that the Monte Carlo runs of this prompt stand for; never less than `value`, nor, where
        that is less, more than halfway to a state that has nothing to do with the observed one.
        """
        if not self.ratio:
            return self.value
        spread = spread_of_rounding(network, token_ids, self.unit, damped=self.damped)
        return max(self.value, min(SAFETY * self.ratio * float(spread[-1]), _MOST))

    def examined(self, network: Network, token_ids: torch.Tensor, residual: float) -> float:
        """The tolerance for the nearest of all candidates, the prompt (T,) with that residual, before none is said to
        fit: `at`, but where no rounding reaches so far.
        """
        return self.at(network, token_ids) if residual <= _FAR * self.value else self.value


class Format(NamedTuple):
    """In which type states were computed, on whose grid they were stored, and whether that is all that was done.

    `boxed` values lie on a grid that they were not computed on: what is known of the state is the box of all values
    that would have been stored as these, so many steps to either side (`NEAREST` or `ANYHOW`; 0 for other values).
    """

    computed: torch.dtype
    stored: torch.dtype
    boxed: float = 0.0


def stored_type(states: States) -> torch.dtype:
    """The least exact type on whose grid all values lie, whatever holds them now."""
    return grid_type(stored_values(torch.cat(states.arrays), states.observation.top))


def format_of(rows: torch.Tensor, states: States) -> Format:
    """The format of the rows (T, d) of one of the states: values on the grid of a type were computed in it, if nobody
    says.

    Nobody computes on a grid of integers or of 8-bit floating point, so that such values were rounded when stored.
    Copies that fill rows up to all tokens are no values.
    """
    values, manifest = stored_values(rows, states.observation.top), states.manifest
    stored = grid_type(values)
    computed = getattr(torch, manifest.dtype) if manifest is not None else None
    if coarse_box(values) is not None:
        computed = computed or torch.float32
        return Format(computed, computed, boxed=NEAREST)
    if computed is not None and torch.finfo(computed).eps < torch.finfo(stored).eps:
        return Format(computed, computed, boxed=NEAREST)
    return Format(computed or stored, stored)


def computed_type(
    path: Any, *, layer: Any = None, observe: Any = None, top: int | None = None, projected: bool = False
) -> tuple[str, str]:
    """In which type the states of a file were computed, by its name, and why it is thought so.

    Args:
        path: as for `read_states`. No model is needed: where only one could tell which tensors are meant, all
            floating-point ones are looked at.
        layer: as for `read_states`.
        observe: as for `read_states`.
        top: as for `read_states`.
        projected: whether the file has projections of states, which are numbers of another type.

    Raises:
        InvalidInput: as for `look_into`; or nobody says, and the values cannot: ids, whatever type holds them, lie on
            the grid of every type, and projections on that which they were made in.
    """
    manifest = manifest_of(path)
    if manifest is not None:
        return manifest.dtype, f"the manifest of {path} says so"
    asked = Observation.of(observe, top=top)
    try:
        found = look_into(path, layer=layer, observe=observe, top=top)
        seen, arrays = found.observation, tuple(without_ids(array, top) for array in found.arrays)
    except InvalidInput:
        seen, arrays = asked, tuple(floats_in(path))
        if not arrays and not asked.discrete:
            raise
    if projected or seen.discrete:
        what = "projections of states" if projected else f"ids of {seen.words}"
        raise InvalidInput(
            f"Expected a file that says in which type its states were computed, but {path} has no manifest, and "
            f"{what} do not show it; name it with --dtype."
        )
    values = torch.cat([array.flatten() for array in arrays])
    return name_of(grid_type(values)), f"all values of {path} lie on its grid"


def derive_tolerance(
    model: LanguageModel, states: States, *, damped: bool | None = None, formats: Format | None = None
) -> Tolerance:
    """The tolerance for these states: four times the noise seen between capturing and recomputing.

    Captures are repeated on calibration prompts in the dtype of the manifest (else in the stored dtype), unless
    `formats` says in which; `boxed` ones are compared as computed, since the rounding to where they are stored is no
    part of a residual then. States whose values all lie on the grid of a less exact type than the one that holds them
    count as stored in that.

    In the plain distance the largest noise counts. In the damped one it is what 19 of 20 positions stay below: half
    types carry so much noise at a few ill-conditioned positions that nothing could be told apart under four times that;
    such positions get a tolerance of their own. `damped` None takes the damped distance where a half type is involved.

    Raises:
        InvalidInput: states that have nothing to do with each other would fit.
        Unsupported: recomputed states are not those of a plain run, beyond rounding.
    """
    stored = stored_type(states)
    computed, stored, boxed = formats or Format(
        getattr(torch, states.manifest.dtype) if states.manifest else stored, stored
    )
    types = "-".join(name_of(dtype) for dtype in (model.coarsest, computed, stored))
    key = f"{measured_with(model.device)}/noise/{model.key}-{states.observation.key}-{types}.json"
    noise = _kept_noise(key)
    if noise is None:
        noise = measure_noise(model, states.observation, computed=computed, stored=stored)
        keep_json(key, asdict(noise))
    unit = rounding_unit(stored, computed, model.coarsest, device=model.device)
    even = unit > COARSE if damped is None else damped
    names = " and ".join(dict.fromkeys(name_of(dtype) for dtype in (computed, stored)))
    edge = ", from the box of all values that would have been stored alike" if boxed else ""
    edge += ", however they were rounded" if boxed == ANYHOW else ""
    size, ratio = (noise.damped_usual, noise.damped_ratio) if even else (noise.largest, noise.ratio)
    apart = noise.damped_unrelated if even else noise.unrelated
    if SAFETY * size >= apart:
        raise InvalidInput(
            f"Expected a tolerance below {apart:.2g}, where states that have nothing to do with each other fit, but "
            f"{SAFETY} x the noise measured between captures in {names} and recomputation in {name_of(model.dtype)} at "
            f"{states.observation} is {SAFETY * size:.2g}; name another layer or --dtype, or give --tolerance."
        )
    kind = "relative noise (damped) that 95 % stay below," if even else "largest relative noise"
    where = "nothing among the likeliest tokens fits" if even else "no token of the vocabulary fits"
    return Tolerance(
        value=max(SAFETY * size, unit),  # at layer 0, for one, there is no noise to measure
        kind="measured",
        derived_from=(
            f"{SAFETY} x the {kind} {size:.2e} over {noise.positions} positions between "
            f"captures in {names} and recomputation in {name_of(model.dtype)} at {states.observation}; where {where} "
            f"that, {SAFETY} x {ratio:.2f} x the spread of Monte Carlo runs of the prompt{edge}"
        ),
        ratio=ratio if even else max(1.0, ratio),
        unit=unit,
        damped=even,
        boxed=boxed,
        left_out=noise.left_out,
    )


def _kept_noise(key: str) -> Noise | None:
    """The noise kept under a key; None where there is none, or what is there is not one (an older version's, say)."""
    kept = kept_json(key) or {}
    if set(kept) != {field.name for field in fields(Noise)}:
        return None
    left_out = kept.pop("left_out")
    sound = all(isinstance(value, int | float) and math.isfinite(value) for value in kept.values())
    if not sound or not isinstance(left_out, list) or not all(isinstance(one, str) for one in left_out):
        return None
    return Noise(**kept, left_out=tuple(left_out))
