"""The one verifier: every token that any policy proposes is accepted here or nowhere.

At position t, behind the working prompt pi, candidate v has the residual |F(v; pi, t) - h_t| / |h_t| (Theorem 3.1 and
3.2 of arXiv 2510.15511, with the relative norm because state norms differ by orders of magnitude). The nearest
candidate is accepted by the rule of `sipit.inversion.decision`. Residuals are taken in float64; for half types in the
damped distance of `sipit.noise.distances`; of values that were rounded when they were stored, from the box of all that
are stored alike (`sipit.noise.stored_steps`). A rival that fits may be struck out by what later positions show
(`sipit.inversion.lookahead`); it is then counted, and no rival any more.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from sipit.inversion.decision import CLEAR, Condition, clearly_farther, condition, fits, least_margin, limit
from sipit.inversion.local_probe import LocalProbe
from sipit.inversion.outcome import Alternative, Outcome, TokenResult
from sipit.inversion.rounding import size_of
from sipit.inversion.standing import Tested
from sipit.models import LanguageModel
from sipit.models.abilities import UNITS
from sipit.noise.distances import damping, quotient
from sipit.noise.spread import rounding_unit
from sipit.noise.stored_steps import box_around, outside
from sipit.noise.tolerance import Tolerance
from sipit.observations.near_tokens import NearTokens
from sipit.observations.network import of_largest
from sipit.observations.top import apart, leading
from sipit.prefix.kinds import Prefix
from sipit.record import finite

NEAR = 10.0  # a rival within this multiple of the least residual widens the search
DISTANT = 100.0  # the same for the few that are tested where a policy is sure
BESIDE = 0.5  # of the size of a box: a rival that lies no farther beside it widens the search
TIE = 1e-3  # of a tolerance: what the distance from its middle counts for those inside a box, to order them
LISTED = 32  # alternatives named at most
_ENTRIES = 2**24  # of states that are compared at once, in float64
PIECE = 1024  # candidates that run together; between pieces the clock is looked at


@dataclass(slots=True, eq=False)
class Trial:
    """All candidates tested at one position: ids and relative residuals, and the state of the nearest.

    `struck` are ids that later positions speak against, `local` is what is learned of the states of all.
    """

    token_ids: torch.Tensor
    residuals: torch.Tensor
    nearest_state: torch.Tensor | None = None
    struck: set[int] = field(default_factory=set[int])
    local: LocalProbe | None = None

    @property
    def nearest(self) -> int:
        """The id with the smallest residual; of equals the smallest id, so that no order of testing matters."""
        return int(self.token_ids[self.standing & (self.residuals == self.least)].min())

    @property
    def least(self) -> float:
        """The smallest residual of those not struck out."""
        return float(self.residuals[self.standing].min())

    @property
    def standing(self) -> torch.Tensor:
        """Which are not struck out, a mask."""
        return ~torch.isin(self.token_ids, self.token_ids.new_tensor(sorted(self.struck)))


@dataclass(eq=False)
class Verifier:
    """Tests candidates for the observed states (T, d) of one prompt and decides position by position."""

    model: LanguageModel
    prefix: Prefix
    observed: torch.Tensor
    tolerance: Tolerance
    near: NearTokens
    top: int | None = None  # of the log-probabilities of a position, how many are observed; runs show all
    trials: dict[int, Trial] = field(default_factory=dict[int, Trial])
    _local: LocalProbe | None = None  # of the position that is learned of

    def __post_init__(self) -> None:
        self.observed = self.observed.to(self.model.device).double()
        even = self.tolerance.damped
        self._weights = damping(self.observed) if even else torch.ones_like(self.observed[:, :1])
        self._norms = (self._weights * self.observed).norm(dim=1)
        self._box = box_around(self.observed, self.tolerance.boxed, self.top) if self.tolerance.boxed else None
        # How large the box of what is stored alike is, as a residual, at every position.
        self._blur = torch.zeros_like(self._norms)
        if self._box is not None:
            self._blur = size_of(self._box, self.observed, damped=even)
        # The residual that is allowed at every position, shape (T,); raised where rounding is amplified.
        self.limits = torch.full_like(self._norms, self.tolerance.value)

    def tested_at(self, positions: Container[int]) -> dict[int, Tested]:
        """What was tested at some positions."""
        there = {at: trial for at, trial in self.trials.items() if at in positions}
        return {at: Tested(trial.token_ids, trial.residuals) for at, trial in there.items()}

    def go_on_from(self, tested: Mapping[int, Tested], allowed: torch.Tensor) -> None:
        """Takes over what an earlier verifier of the same states tested, and what it allowed at every position."""
        device = self.model.device
        self.trials = {at: Trial(one.token_ids.to(device), one.residuals.to(device)) for at, one in tested.items()}
        self.limits = allowed.to(device)

    def begin_anew(self) -> None:
        """Forgets all that was tested, and what was allowed for it."""
        self.trials, self.limits = {}, torch.full_like(self.limits, self.tolerance.value)

    def draft(self, start: int, tokens: torch.Tensor, states: torch.Tensor) -> int:
        """Takes a draft (n,) that was run from `start` on, with its states (n, d); how many of its tokens fit.

        Enters its tokens up to the first that does not fit, and that one.
        """
        self.prefix.keep(0)
        span = slice(start, start + len(tokens))
        residuals = self.residuals(span, states)
        fitting = int(fits(residuals, self.limits[span]).long().cumprod(0).sum())
        for index in range(min(fitting + 1, len(tokens))):
            one = slice(index, index + 1)
            self.record(start + index, tokens[one], states[one], residuals[one])
        return fitting

    def record(self, position: int, token_ids: torch.Tensor, states: torch.Tensor, residuals: torch.Tensor) -> None:
        """Enters candidates tested at a position; a token that was entered before keeps its first residual."""
        trial = self.trials.setdefault(position, Trial(token_ids[:0], residuals[:0]))
        new = ~torch.isin(token_ids, trial.token_ids)
        trial.token_ids = torch.cat([trial.token_ids, token_ids[new]])
        before = trial.residuals.min() if len(trial.residuals) else torch.inf
        trial.residuals = torch.cat([trial.residuals, residuals[new]])
        if bool(new.any()) and residuals[new].min() < before:
            trial.nearest_state = self.shown(states[new][residuals[new].argmin()])
        if self._local is not None and self._local.position == position:
            self._local.add(token_ids[new], self.shown(states[new]))
            trial.local = self._local

    def shown(self, states: torch.Tensor) -> torch.Tensor:
        """What would be observed of states (…, n) that were run, on whose rows probes are trained."""
        return states if self.top is None else leading(states, self.top)

    def learn(self, position: int) -> None:
        """From now on what is tested at a position is learned from; at the one before no more."""
        before = self._local
        trial = None if before is None else self.trials.get(before.position)
        if before is not None and trial is not None and trial.local is before:
            if before.position == position:
                return
            trial.local = None  # its states are many
        self._local = LocalProbe.at(position, self.observed[position], before)

    def learns(self, position: int) -> bool:
        """Whether another order may come of what is tested next at a position."""
        trial = self.trials.get(position)
        return trial is not None and trial.local is not None and not trial.local.full

    def test(self, positions: torch.Tensor, token_ids: torch.Tensor, states: torch.Tensor) -> None:
        """Enters candidates: the states of token_ids[n] in place of the token at positions[n]."""
        residuals = self.residuals(positions, states)
        for position in positions.unique().tolist():
            here = positions == position
            self.record(position, token_ids[here], states[here], residuals[here])

    def nearest(self, position: int, count: int) -> torch.Tensor:
        """So many of the candidates tested at a position, nearest first."""
        trial = self.trials[position]
        return trial.token_ids[trial.residuals.argsort(stable=True)][:count]

    def spread(self, position: int, count: int) -> torch.Tensor:
        """So many of the candidates tested at a position, from first to last, at most once each."""
        tested = self.trials[position].token_ids
        return tested[torch.linspace(0, len(tested) - 1, count, device=tested.device).long().unique()]

    def unmoved(self, position: int, token_ids: torch.Tensor, states: torch.Tensor) -> bool:
        """Whether candidates that were tested at a position say the same when they are run again.

        None fits, and at least half lie where they lay, up to what is allowed and to rounding, which is of their own
        size and not of the observed row's: some may be ill-conditioned.
        """
        trial, allowed = self.trials[position], self.limits[position]
        unit = rounding_unit(self.model.coarsest, device=self.model.device)
        before = trial.residuals[(trial.token_ids == token_ids[:, None]).long().argmax(1)]
        again = self.residuals(torch.full_like(token_ids, position), states)
        moved = (again - before).abs() > allowed + UNITS * unit * (1 + again)
        return not bool(fits(again, allowed).any()) and bool(moved.double().mean() <= 0.5)

    def forget(self, position: int) -> None:
        """Drops what was tested and learned at a position, and what was allowed for it."""
        del self.trials[position]
        self.limits[position] = self.tolerance.value
        if self._local is not None and self._local.position == position:
            self._local = None

    def fits(self, position: int) -> bool:
        """Whether some candidate tested there lies within the tolerance."""
        trial = self.trials.get(position)
        return trial is not None and fits(trial.least, float(self.limits[position]))

    def examine(self, position: int, prompt: list[int]) -> None:
        """Raises what is allowed at a position by as much as rounding is amplified there.

        `prompt` is the working prompt up to the position. Called when the whole vocabulary has been tested and
        nothing fits, so that with a wider tolerance the nearest of all is accepted, and not the nearest of some. For
        half types it is called once before that (`sipit.inversion.search.EXAMINED`).
        """
        trial = self.trials[position]
        ids = torch.tensor([*prompt, trial.nearest], device=self.model.device)
        network = of_largest(self.prefix.network, self.top)
        self.limits[position] = self.tolerance.examined(network, ids, trial.least)

    def crowded(self, position: int) -> torch.Tensor:
        """The rivals that call for a wider search: inside the tolerance, or within ten times the least residual.

        Where half types make residuals large, ten times is beyond what tokens differ by, and twice has to do. Inside a
        box all residuals are none; a rival within half its size of it shows that the true token may not be tested yet:
        that far off a state lies about as far from one in the box as the box is large.
        """
        trial = self.trials[position]
        near = (CLEAR if self.tolerance.damped else NEAR) * trial.least
        zone = max(self.allowed(position), near, self.beside(position))
        return trial.token_ids[(trial.residuals <= zone) & ~self._own_class(trial) & trial.standing]

    def beside(self, position: int) -> float:
        """Within what residual a state lies in the box of what is stored alike, or close beside it; 0 without one."""
        return BESIDE * float(self._blur[position])

    def far(self, position: int) -> bool:
        """Whether the rivals tested lie so far that more of them would say the same."""
        trial = self.trials[position]
        margin = self._margin(trial)
        return margin is not None and margin > DISTANT * max(self.blurred(position), trial.least)

    def possible(self, position: int) -> list[int]:
        """The candidates that cannot be told apart from the nearest at a position, itself first, a class only once."""
        trial = self.trials[position]
        near = (trial.residuals <= limit(trial.least, self.allowed(position))) & trial.standing
        ordered = trial.token_ids[near][trial.residuals[near].argsort(stable=True)]
        classes = dict.fromkeys(self.model.token_classes[ordered].tolist())
        return list(classes)

    def tested_of_class(self, position: int, token: int) -> set[int]:
        """The candidates tested at a position that are of the class of a token."""
        tested, classes = self.trials[position].token_ids, self.model.token_classes
        return set(tested[classes[tested] == classes[token]].tolist())

    def distances(self, position: int) -> tuple[float | None, float | None]:
        """The least residual at a position, and that of the nearest tested rival of another class."""
        trial = self.trials.get(position)
        if trial is None or not len(trial.residuals):
            return None, None
        return finite(trial.least), finite(self._margin(trial))

    def decide(self, position: int) -> tuple[TokenResult, Alternative | None]:
        """The answer at a position from everything tested there, and what else stays possible."""
        trial, tolerance = self.trials[position], float(self.limits[position])
        residual, margin = trial.least, self._margin(trial)
        members = self.model.members(trial.nearest)
        alternative = None
        if not fits(residual, tolerance):
            outcome, token = Outcome.NOT_FOUND, None
            alternative = Alternative(
                position, [trial.nearest], "the nearest of all candidates tested, outside the tolerance: not an answer"
            )
        elif margin is not None and not clearly_farther(margin, residual, tolerance):
            outcome, token = Outcome.AMBIGUOUS, None
            near = self._possible(trial, limit(residual, tolerance))
            alternative = Alternative(position, near, "their states cannot be told apart")
        elif len(members) > 1:
            outcome, token = Outcome.AMBIGUOUS, members[0]
            alternative = Alternative(position, members, "identical embedding rows")
        else:
            outcome, token = Outcome.RECOVERED, trial.nearest
        result = TokenResult(
            position=position,
            token_id=token,
            outcome=outcome,
            residual=finite(residual),
            margin=finite(margin),
            tolerance=tolerance,
            rivals_tested=int((~self._own_class(trial)).sum()),
            candidates_tested=len(trial.token_ids),
            told_apart_later=len(trial.struck),
        )
        return result, alternative

    def condition(self, position: int, working: Sequence[int], truth: Sequence[int]) -> Condition | None:
        """Why the rule cannot err at a position of a prompt whose true tokens are `truth`.

        What stands behind `working` tokens of other classes than the true ones was tested behind another prefix: of
        that nothing is known. Where every token has been tested, the margin is known from the residuals; a token that
        was struck out counts there, and is not among the candidates that the rule is applied to.
        """
        trial, classes = self.trials.get(position), self.model.token_classes
        if trial is None or position >= len(truth) or position > len(working):
            return None
        front, true = (classes[torch.tensor(ids[:position], dtype=torch.long)] for ids in (list(working), list(truth)))
        if not torch.equal(front, true):
            return None
        own = classes[trial.token_ids] == classes[truth[position]]
        if not bool((own & trial.standing).any()):
            return None
        error = float(trial.residuals[own].max())
        others = trial.residuals[~own]
        # From a box the triangle inequality does not hold.
        whole = len(trial.token_ids) == self.model.vocabulary_size and len(others) > 0 and not self.tolerance.boxed
        margin = least_margin(error, float(others.min())) if whole else None
        return condition(error, self.allowed(position), margin)

    def _possible(self, trial: Trial, within: float) -> list[int]:
        """The candidates within a limit, nearest first, each with its whole class."""
        inside = (trial.residuals <= within) & trial.standing
        near = trial.token_ids[inside][trial.residuals[inside].argsort(stable=True)]
        named = [member for token in near.tolist() for member in self.model.members(token)]
        return list(dict.fromkeys(named))[:LISTED]

    def _margin(self, trial: Trial) -> float | None:
        """The residual of the nearest rival of another class that is not struck out."""
        rivals = ~self._own_class(trial) & trial.standing
        return float(trial.residuals[rivals].min()) if bool(rivals.any()) else None

    def _own_class(self, trial: Trial) -> torch.Tensor:
        classes = self.model.token_classes
        return classes[trial.token_ids] == classes[trial.nearest]

    def allowed(self, position: int) -> float:
        """The relative residual that is allowed at a position."""
        return float(self.limits[position])

    def blurred(self, position: int) -> float:
        """Within what residual a state may lie by noise, or by where it lies in the box of what is stored alike."""
        return max(self.allowed(position), float(self._blur[position]))

    def residuals(self, positions: slice | torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The residuals of states (…, n, d) at n positions, shape (…, n)."""
        if isinstance(positions, torch.Tensor) and states.numel() > _ENTRIES and len(states) > 1:
            rows = max(1, _ENTRIES // states.shape[1])
            parts = zip(positions.split(rows), states.split(rows), strict=True)
            return torch.cat([self.residuals(*part) for part in parts])
        difference, weights = apart(states.double(), self.observed[positions], self.top), self._weights[positions]
        plain = quotient(difference * weights, self._norms[positions])
        if self._box is None:
            return plain
        beyond = quotient(outside(difference, self._box.at(positions)) * weights, self._norms[positions])
        return beyond + TIE * self.tolerance.value * plain
