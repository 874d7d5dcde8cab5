"""A language model in a number format."""

import copy
import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from numerics.dtypes import name_of
from numerics.formats import Format
from numerics.formats.conversion import Conversion
from numerics.formats.quantizers import unchanged
from proofs.errors import InvalidInput, Unsupported
from sipit.models import LanguageModel
from sipit.models.language_model import check_loaded
from sipit.models.library import one_line
from sipit.models.network import Layer
from sipit.models.structure import Decoder, find_decoder
from sipit.record import NOT_INSTALLED, installed_version
from sipit.states.capturing import capture
from sipit.states.files import States


@dataclass(frozen=True)
class Formatted:
    """A model that was brought into a format, and what that did.

    Attributes:
        format: which.
        model: the converted copy, or the original where only states are rounded.
        before: the model that was converted, in float32.
        conversion: what was converted.
        arithmetic: what really runs.
    """

    format: Format
    model: LanguageModel
    before: LanguageModel
    conversion: Conversion
    arithmetic: str

    @property
    def degenerate(self) -> bool:
        """Whether rounding leaves all matrices of the blocks as stored: they lie on that grid and were not tested.

        Float64 rounds none; nor does a format that reaches no matrix.
        """
        rounds = self.conversion.matrices > 0 and self.format.compute != torch.float64
        return rounds and self.conversion.reproduced

    @cached_property
    def merged(self) -> torch.Tensor:
        """Which tokens have the row of one that was told from them before, shape (V,), bool: made one by rounding."""
        ours, before = self.model.token_classes, self.before.token_classes
        classes = torch.stack([ours, before]).unique(dim=1)[0]  # each of ours as often as it holds one of those before
        return (classes.bincount(minlength=len(ours)) > 1)[ours]

    def capture(self, prompts: list[list[int]], *, layer: Layer) -> States:
        """The states of prompts, one forward each, as the format hands them out."""
        states = capture(self.model, prompts, layer=layer, special_tokens=False, finite=False)
        return replace(states, arrays=tuple(map(self.handed_out, states.arrays)))

    def handed_out(self, states: torch.Tensor) -> torch.Tensor:
        """States (…, d) as they leave: rounded where the format rounds states."""
        return states if self.format.round_states is None else self.format.round_states(states)


def in_format(model: LanguageModel, number_format: Format) -> Formatted:
    """A copy of a float32 model in a number format, tried on a short prompt.

    Raises:
        InvalidInput: the model is not as it was loaded.
        MissingResource: its library is not installed.
        Unsupported: the library cannot do it for this model or on this device, with its reason.
    """
    check_loaded(model)
    module, decoder = model.module, model.decoder
    if number_format.convert is unchanged:  # a copy of a large model is neither made nor tried for nothing
        conversion = unchanged(module, decoder.blocks)
    else:
        module, blocks = copy.deepcopy((model.module, decoder.blocks))
        conversion = number_format.convert(module, blocks)
        decoder = _tried(model, module, number_format)
    identity = f"{model.digest}:{number_format.name}:{_version(number_format.library)}"
    formatted = LanguageModel(
        name=f"{model.name} in {number_format.name}",
        module=module,
        tokenizer=model.tokenizer,
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        decoder=decoder,
        dtype=number_format.compute,
    )
    return Formatted(number_format, formatted, model, conversion, _arithmetic(number_format, formatted, conversion))


def _tried(model: LanguageModel, module: Any, number_format: Format) -> Decoder:
    """The parts of a converted copy of a model, as running it shows them."""
    try:
        return find_decoder(module)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise Unsupported(
            f"Expected {model.name} to run in {number_format.name}, but {number_format.library} fails: "
            f"{one_line(error)}; use another format."
        ) from None


def _arithmetic(number_format: Format, model: LanguageModel, conversion: Conversion) -> str:
    computed = name_of(model.dtype)
    parts = [f"{number_format.rounds}, by {number_format.library}"]
    if conversion.matrices:
        parts.append(f"{conversion.matrices} matrices of the blocks held as {conversion.stored}")
    if conversion.table_change:
        parts.append(f"embedding rows changed by {conversion.table_change:.1e}")
    if conversion.left:
        parts.append(f"{len(conversion.left)} left as they were ({conversion.left[0]} first)")
    parts.append(f"other operations in {computed} on {model.device.type}")
    if number_format.round_states is not None:
        parts.append("states rounded when they leave")
    return "; ".join(parts)


def _version(library: str) -> str:
    """The installed version of the package that rounds.

    Raises:
        InvalidInput: there is no such package, so that no record could say by what was rounded.
    """
    found = installed_version(library)
    if found == NOT_INSTALLED:
        raise InvalidInput(
            f"Expected an installed package as the library of a format, but got {library!r}; name the one that rounds."
        )
    return found
