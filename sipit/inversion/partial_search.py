"""Searches the tokens of one segment for the state observed at its end (see `sipit.inversion.partial`)."""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from sipit.inversion.decision import accepted, fits, limit
from sipit.inversion.flatness import says_few_bits
from sipit.inversion.outcome import Outcome
from sipit.inversion.policies.sketched import SketchedNetwork, is_wide
from sipit.inversion.probes import Probes, trained_probes
from sipit.inversion.verifier import BESIDE, NEAR
from sipit.models.network import Network
from sipit.noise.distances import quotient
from sipit.noise.stored_steps import Box, outside, point
from sipit.noise.tolerance import Tolerance
from sipit.observations.near_tokens import NearTokens
from sipit.observations.network import ObservedNetwork, of_all, says_little, top_of
from sipit.observations.top import apart
from sipit.prefix.choice import arithmetic_of, single_opener
from sipit.record import finite

EXHAUSTIVE = 2**19  # combinations up to which a space is searched whole
CLASS = "tokens with identical embedding rows: the class is the answer"
_TOKENS = 8192  # tokens run together
_FIRST = 64  # candidates of the probe before the whole vocabulary
_ROWS = 8  # tokens nearest to the best candidate, in every way
_BEAM = 4  # prompts that a coordinate search improves side by side; one where the vocabulary is large
_LARGE = 4096
_LISTED = 8  # alternatives named
_SEED = 20251201


@dataclass(frozen=True, slots=True)
class Segment:
    """The tokens first…last, searched for the row observed at `last`.

    `residual` is the relative L2 distance of the nearest prompt found (None: infinite); `alternatives` are the next
    nearest (tokens of the segment, residual). `tolerance` is what was allowed: where nothing in the whole space fits,
    it is raised by as much as rounding is amplified there. `space` counts the combinations, `tested` those tested;
    `reason` says what the outcome rests on.
    """

    first: int
    last: int
    outcome: Outcome
    token_ids: list[int]
    residual: float | None
    tolerance: float
    alternatives: list[tuple[list[int], float | None]]
    space: int
    tested: int
    reason: str


@dataclass
class _Trials:
    """The nearest prompts so far and how many were tested; classes by their smallest id."""

    tested: int = 0
    best: list[tuple[float, tuple[int, ...]]] = field(default_factory=list[tuple[float, tuple[int, ...]]])

    def enter(self, tokens: torch.Tensor, residuals: torch.Tensor) -> None:
        """Adds prompts (N, n), which may have been tested before."""
        self.tested += len(tokens)
        order = residuals.argsort(stable=True)[: 2 * _LISTED].tolist()
        new = [(float(residuals[index]), tuple(tokens[index].tolist())) for index in order]
        least: dict[tuple[int, ...], float] = {}
        for residual, prompt in sorted(self.best + new):
            least.setdefault(prompt, residual)
        self.best = [(residual, prompt) for prompt, residual in least.items()][: 2 * _LISTED]

    @property
    def nearest(self) -> float:
        """The least residual so far."""
        return self.best[0][0] if self.best else torch.inf

    @property
    def margin(self) -> float:
        """The residual of the runner-up."""
        return self.best[1][0] if len(self.best) > 1 else torch.inf


class SegmentSearch:
    """Searches so many segments one behind the other, on one prefix, until a deadline (monotonic seconds)."""

    def __init__(self, network: Network, tolerance: Tolerance, deadline: float, *, segments: int) -> None:
        self.model, self.tolerance, self.deadline = network.model, tolerance, deadline
        self._network, self._near = network, NearTokens(network)
        opener = single_opener(network)
        self.arithmetic = arithmetic_of(network, opener)
        self._prefix = opener(of_all(network))
        self._settled = 0
        self._segments = segments
        self._probes: Probes | None = None
        self._vocabulary = self.model.token_classes.unique()  # one token of each class
        self._row = torch.zeros(0)
        self._box = point(self._row)

    def segment(self, prompt: Sequence[int], fixed: Sequence[int | None], row: torch.Tensor, box: Box) -> Segment:
        """The tokens behind `prompt`, of which some are fixed, whose last state is nearest to `row` (d,).

        Nearest to the `box` of what is stored alike.
        """
        if len(prompt) > self._settled:
            self._prefix.extend(self._settled, self._ids([prompt[self._settled :]]))
            self._prefix.keep(0)
        self._settled, self._row = len(prompt), row.to(self.model.device).double()
        self._box = Box(*(one.to(self._row) for one in box))
        unknown = [index for index, token in enumerate(fixed) if token is None]
        template = self._ids([[token or 0 for token in fixed]])
        space = len(self._vocabulary) ** len(unknown)
        trials, stands = _Trials(), False
        if not unknown:
            whole = self._test(trials, [template])
        elif len(unknown) == 1:
            whole, stands = self._one(trials, template, unknown[0])
        elif space <= EXHAUSTIVE:
            whole = self._test(trials, self._combinations(template, unknown))
        else:
            whole = False
            self._descend(trials, template, unknown)
        classes = [trials.best[0][1][index] for index in unknown if trials.best]
        alone = all(len(self.model.members(token)) == 1 for token in classes)
        return self._answer(prompt, trials, space, whole=whole, stands=stands, alone=alone)

    def _answer(
        self, prompt: Sequence[int], trials: _Trials, space: int, *, whole: bool, stands: bool, alone: bool
    ) -> Segment:
        """What was found behind a prompt; `alone` says that no token that was searched shares its embedding row."""
        first, tokens = len(prompt), list(trials.best[0][1]) if trials.best else []
        settled, allowed = whole or stands, self.tolerance.value
        if whole and not fits(trials.nearest, allowed):
            allowed = self.tolerance.examined(self._network, self._ids([*prompt, *tokens]), trials.nearest)
        if fits(trials.nearest, allowed):
            clear = accepted(trials.nearest, trials.margin, allowed)
            outcome = Outcome.RECOVERED if settled and clear else Outcome.AMBIGUOUS
            reason = "the whole space was searched" if whole else f"the normal rule, {trials.tested - 1} rivals tested"
            if not clear:
                reason = "the next nearest is not clearly farther"
            elif not settled:
                reason = f"fits, but at most {trials.tested} of {space} combinations were tested"
            elif not alone:
                outcome, reason = Outcome.AMBIGUOUS, CLASS
        else:
            outcome = Outcome.NOT_FOUND if whole else Outcome.BUDGET_EXHAUSTED
            reason = "the whole space was searched, nothing fits" if whole else "nothing fits so far"
        return Segment(
            first=first,
            last=first + len(tokens) - 1,
            outcome=outcome,
            token_ids=tokens,
            residual=finite(trials.nearest),
            tolerance=allowed,
            alternatives=[(list(other), finite(residual)) for residual, other in trials.best[1 : _LISTED + 1]],
            space=space,
            tested=trials.tested,
            reason=reason,
        )

    def _stands_clear(self, trials: _Trials) -> bool:
        """Whether the runner-up lies so far that more rivals would say the same."""
        blur = BESIDE * float(quotient(self._box.steps, self._row.norm()))
        return trials.margin > max(limit(trials.nearest, self.tolerance.value), NEAR * trials.nearest, blur)

    def _one(self, trials: _Trials, template: torch.Tensor, index: int) -> tuple[bool, bool]:
        """One unknown token: whether the whole vocabulary was tested, and whether the answer stands without that.

        The probe's best, then those near to the best of these, then everything. An earlier token than the last is seen
        by its keys and values alone, which others may share that lie near in no way: there everything is tested.
        """
        little = says_little(self._network) or says_few_bits(self._row, self.model.vocabulary_size)
        if little or index < template.shape[1] - 1:
            return self._test(trials, [self._with(template, index, self._vocabulary)]), False
        order = self._ranking()
        tested = order[:_FIRST]
        if not self._test(trials, [self._with(template, index, tested)]):
            return False, False
        (rows,) = self._near.of(self._ids([trials.best[0][1][index]]), _ROWS)
        near = self.model.token_classes[rows].unique()
        near = near[~torch.isin(near, tested)]
        if len(near) and not self._test(trials, [self._with(template, index, near)]):
            return False, False
        if fits(trials.nearest, self.tolerance.value) and self._stands_clear(trials):
            return False, True
        rest = order[~torch.isin(order, torch.cat([tested, near]))]
        return self._test(trials, [self._with(template, index, rest)]), False

    def _combinations(self, template: torch.Tensor, unknown: Sequence[int]) -> Iterator[torch.Tensor]:
        """All prompts, in pieces that share all tokens but the last unknown one."""
        *leading, last = unknown
        for combination in itertools.product(self._vocabulary.tolist(), repeat=len(leading)):
            base = template.clone()
            base[0, leading] = self._ids(list(combination))
            yield self._with(base, last, self._vocabulary)

    def _descend(self, trials: _Trials, template: torch.Tensor, unknown: Sequence[int]) -> None:
        """Coordinate search from several starts until something fits or the time ends."""
        generator = torch.Generator().manual_seed(_SEED)
        beam_size = 1 if len(self._vocabulary) > _LARGE else _BEAM
        last = template.shape[1] - 1
        ends = self._ranking()[:_FIRST] if last in unknown else None
        for start in itertools.count():
            drawn = torch.randint(len(self._vocabulary), (beam_size, len(unknown)), generator=generator)
            beam = template.repeat(beam_size, 1)
            beam[:, unknown] = self._vocabulary[drawn.to(beam.device)]
            if ends is not None:
                beam[:, last] = ends[(start * beam_size + torch.arange(beam_size)).to(beam.device) % len(ends)]
            least = torch.inf
            while True:
                local = _Trials()
                in_time = True
                for index in unknown:
                    moves = [self._with(row[None], index, self._vocabulary) for row in beam]
                    in_time = in_time and self._test(local, moves, also=trials)
                    if local.best:
                        beam = self._ids([list(prompt) for _, prompt in local.best[:beam_size]])
                if not in_time or fits(trials.nearest, self.tolerance.value):
                    return
                if local.nearest >= least:
                    break
                least = local.nearest

    def _test(self, trials: _Trials, prompts: Iterable[torch.Tensor], *, also: _Trials | None = None) -> bool:
        """Runs prompts (N, n) a piece at a time; False where the time ended before the last. One piece always runs."""
        pending: list[torch.Tensor] = []
        waiting = 0
        for part in itertools.chain(prompts, [None]):
            if part is not None:
                if not len(part):
                    continue
                pending.append(part)
                waiting += part.numel()
            if not pending or (part is not None and waiting < _TOKENS):
                continue
            joined = torch.cat(pending)
            for piece in joined.split(max(1, _TOKENS // joined.shape[1])):
                if trials.tested and time.monotonic() > self.deadline:
                    return False
                residuals = self._residuals(piece)
                for entered in (trials, also):
                    if entered is not None:
                        entered.enter(piece, residuals)
            pending, waiting = [], 0
        return True

    def _residuals(self, prompts: torch.Tensor) -> torch.Tensor:
        states = self._prefix.extend(self._settled, prompts)[:, -1].double()
        self._prefix.keep(0)
        return quotient(outside(apart(states, self._row, top_of(self._network)), self._box), self._row.norm())

    def _ranking(self) -> torch.Tensor:
        """One token of each class, the likeliest by the probe of the last row first."""
        row, network = self._row[None], self._network
        if isinstance(network, ObservedNetwork) and is_wide(network):
            network = SketchedNetwork.of(network)
            row = network.sketch.apply(row)
        if self._probes is None:
            self._probes = trained_probes(network, positions=self._segments)
        probe = self._probes.at(self._settled)
        order = probe.scores(probe.features(row.float()))[0].argsort(descending=True, stable=True)
        return order[torch.isin(order, self._vocabulary)]

    def _with(self, prompt: torch.Tensor, index: int, tokens: torch.Tensor) -> torch.Tensor:
        """Copies of one prompt (1, n) with each of the tokens at an index."""
        rows = prompt.repeat(len(tokens), 1)
        rows[:, index] = tokens
        return rows

    def _ids(self, ids: object) -> torch.Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self.model.device)
