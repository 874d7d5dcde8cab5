"""`measure_leak`: how much each defence hides, and what it costs the model, against an attacker who is told it.

Each prompt is attacked at each layer, behind every defence and strength (`sipit.privacy.attack`), and counted.
The attacker is told the tokens before, which makes single tokens easier than they are; an attacker who is not told
them recovers a whole prompt exactly where each of its tokens is recovered so.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from proofs.arguments import called, one_of, seed_of, several, shown, switch, whole, whole_number
from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.showing import Shown
from proofs.verdict import Verdict
from sipit.memory import peak_memory
from sipit.models import LanguageModel
from sipit.models.language_model import check_loaded
from sipit.models.network import Network
from sipit.observations.observation import named_layers
from sipit.privacy.attack import Attack
from sipit.privacy.curves import curve
from sipit.privacy.defences import DEFENCES, Defence
from sipit.prompts.builtin_text import random_tokens, section_prompts, within_context
from sipit.prompts.reading import different, tokenize
from sipit.record import Stages, silent

SHORTLIST = 512  # candidates of the attacker; a vocabulary of no more is exhausted
_MOST_SEEDS = 10_000  # an attack of each is held
_PROMPTS, _LENGTH, _QUICK_PROMPTS, _QUICK_LENGTH = 20, 32, 4, 8


@dataclass(frozen=True, slots=True)
class Leak(Shown):
    """The curves as records hold them, what the attacker had, and how many prompts more a rate needs (0: none).

    `prompts` are different ones; `copies` of them were given besides, and are no further prompts.
    """

    curves: tuple[dict[str, Any], ...]
    layers: tuple[int, ...]
    prompts: int
    candidates: int
    missing: int
    copies: int = 0

    @property
    def verdict(self) -> Verdict:
        """`done`, or `undecided` where there were too few prompts for a rate."""
        return Verdict.UNDECIDED if self.missing else Verdict.DONE

    def to_json(self) -> dict[str, Any]:
        """The `result` field of a record."""
        few = f"a rate needs {self.prompts + self.missing} different prompts, and there is {self.prompts}"
        return {
            "curves": list(self.curves),
            "layers": list(self.layers),
            "prompts": self.prompts,
            "copies": self.copies,
            "candidates": self.candidates,
            "reason": few if self.missing else None,
        }

    def to_record(self) -> Record:
        """The record of these curves; which model they are of is not in it."""
        return Record("leak", self.verdict, self.to_json())


def measure_leak(
    model: LanguageModel,
    prompts: Any = None,
    *,
    layers: int | Sequence[int] | None = None,
    defences: str | Defence | Sequence[str | Defence] | None = None,
    strengths: float | Sequence[float] | None = None,
    candidates: int = SHORTLIST,
    quick: bool = False,
    seed: int = 0,
    seeds: int = 1,
    stages: Stages = silent,
    announce: Callable[[float, float | None], None] | None = None,
) -> Leak:
    """How many tokens and prompts an adaptive attacker reads from states behind each defence, and what it costs.

    What is done of a prompt is kept in the cache, and the same call goes on from there.

    Args:
        model: whose states leave.
        prompts: texts or token ids, each taken once; None takes built-in text, or random tokens without a tokenizer.
        layers: blocks 1…L, one or several; None for half depth.
        defences: names, or defences of one's own, one or several; None for all that there are.
        strengths: for each of them, one or several; None for its own.
        candidates: the attacker's shortlist, the true token among them; a vocabulary of no more is exhausted.
        quick: fewer and shorter prompts, and the outer strengths only.
        seed: of what is drawn.
        seeds: how often that is drawn, from seeds that count up; every curve is over all of them.
        stages: is told how far the work is.
        announce: is told before the work starts how many seconds it will take, and how many GiB of memory this process
            (None where the system does not say), as estimated from the first tokens at each layer.

    Raises:
        InvalidInput: no such defence or layer, a strength that means nothing or goes beyond the model's type, or a
            defence that changes shapes.
    """
    check_loaded(model)
    chosen = [_defence(one) for one in several("defences", list(DEFENCES) if defences is None else defences)]
    at = _layers(model, layers)
    seed, seeds = seed_of(seed), whole("seeds", seeds, least=1, most=_MOST_SEEDS)
    candidates, quick = whole("candidates", candidates, least=2, example=SHORTLIST), switch("quick", quick)
    stages, announce = called("stages", stages) or silent, called("announce", announce)
    if strengths is not None:
        strengths = tuple(map(whole_number, several("strengths", strengths)))
    for one, level in itertools.product(chosen, strengths or ()):
        one.check(level, model.width)
    given = _prompts(model, quick, seed) if prompts is None else tokenize(model, prompts)
    ids = different(given)
    levels = [(one, level) for one in chosen for level in _levels(one, strengths, model.width, quick)]
    done: dict[int, list[list[list[dict[str, Any]]]]] = {layer: [] for layer in at}
    attacks = {layer: Attack.at(Network(model, layer), levels, candidates, seed).drawn_again(seeds) for layer in at}
    if announce is not None:
        announce(sum(attack.seconds(ids) for drawn in attacks.values() for attack in drawn), peak_memory())
    with stages("attacking") as progress:
        for layer, drawn in attacks.items():
            for number, prompt in enumerate(ids):
                done[layer].append([attack.on(prompt, number) for attack in drawn])
                progress(sum(map(len, done.values())), len(ids) * len(at))
    attacker = told_to(model, candidates)
    curves = [
        curve(defence.name, level, layer, [[one[place] for one in draws] for draws in done[layer]], attacker)
        for layer in at
        for place, (defence, level) in enumerate(levels)
    ]
    return Leak(
        tuple(curves), at, len(ids), attacker["candidates"], missing=max(0, 2 - len(ids)), copies=len(given) - len(ids)
    )


def told_to(model: LanguageModel, candidates: int) -> dict[str, Any]:
    """What the attacker has, as records say it."""
    tried = min(candidates, model.vocabulary_size)
    return {"candidates": tried, "exhausted": tried == model.vocabulary_size, "told_tokens_before": True}


def _layers(model: LanguageModel, given: Any) -> tuple[int, ...]:
    """The blocks that are meant, in their order."""
    chosen = (model.layers // 2 or 1,) if given is None else named_layers(given)
    if not chosen or any(type(one) is not int or not 1 <= one <= model.layers for one in chosen):
        raise InvalidInput(f"Expected layers 1…{model.layers} of {model.name}, but got {shown(given)}; choose of them.")
    return tuple(sorted(set(chosen)))


def _defence(given: str | Defence) -> Defence:
    if isinstance(given, Defence):
        return given
    return DEFENCES[one_of("defences", given, DEFENCES)]


def _levels(defence: Defence, strengths: tuple[float, ...] | None, width: int, quick: bool) -> tuple[float, ...]:
    """The strengths that are given; else the defence's own, those that rows of the width can be changed by."""
    own = tuple(one for one in defence.strengths if defence.fits(one, width))
    return strengths if strengths is not None else tuple(dict.fromkeys((own[0], own[-1]))) if quick else own


def _prompts(model: LanguageModel, quick: bool, seed: int) -> list[list[int]]:
    count, length = (_QUICK_PROMPTS, _QUICK_LENGTH) if quick else (_PROMPTS, _LENGTH)
    length = within_context(model, length)
    found = section_prompts(model, count=count, length=length)
    return found or random_tokens(model, (count, length), generator=torch.Generator().manual_seed(seed)).tolist()
