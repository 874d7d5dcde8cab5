"""The search for one prompt: draft, verify, repair.

    repeat until every position is decided
        advance   run the draft behind what is settled; settle the longest stretch that fits,     one run
                  and again while the run, which corrects the rest of the draft, brings it further
                  and that rest is short
        review    test rivals of what was settled, and first candidates where the stretch ended   one batch
                  half types: where several fit, see what later states say of them (`sipit.inversion.lookahead`)
        repair    where it ended, test more candidates until one fits                             growing batches

A policy only orders the candidates; `Verifier` decides. Whatever the order, a search ends at the whole vocabulary,
so the worst case is the plain algorithm. A search does not run the model: it yields what it wants to have run and is
sent the states, so that several searches can share a run (`sipit.inversion.batching`).
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace

import torch

from sipit.inversion.budget import Clock
from sipit.inversion.confirmation import confirmed
from sipit.inversion.first_states import FirstStates
from sipit.inversion.flatness import flat_positions, says_few_bits
from sipit.inversion.lookahead import follow
from sipit.inversion.outcome import Alternative, Outcome, TokenResult
from sipit.inversion.policies import Proposal
from sipit.inversion.rivals import Tests, few_rivals, many_rivals
from sipit.inversion.standing import Standing
from sipit.inversion.verifier import PIECE, Verifier
from sipit.inversion.wanted import Candidates, Drafts, Wanted
from sipit.prefix.kinds import Prefix

RIVALS = 16  # tested at a position: half by the ranking of the policy, half by nearest embedding rows
FIRST = 32  # candidates in the first batch where the draft does not fit, half as many where the policy is informed
GROWTH = 3  # each further batch is this many times as large
LEARNING = 256  # candidates in a batch as long as the next order comes of what these show
EAGER = 2048  # candidates up to which that is so
AGAIN = 96  # tokens of a corrected draft that run before candidates are tested where it ended: more cost more
STRETCH = 2048  # tokens of a draft that run together: nothing looks at the clock while they do
EXAMINED = 256  # candidates tested with half types before the rounding at a position is examined
CONDITIONAL = 512  # candidates tried at most behind an unresolved token, whose working choice may be the error


Steps = Generator[Wanted, torch.Tensor, None]
Answering = Generator[Wanted, torch.Tensor, bool]


@dataclass
class Search:
    """One prompt at work.

    `working` holds the token taken at every settled position, `results` the answers decided so far: a position is
    first settled (a token fits), then decided (its rivals are tested too): `rivals` of them, or where that is
    `adaptive` as few as the policy finds enough, if these lie far. `first` has states of the first position that
    need no run. Of the `truth`, where it is known, come conditions of answers alone, and no candidate.
    """

    verifier: Verifier
    proposal: Proposal
    rivals: int
    adaptive: bool
    clock: Clock
    progress: Callable[[int, int], None] | None = None
    first: FirstStates | None = None
    truth: Sequence[int] | None = None
    working: list[int] = field(default_factory=list[int])
    results: list[TokenResult] = field(default_factory=list[TokenResult])
    alternatives: list[Alternative] = field(default_factory=list[Alternative])
    _current: int = 0  # how many leading tokens of the prefix are those of `working`
    _taken_over: bool = False  # whether `working` comes from an earlier search and was not run yet

    @property
    def length(self) -> int:
        """Positions of the prompt."""
        return len(self.verifier.observed)

    @property
    def prefix(self) -> Prefix:
        """What the wanted tokens are run behind."""
        return self.verifier.prefix

    @property
    def ended(self) -> bool:
        """Whether every position has its answer."""
        return len(self.results) == self.length

    def standing(self) -> Standing:
        """Where it stands: what is decided, and what was tested where nothing is, or first of all nothing found."""
        work, told = self.prefix.network.work, {*range(len(self.results), self.length)}
        if self.results and self.results[0].outcome is Outcome.NOT_FOUND:
            told.add(0)  # other layers are asked of it (`sipit.inversion.neighbours`)
        return Standing(
            working=tuple(self.working),
            results=tuple(self.results),
            alternatives=tuple(self.alternatives),
            tested=self.verifier.tested_at(told),
            allowed=self.verifier.limits.clone(),
            seconds=self.clock.seconds,
            forward_passes=work.forward_passes,
            token_positions=work.token_positions,
        )

    def go_on_from(self, standing: Standing) -> None:
        """Takes over where an earlier search for the same prompt stopped; its working prompt is run again first."""
        self.working, self.results = list(standing.working), list(standing.results)
        self.alternatives = list(standing.alternatives)
        self.verifier.go_on_from(standing.tested, standing.allowed)
        self.clock.charge(standing.seconds)
        self.prefix.network.work.add(standing.forward_passes, standing.token_positions)
        self._taken_over = True

    def run(self) -> Steps:
        """Decides every position, or says of the rest why not."""
        while not self.ended:
            while self._current < self.length and (yield from self._advance()):
                pass
            yield from self._review()
            undecided = len(self.results) < len(self.working)
            if not undecided and self._current == len(self.working) < self.length:
                found = yield from self._repair(len(self.working))
                if not found:
                    return
            if self.clock.expired:
                self._stop(Outcome.BUDGET_EXHAUSTED, "the budget ended before this position was decided")
                return
            if self.progress is not None:
                self.progress(len(self.results), self.length)

    def _advance(self) -> Answering:
        """Runs what is settled and not yet run, and drafts behind it; settles the longest stretch that fits.

        True where the rest of the draft, once corrected, is worth a run before candidates are tested: it is not too
        long, the draft did not end at this position before, and the corrected token there is another one.
        """
        start, settled = self._current, len(self.working)
        tokens = torch.tensor(self.working[start:], dtype=torch.long, device=self.verifier.model.device)
        draft = self.proposal.draft(settled)
        if draft is not None:
            tokens = torch.cat([tokens, draft[:STRETCH]])
        if len(tokens):
            (states,) = yield Drafts(start, tokens[None])
            if start == 0 and self.first is not None:
                self.first.enter(torch.zeros_like(tokens[:1]), tokens[:1], states[:1])
            stop = start + self.verifier.draft(start, tokens, states)
            if self._taken_over and stop < settled:
                self._begin_anew()
            self._taken_over = False
            classes = self.verifier.model.token_classes
            for position in range(settled, stop):
                self.working.append(self.verifier.trials[position].nearest)
                if classes[self.working[-1]] != classes[tokens[position - start]]:
                    self._forget_beyond(position)  # one tested before is nearer: what follows stood behind this one
                    self._current = position
                    return False
            if settled <= stop < start + len(tokens) and stop == len(self.working):
                rest, tried = slice(stop - start, None), self.verifier.trials[stop].token_ids
                self.proposal = self.proposal.behind(
                    stop, tokens[rest], self.verifier.shown(states[rest]), tried, self.prefix
                )
                self._current = stop
                if len(tried) > 1 or len(tokens[rest]) > AGAIN or self.clock.expired:
                    return False
                another = self.proposal.draft(stop)
                return another is not None and int(another[0]) not in tried.tolist()
        self._current = len(self.working)
        return False

    def _begin_anew(self) -> None:
        """What was taken over does not fit: drops all of it."""
        self.working, self.results, self.alternatives = [], [], []
        self.verifier.begin_anew()

    def _review(self) -> Steps:
        """One batch for all positions that are settled and undecided, then decides them in order."""
        pending = range(len(self.results), len(self.working))
        settled = [(position, self.working[position]) for position in pending]
        few = few_rivals(self.verifier, self.proposal, settled) if self.adaptive else {}
        tests = [*few.items(), *self._rivals_of([position for position in pending if position not in few], self.rivals)]
        end = len(self.working)
        if self._current == end < self.length:
            self._learn(end)
            tests.append((end, self._likeliest(end, FIRST // (1 + self.proposal.informed))))
        in_time = yield from self._test(tests)
        if not in_time:
            return  # out of time: what was not tested is not decided
        near = [position for position in few if not self.verifier.far(position)]
        in_time = yield from self._test(self._rivals_of(near, self.rivals))
        if not in_time:
            return
        in_time = yield from self._test([(position, self._rest(position)) for position in self._flat(pending)])
        if not in_time:
            return
        for position in pending:
            in_time = yield from self._widen(position)
            if not in_time:
                return
            nearest = self.verifier.trials[position].nearest
            classes = self.verifier.model.token_classes
            self._decide(position)
            if classes[nearest] != classes[self.working[position]]:
                self._take_back(position, nearest)
                return

    def _flat(self, positions: Sequence[int]) -> list[int]:
        """Those whose states may be those of tokens that lie nowhere near."""
        if not positions:
            return []
        flat, model = flat_positions(self.prefix.network, self.working, self.verifier.limits), self.verifier.model
        rows = self.verifier.observed
        return [at for at in positions if at in flat or says_few_bits(rows[at], model.vocabulary_size)]

    def _widen(self, position: int) -> Answering:
        """Tests more rivals while the last batch brought one that is not clearly farther; False when out of time.

        Where the first batch brought one, four times as many are tested in any case, even if later states strike all
        of it out: that others would be struck out too is only seen on them. Of values that were rounded when stored,
        all are tested while one is left: a box that holds one wrong token may hold the true one unseen.
        """
        count = self.rivals
        if not len(self.verifier.crowded(position)):
            return True
        yield from self._look_ahead(position)
        while True:
            before = self.verifier.crowded(position)
            count *= 4
            fresh = self._rivals_of([position], count)
            if not len(fresh[0][1]):
                return True
            in_time = yield from self._test(fresh)
            if not in_time:
                return False
            yield from self._look_ahead(position)
            crowd = self.verifier.crowded(position)
            if bool(torch.isin(crowd, before).all()) and not (self.verifier.tolerance.boxed and len(crowd)):
                return True

    def _look_ahead(self, position: int) -> Steps:
        """Strikes out what later states speak against, then puts the working prompt back into the prefix.

        Of values that were rounded when stored, only once all tokens were tested: else the true one may be missing.
        """
        boxed, vocabulary = self.verifier.tolerance.boxed, self.verifier.model.vocabulary_size
        enough = self._tested(position) == vocabulary if boxed else self.verifier.tolerance.damped
        if not (enough and self.proposal.informed and len(self.verifier.possible(position)) > 1):
            return
        steps = follow(self.verifier, self.proposal, self.working, position)
        wanted = next(steps, None)
        if wanted is None:
            return
        while wanted is not None and not self.clock.expired:
            states = yield Drafts(*wanted)
            try:
                wanted = steps.send(states)
            except StopIteration:
                wanted = None
        rest = torch.tensor([self.working[position:]], device=self.verifier.model.device)
        yield Drafts(position, rest)
        self.prefix.keep(0)

    def _repair(self, position: int) -> Answering:
        """Tests candidates until one fits; False where none does, and then the rest is given up with its reason."""
        conditional = self._unresolved() is not None
        vocabulary = self.verifier.model.vocabulary_size
        limit = min(CONDITIONAL, vocabulary) if conditional else vocabulary
        batch, examined = FIRST, not self.verifier.tolerance.damped
        ordered = self.verifier.model.token_classes[:0]
        while self._tested(position) < limit and (self.rivals == vocabulary or not self.verifier.fits(position)):
            learns = self.verifier.learns(position)
            batch = min(batch * GROWTH, LEARNING if learns and self._tested(position) < EAGER else PIECE)
            if not len(ordered):
                anew = learns or batch < PIECE
                ordered = self._candidates(position, batch if anew else self.proposal.at_once)
            chosen, ordered = ordered[:batch], ordered[batch:]
            in_time = yield from self._test([(position, chosen)])
            if not in_time:
                self._stop(Outcome.BUDGET_EXHAUSTED, "the budget ended before this position was found")
                return False
            if not examined and self._tested(position) >= EXAMINED and not self.verifier.fits(position):
                self.verifier.examine(position, self.working)
                examined = True
        if not self.verifier.fits(position) and self._tested(position) == vocabulary:
            self.verifier.examine(position, self.working)
            sound = self.verifier.fits(position) or (yield from confirmed(self.verifier, self.working, position))
            if not sound:
                if position == 0 and self.first is not None:
                    self.first.forget()
                return (yield from self._repair(position))
        if self.verifier.fits(position):
            self.working.append(self.verifier.trials[position].nearest)
            return True
        if conditional:
            self._stop(Outcome.AMBIGUOUS, f"nothing near fits behind the working token at {self._unresolved()}")
        else:
            self._decide(position)
            self._stop(Outcome.NOT_FOUND, f"not tried, because no token was found at position {position}")
        return False

    def _learn(self, position: int) -> None:
        """Learns from what is tested at a position, where an order is wanted and tests cost a run."""
        everything = self.rivals == self.verifier.model.vocabulary_size
        at_hand = position == 0 and self.first is not None and self.first.complete
        if self.proposal.informed and not everything and not at_hand:
            self.verifier.learn(position)

    def _decide(self, position: int) -> None:
        """Enters the answer at a position; behind an unresolved one it stays conditional."""
        result, alternative = self.verifier.decide(position)
        unresolved = self._unresolved()
        if unresolved is not None and result.token_id is not None:
            members = alternative.token_ids if alternative is not None else [result.token_id]
            alternative = Alternative(position, members, f"conditional on the working token at position {unresolved}")
            result = _without_token(result, Outcome.AMBIGUOUS)
        self._enter(result)
        if alternative is not None:
            self.alternatives.append(alternative)

    def _take_back(self, position: int, token: int) -> None:
        """A rival turned out nearer than the settled token: takes it, and drops all that was behind the other."""
        del self.working[position:]
        self.working.append(token)
        self._current = position
        self._forget_beyond(position)

    def _forget_beyond(self, position: int) -> None:
        """Drops what was tested behind a position, whose token is another one now."""
        for later in [key for key in self.verifier.trials if key > position]:
            del self.verifier.trials[later]

    def _stop(self, outcome: Outcome, reason: str) -> None:
        """Gives the undecided rest no token, this outcome and the reason."""
        for position in range(len(self.results), self.length):
            residual, margin = self.verifier.distances(position)
            tested, allowed = self._tested(position), self.verifier.allowed(position)
            self._enter(TokenResult(position, None, outcome, residual, margin, allowed, max(0, tested - 1), tested))
            self.alternatives.append(Alternative(position, [], reason))

    def _enter(self, result: TokenResult) -> None:
        """Enters an answer, with the condition under which the rule cannot err there."""
        truth = self.truth
        known = None if truth is None else self.verifier.condition(result.position, self.working, truth)
        self.results.append(replace(result, condition=known))

    def _unresolved(self) -> int | None:
        """The first position that several tokens fit."""
        return next((result.position for result in self.results if result.token_id is None), None)

    def _test(self, tests: Tests) -> Answering:
        """Tests tokens at positions, a piece at a time; False if the time ended before the last piece."""
        if not tests:
            return True
        tokens = torch.cat([tokens for _, tokens in tests])
        counts = torch.tensor([len(tokens) for _, tokens in tests])
        positions = torch.tensor([position for position, _ in tests]).repeat_interleave(counts).to(tokens.device)
        for at, piece in zip(positions.split(PIECE), tokens.split(PIECE), strict=True):
            if self.clock.expired:
                return False
            if len(piece):
                if self.first is None:
                    states = yield Candidates(at, piece)
                else:
                    states = yield from self.first.served(at, piece)
                self.verifier.test(at, piece, states)
        return True

    def _likeliest(self, position: int, count: int) -> torch.Tensor:
        """The first tokens to test at a position: the leading ones, where there are enough."""
        leading, trial = self.proposal.leading(position), self.verifier.trials.get(position)
        fresh = leading if trial is None else leading[~torch.isin(leading, trial.token_ids)]
        return fresh[:count] if len(fresh) >= count else self._candidates(position, count)

    def _candidates(self, position: int, count: int) -> torch.Tensor:
        """The next best tokens at a position that were not tested there."""
        count = min(count, self.proposal.at_once)
        trial = self.verifier.trials.get(position)
        order = self.proposal.ranking(position, trial, self.prefix)
        return (order if trial is None else order[~torch.isin(order, trial.token_ids)])[:count]

    def _rivals_of(self, positions: list[int], count: int) -> Tests:
        """So many rivals to test at positions."""
        return many_rivals(self.verifier, self.proposal, positions, count)

    def _rest(self, position: int) -> torch.Tensor:
        """All tokens that were not tested at a position."""
        every = torch.arange(self.verifier.model.vocabulary_size, device=self.verifier.model.device)
        return every[~torch.isin(every, self.verifier.trials[position].token_ids)]

    def _tested(self, position: int) -> int:
        """How many tokens have been tested at a position."""
        trial = self.verifier.trials.get(position)
        return 0 if trial is None else len(trial.token_ids)


def _without_token(result: TokenResult, outcome: Outcome) -> TokenResult:
    return replace(result, token_id=None, outcome=outcome)
