"""`quantization`, whole: every format converts a copy, whose states, inversions and collisions are compared.

study     the same prompts, places and layers for all formats, and the float32 weights in float64 as reference
formats   one after the other: noise, inversions, collisions       kept in the cache when finished
scan      of the vocabulary at a few places                        margins, and what each rounded state lies near to
crossed   states of one format inverted with the weights of another
"""

from collections.abc import Sequence
from typing import Any

import torch

from numerics.formats import FORMATS
from proofs.errors import InvalidInput
from proofs.evidence import Record
from sipit.models import LanguageModel
from sipit.prompts.builtin_text import random_tokens, section_prompts, within_context
from sipit.quantization.result import findings, verdict_of
from sipit.quantization.study import Extent, Study, chosen_formats, extent_of
from sipit.record import Stages, Stopwatch, provenance, silent

QUICK_FORMATS = ("float32", "bf16", "fp16", "int8", "int4", "nf4", "Q4_1", "int8-states", "int4-states")


def quantization_record(
    model: LanguageModel,
    formats: Sequence[str] | None = None,
    *,
    prompts: Sequence[Sequence[int]] | None = None,
    layers: Sequence[int] | None = None,
    quick: bool = False,
    seed: int = 0,
    stages: Stages = silent,
    watch: Stopwatch | None = None,
) -> Record:
    """Compares rounding noise with margins, format by format: the record of `sipit quantization`.

    Finished formats are kept in the cache, and the same call continues interrupted work.

    Args:
        model: in float32.
        formats: names of `numerics.formats.FORMATS`; None for all, or for a few if `quick`.
        prompts: token ids, of each the first 16, and the first 20 different ones of these (12 and 4 if `quick`); None
            for text that Python carries, or at random for a model without a tokenizer.
        layers: blocks 1…L; None for the first, the middle and the last, if `quick` without the last.
        quick: few prompts, formats and candidates.
        seed: of what is drawn.
        stages: called as the work goes on, with how far it is.
        watch: where time is counted from.

    Raises:
        InvalidInput: a format that there is not, a layer that the model has not, or a model in another type.
    """
    watch = Stopwatch() if watch is None else watch
    names = formats if formats is not None else QUICK_FORMATS if quick else tuple(FORMATS)
    chosen = chosen_formats(names)
    extent = extent_of(quick)
    at = _layers(model, layers, quick)
    with stages("preparing") as progress:
        used = _prompts(model, prompts, extent, seed)
        study = Study.open(model, used, layers=at, extent=extent, seed=seed, progress=progress)
    measured: list[dict[str, Any]] = []
    with stages("formats") as progress:
        for number_format in chosen:
            measured.append(study.measured(number_format))
            progress(len(measured), len(chosen))
    with stages("scanning the vocabulary") as progress:
        result = findings(study, measured, progress, named=formats is not None)
    with stages("formats crossed") as progress:
        result["crossed"] = study.crossed([number_format.name for number_format in chosen], progress)
    for number_format, one in zip(chosen, measured, strict=True):
        if one.get("undecided"):
            study.forget(number_format)
    arithmetic = "; ".join(("each format names its own", *model.assembly))
    return Record(
        command="quantization",
        verdict=verdict_of(result),
        result=result,
        provenance=provenance(model, seed=seed, arithmetic=arithmetic),
        seconds=watch.seconds,
    )


def _layers(model: LanguageModel, layers: Sequence[int] | None, quick: bool) -> list[int]:
    depth = model.layers
    if layers is None:
        return sorted({1, max(1, depth // 2)} if quick else {1, max(1, depth // 2), depth})
    if not layers or min(layers) < 1 or max(layers) > depth:
        named = ",".join(map(str, layers))
        raise InvalidInput(f"Expected layers 1…{depth} of {model.name}, but got --layers {named}; choose of them.")
    return list(layers)


def _prompts(
    model: LanguageModel, prompts: Sequence[Sequence[int]] | None, extent: Extent, seed: int
) -> Sequence[Sequence[int]]:
    """Prompts of at most the length of the extent: those given, cut; else built-in text, else at random.

    Only the latter two are all of that length.
    """
    if prompts is not None:
        return [ids[: extent.length] for ids in prompts]
    length = within_context(model, extent.length)
    found = section_prompts(model, count=extent.prompts, length=length)
    if found:
        return found
    generator = torch.Generator().manual_seed(seed)
    return random_tokens(model, (extent.prompts, length), generator=generator).tolist()
