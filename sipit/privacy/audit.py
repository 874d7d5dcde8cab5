"""`audit_states`: are these the states of these prompts under this model and number format?

Every prompt is run again, and every stored row scored (`sipit.privacy.scores`). A prompt is `inconsistent` where a row
lies beyond the threshold, which honest states of a prompt do at the stated rate.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from proofs.arguments import called, share, whole
from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.showing import Shown
from proofs.verdict import Verdict
from sipit.models import LanguageModel
from sipit.models.language_model import check_loaded
from sipit.privacy.compared import cells, positions_a_cell
from sipit.privacy.fingerprint import check_size, size_and_seed
from sipit.privacy.scores import MOST_RUNS, RUNS, Claim, Threshold, threshold_of
from sipit.prompts.reading import first_alike, tokenize
from sipit.record import Stages, finite, silent
from sipit.states.files import States, check_states

_SPEAKS = 0.5  # relative distance that a row's threshold must stay below to say anything: unrelated states are 1 apart
_MANY = 10**7  # from here on a number of runs is told by its first digits
_TAIL = 3  # an assumption: beyond what runs speak of, honest scores fall off at least as fast as this power
_LINES = 16  # prompts of the map that a page draws


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one prompt: `consistent`, `inconsistent` or `undecided`; the largest score of its rows, and what they may be.

    `first_bad_row` is the first beyond the threshold, `speaking` how many rows can say anything, `reason` why it is
    undecided, `ratios` the scores of the rows over the threshold. `beyond_all` says that a row lies beyond what is
    exceeded at half the rate by any of all prompts, where each has its share of that. Where no run speaks of so rare a
    share (`Threshold.needed`), it is said of the threshold times (rate / share)^(1/3). `copy_of` is the number of the
    first prompt of the same tokens, where that is another.
    """

    answer: str
    score: float
    threshold: float
    rows: int
    speaking: int
    first_bad_row: int | None
    reason: str | None = None
    beyond_all: bool = False
    ratios: tuple[float, ...] = ()
    copy_of: int | None = None


@dataclass(frozen=True, slots=True)
class Audit(Shown):
    """The answers, the rate of false alarms for each prompt, the threshold they rest on, and what was claimed.

    Where tensors are stored in several types, the threshold and the claim are those of the least exact one, and each
    answer rests on its own (`Answer.threshold`).
    """

    answers: tuple[Answer, ...]
    rate: float
    threshold: Threshold
    claim: Claim

    @property
    def verdict(self) -> Verdict:
        """`held`; `refuted` where more is inconsistent than honest prompts are at the rate, else `undecided`."""
        kinds = {one.answer for one in self.answers}
        if self.refuted_by:
            return Verdict.REFUTED
        return Verdict.HELD if kinds == {"consistent"} else Verdict.UNDECIDED

    @property
    def inconsistent(self) -> int:
        """How many prompts are."""
        return sum(one.answer == "inconsistent" for one in self.answers)

    @property
    def refuted_by(self) -> tuple[str, ...]:
        """Which tests refute: `count`, `farthest`, both or none.

        Each prompt has its rate: of a hundred honest ones some are called inconsistent. So more must be inconsistent
        than honest ones are that one fitted threshold holds for, or one must lie far enough out for all of them
        together: two tests, each at half the rate, since either may be failed by chance. One prompt alone has one test.
        """
        count = self._counted > 0 and self._chance <= self._rate_of_count
        farthest = any(all(one.beyond_all for one in copies) for copies in self._different)
        return (*(("count",) if count else ()), *(("farthest",) if farthest else ()))

    @property
    def _different(self) -> list[list[Answer]]:
        """The answers, those of copies together, which are draws of one prompt."""
        found: dict[int, list[Answer]] = {}
        for number, one in enumerate(self.answers):
            found.setdefault(number if one.copy_of is None else one.copy_of, []).append(one)
        return list(found.values())

    @property
    def _counted(self) -> int:
        """How many different prompts are inconsistent in every copy: of those no more than the rate are, if honest."""
        return sum(all(one.answer == "inconsistent" for one in copies) for copies in self._different)

    @property
    def _farthest_is_known(self) -> bool:
        return self.threshold.speaks_of(_share(self.rate, len(self._different)))

    @property
    def _rate_of_count(self) -> float:
        return self.rate / 2 if len(self._different) > 1 else self.rate

    @property
    def _chance(self) -> float:
        """The probability that as many of so many different honest prompts are inconsistent, at most."""
        return self.threshold.chance(self._counted, [copies[0].rows for copies in self._different], self.rate)

    @property
    def reason(self) -> str | None:
        """Why prompts that are inconsistent refute nothing; None where that is not so."""
        prompts, different = len(self.answers), len(self._different)
        if not self.inconsistent or self.refuted_by:
            return None
        which = f"{different} prompts" if different == prompts else f"{different} different prompts, in every copy,"
        many = f"{self._counted} of {which} inconsistent is what honest ones show at a rate of {self.rate} each"
        if self._farthest_is_known:
            return f"{many}, and none of them lies far"
        runs, times = _runs(self.threshold.needed(_share(self.rate, different))), _times(different)
        return (
            f"{many}, and none lies {times:.3g} times beyond; how far the farthest of so many lies takes {runs}, "
            f"and there are {self.threshold.runs}: name more with --runs"
        )

    def to_json(self) -> dict[str, Any]:
        """The `result` field of a record, but for the files that were read and what an audit would notice."""
        return {
            "layer": self.claim.layer,
            "false_alarm_rate": self.rate,
            "prompts": [_answered(one) for one in self.answers],
            "reason": self.reason,
            "together": self._together(),
            "map": _map(self.answers),
            "calibration": _calibrated(self.threshold, self.rate),
            "fingerprint": self.claim.fingerprint and list(self.claim.fingerprint),
            "unit": self.claim.unit,
        }

    def _together(self) -> dict[str, Any]:
        """What is said of all prompts together: by their count, and by the farthest."""
        share, known = _share(self.rate, len(self._different)), self._farthest_is_known
        assumed = f"beyond the runs honest scores fall off as the power {_TAIL} at least"
        return {
            "refuted_by": list(self.refuted_by),
            "count": {
                "inconsistent": self._counted, "prompts": len(self._different), "chance": self._chance,
                "rate": self._rate_of_count},
            "farthest": {
                "known": known, "assumed": None if known else assumed, "rate_of_each": share,
                "times_the_threshold": None if known else _times(len(self._different)),
                "runs_needed": self.threshold.needed(share)},
        }  # fmt: skip

    def to_record(self) -> Record:
        """The record of this audit; where states and prompts come from is not in it."""
        return Record("audit", self.verdict, self.to_json())


def audit_states(
    model: LanguageModel,
    states: States,
    prompts: Any,
    *,
    rate: float = 0.01,
    fingerprint: tuple[int, int] | None = None,
    runs: int = RUNS,
    stages: Stages = silent,
) -> Audit:
    """Whether states are those of prompts under a model in the type that it computes in.

    Args:
        model: loaded in the type that is claimed.
        states: one (T, d) tensor for each prompt; or (T, K), if they are fingerprints.
        prompts: texts or token ids.
        rate: of false alarms for each prompt, whatever its number of rows.
        fingerprint: how many projections of each row were kept, and their seed; by default what the manifest says.
        runs: of held-out prompts in every way, that the threshold is measured on, at least 24: the more there are, the
            rarer a rate they speak of.
        stages: is told how far the work is.

    Raises:
        InvalidInput: states of another model, width or of other prompts; no rate between 0 and 1.
        Unsupported: a capture that the model cannot do.
    """
    check_loaded(model)
    check_states(states)
    rate, fingerprint = share("a rate of false alarms", rate), size_and_seed(fingerprint)
    runs = whole("calibration runs", runs, least=RUNS, most=MOST_RUNS)
    stages = called("stages", stages) or silent
    claim = _claim(model, states, fingerprint)
    ids = tokenize(model, prompts)
    _check_of_prompts(claim, states, ids)
    claims = [replace(claim, stored=rows.dtype) for rows in states]
    with stages("calibrating") as progress:
        thresholds = {
            dtype: threshold_of(one, progress, runs=runs) for dtype, one in {one.stored: one for one in claims}.items()
        }
    answers: list[Answer] = []
    with stages("auditing") as progress:
        firsts = first_alike(ids)
        different = len({*firsts})
        for number, (first, one, rows) in enumerate(zip(firsts, claims, states, strict=True)):
            found = _answer(one, thresholds[one.stored], rows, ids[number], rate, different)
            answers.append(found if first == number else replace(found, copy_of=first))
            progress(len(answers), len(ids))
    coarsest = max(claims, key=lambda one: one.unit)
    return Audit(tuple(answers), rate, thresholds[coarsest.stored], coarsest)


def _share(rate: float, prompts: int) -> float:
    """The rate at which each of so many prompts may lie farthest out; of one prompt the whole rate."""
    return rate if prompts == 1 else rate / 2 / prompts


def _times(prompts: int) -> float:
    """How often the threshold is exceeded at each one's share of the rate at most, if tails fall off as assumed."""
    return 1.0 if prompts == 1 else float((2 * prompts) ** (1 / _TAIL))


def _runs(needed: int) -> str:
    return f"{needed if needed < _MANY else f'{needed:.3g}'} calibration runs of each way"


def _claim(model: LanguageModel, states: States, given: tuple[int, int] | None) -> Claim:
    manifest = states.manifest
    said = None if manifest is None or manifest.fingerprint is None else tuple(manifest.fingerprint)
    fingerprint = given if said is None else (said[0], said[1])
    if given is not None and said is not None and given != said:
        raise InvalidInput(f"Expected the fingerprint {said} of the manifest, but got {given}; leave it away.")
    if given is not None:
        check_size(given[0], model.width)
    if states.observation.sites != ("residual",):
        raise InvalidInput(f"Expected states of the residual stream, but got {states.observation}; capture those.")
    if manifest is not None:
        manifest.check_model(model)
    return Claim(model, states.layer, states.arrays[0].dtype, fingerprint)


def check_lengths(states: States, ids: list[list[int]]) -> None:
    """Raises InvalidInput where states do not have a row for each token of the prompts."""
    lengths, named = [len(rows) for rows in states], list(map(len, ids))
    if lengths != named:
        raise InvalidInput(
            f"Expected a row for each token of the prompts, {named[:8]}, but the states have {lengths[:8]} rows; "
            "name the prompts that they are of."
        )


def _check_of_prompts(claim: Claim, states: States, ids: list[list[int]]) -> None:
    if claim.fingerprint is None:
        states.check(claim.model)
    check_lengths(states, ids)
    widths = {rows.shape[1] for rows in states}
    if claim.fingerprint is not None and widths != {claim.fingerprint[0]}:
        raise InvalidInput(
            f"Expected {claim.fingerprint[0]} projections of each row, but got {sorted(widths)}; name the fingerprint "
            "that was kept."
        )


def _answer(
    claim: Claim, threshold: Threshold, rows: torch.Tensor, tokens: Sequence[int], rate: float, prompts: int
) -> Answer:
    right = claim.recomputed(tokens)
    seen = rows.cpu().double() if claim.fingerprint is not None else claim.seen(rows)
    scores = right.scores(seen)
    most = threshold.at(rate, len(tokens))
    bad = torch.nonzero(~(scores <= most)).flatten().tolist()
    speaking = int((most * right.spread < _SPEAKS).sum())
    reason: str | None = None
    if not threshold.speaks_of(rate):
        reason = f"a rate of {rate} needs {_runs(threshold.needed(rate))}, and there are {threshold.runs}; see --runs"
    elif not bad and not speaking:
        reason = "rounding spreads every row as far as unrelated states are apart; 1 row that speaks is needed"
    answer = "undecided" if reason is not None else "inconsistent" if bad else "consistent"
    known = threshold.speaks_of(_share(rate, prompts))
    farthest = threshold.at(_share(rate, prompts), len(tokens)) if known else most * _times(prompts)
    far = answer == "inconsistent" and not bool((scores <= farthest).all())
    ratios = tuple(torch.where(scores == 0, 0.0, scores / most).tolist())  # where nothing rounds, 0 is allowed
    first = bad[0] if bad else None
    return Answer(answer, float(scores.max()), most, len(tokens), speaking, first, reason, far, ratios)


def _answered(one: Answer) -> dict[str, Any]:
    told = asdict(one) | {"score": finite(one.score)}
    del told["ratios"], told["beyond_all"]
    return told


def _map(answers: Sequence[Answer]) -> dict[str, Any]:
    """Scores over what they may be, along the rows, of the prompts where they are the largest."""
    shown = sorted(sorted(range(len(answers)), key=lambda n: -max(answers[n].ratios))[:_LINES])
    each = positions_a_cell(max(len(answers[n].ratios) for n in shown))
    ratios = [cells(torch.tensor(answers[n].ratios, dtype=torch.float64), each) for n in shown]
    return {"prompts": shown, "ratios": ratios, "positions_a_cell": each}


def _calibrated(threshold: Threshold, rate: float) -> dict[str, Any]:
    """What a threshold rests on: the way that decides at the rate, in prompts of `rows` rows, and all of them."""
    deciding = threshold.deciding(rate, threshold.rows)
    return {
        "decided_by": deciding.name, "location": deciding.location, "scale": deciding.scale,
        "largest": deciding.largest, "rows": threshold.rows, "runs": threshold.runs,
        "threshold": threshold.at(rate, threshold.rows),
        "ways": [fit.name for fit in threshold.fits], "by_way": [asdict(fit) for fit in threshold.fits],
    }  # fmt: skip
