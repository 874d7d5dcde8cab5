"""`invert`: the prompts from their states (SipIt, arXiv 2510.15511, Theorem 3.1), every token verified."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from proofs.arguments import called, switch, whole
from sipit.inversion.batching import Opening, run_together
from sipit.inversion.budget import Clock, check_budget
from sipit.inversion.first_states import FirstStates
from sipit.inversion.formats import derive_each, with_other_formats
from sipit.inversion.neighbours import other_layers
from sipit.inversion.outcome import Inversion, Outcome, matches_truth, overall
from sipit.inversion.placeless import PLACELESS, tells_places
from sipit.inversion.policies import Policy, check_policy, make_policy
from sipit.inversion.prefixes import expect_prefixes_as_alone
from sipit.inversion.resume import Kept
from sipit.inversion.routes import RouteInverter
from sipit.inversion.search import RIVALS, Search
from sipit.inversion.verifier import Verifier
from sipit.models import LanguageModel
from sipit.models.language_model import check_loaded
from sipit.models.length import whole_length
from sipit.models.network import Network, Work
from sipit.noise.tolerance import Format, Tolerance, format_of
from sipit.observations.near_tokens import NearTokens
from sipit.observations.network import ObservedNetwork, observed_network, of_all, says_little, top_of
from sipit.prefix.choice import PrefixOpener, arithmetic_of, prefix_opener
from sipit.record import Progress
from sipit.states.files import States, check_states


def invert(
    model: LanguageModel,
    states: States,
    *,
    policy: str = "draft",
    tolerance: float | Tolerance | None = None,
    full_margin: bool = False,
    rivals: int | None = None,
    budget: float = 600.0,
    progress: Progress | None = None,
) -> list[Inversion]:
    """Recovers the prompts from their states as observed; never a silent wrong token.

    Args:
        model: the model that the states were captured from.
        states: one (T, n) tensor per prompt, from `capture` or `read_states`.
        policy: `draft`, `gradient`, `nearest` or `exhaustive`: the order of the candidates, not which are accepted.
        tolerance: relative L2 residual that a true token may have; None derives it from measured noise.
        full_margin: test the whole vocabulary at every position.
        rivals: tested at every position; None tests 16, and fewer where the likeliest token of a residual stream fits
            and these lie far.
        budget: wall-clock seconds per prompt.
        progress: called with (positions decided, positions in all).

    Raises:
        InvalidInput: states that cannot be this model's, or an argument out of range.
        Unsupported: the model has no such tensor, or gives its tokens other states when it is run in parts.
    """
    check_loaded(model)
    check_states(states)
    full_margin, progress = switch("full_margin", full_margin), called("progress", progress)
    states = states.beside(model)
    inverter = open_inverter(
        model, states, policy=policy, tolerance=tolerance, full_margin=full_margin, rivals=rivals, budget=budget
    )
    return inverter.invert_all(states, progress=progress)


def open_inverter(
    model: LanguageModel,
    states: States,
    *,
    policy: str,
    tolerance: float | Tolerance | None,
    budget: float,
    **options: Any,
) -> "Inverter | RouteInverter":
    """What inverts such states: `Inverter`, or where they are ids of experts `RouteInverter`, which tries everything.

    The arguments are those of `Inverter.open`; where everything is tried, policy and rivals are not used.
    """
    if states.observation.discrete:
        check_policy(policy)
        states.check(model)
        return RouteInverter.open(model, states, tolerance=tolerance, budget=budget)
    return Inverter.open(model, states, policy=policy, tolerance=tolerance, budget=budget, **options)


@dataclass(frozen=True)
class Inverter:
    """Everything that the inversions at one layer share.

    States of a format that is among `tolerances` are held against the one there, others against `tolerance`.
    """

    network: Network
    open_prefix: PrefixOpener
    policy: Policy
    tolerance: Tolerance
    rivals: int
    budget: float
    tolerances: Mapping[Format, Tolerance] = field(default_factory=dict[Format, Tolerance])
    adaptive: bool = False  # fewer rivals where the policy finds them enough
    # Lengths, and tokens found, behind which prefixes were seen to have the states that they have alone.
    _as_alone: set[tuple[int, ...]] = field(default_factory=set[tuple[int, ...]])

    @classmethod
    def open(
        cls,
        model: LanguageModel,
        states: States,
        *,
        policy: str = "draft",
        tolerance: float | Tolerance | None = None,
        full_margin: bool = False,
        rivals: int | None = None,
        budget: float = 600.0,
        progress: Progress | None = None,
    ) -> "Inverter":
        """Checks the states, derives the tolerance and prepares the policy (probes may have to be trained).

        Arguments and errors are those of `sipit.invert`; `progress` is told of the training.
        """
        check_budget(budget)
        states.check(model)
        network = observed_network(model, states.observation)
        derived: dict[Format, Tolerance] = {}
        allowed = Tolerance.asked(tolerance)
        if allowed is None:
            derived = derive_each(model, states)
            allowed = max(derived.values(), key=lambda one: one.value)
        rivals = None if rivals is None else whole("rivals", rivals, least=2, example=RIVALS)
        check_policy(policy)
        everything = full_margin or policy == "exhaustive" or says_little(network)
        return cls(
            network=network,
            open_prefix=prefix_opener(network),
            policy=make_policy(policy, network, positions=sum(map(len, states)), progress=progress),
            tolerance=allowed,
            rivals=model.vocabulary_size if everything else rivals or RIVALS,
            adaptive=rivals is None and policy == "draft" and not (everything or isinstance(network, ObservedNetwork)),
            budget=budget,
            tolerances=derived,
        )

    @property
    def arithmetic(self) -> str:
        """What really ran."""
        return arithmetic_of(self.network, self.open_prefix)

    def invert_all(
        self,
        states: States,
        *,
        truth: Sequence[Sequence[int]] | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> list[Inversion]:
        """The prompts of all tensors; with `truth`, each answer says whether it agrees with the true ids, and each
        token why it cannot but do so.

        With `resume`, what is found is kept in the cache until everything is: an interrupted run continues from there.
        """
        decided: dict[int, int] = {}
        allowed = self._allowed(states)
        kept = self.kept(states, truth) if resume else None
        known = [None] * len(states) if truth is None else truth

        def opening(number: int) -> Opening:
            def advance(settled: int, _length: int) -> None:
                decided[number] = settled
                if progress is not None:
                    progress(sum(decided.values()), sum(map(len, states)))

            def begin() -> Search:
                search = self._search(states[number], advance, allowed[number], known[number])
                standing = kept.standing(number) if kept is not None else None
                if standing is not None:
                    search.go_on_from(standing)
                return search

            return len(states[number]), begin

        found: dict[int, Inversion] = {}
        openings = [opening(number) for number in range(len(states))]
        for number, search in self._run(openings, kept.keep if kept is not None else None):
            found[number] = self._judged(search, known[number])
        inversions = [found[number] for number in range(len(states))]

        def again(number: int, tolerance: Tolerance, used: float) -> Inversion:
            def begin() -> Search:
                search = self._search(states[number], None, tolerance, known[number])
                search.clock.charge(used)
                return search

            ((_, search),) = self._run([(len(states[number]), begin)], None)
            return self._judged(search, known[number])

        if self.tolerances:
            inversions = with_other_formats(self.network.model, states, inversions, allowed, again)
        if kept is not None:
            kept.remove()
        return inversions

    def kept(self, states: States, truth: Sequence[Sequence[int]] | None = None) -> Kept:
        """What is kept of an interrupted run over these states, with the truth where it was given."""
        allowed = self._allowed(states)
        order = type(self.policy).__name__  # whose answers are the same, but not the work that a record counts
        also = (self.budget, order, self.rivals, self.adaptive, *(allowed if len({*allowed}) > 1 else ()))
        known = None if truth is None else [*map(list, truth)]  # which the conditions of answers are of
        return Kept.of(self.network.model, states.arrays, states.observation, allowed[0], *also, known)

    def _allowed(self, states: States) -> list[Tolerance]:
        """The tolerance for every tensor of states."""
        if not self.tolerances:
            return [self.tolerance] * len(states)
        return [self.tolerances.get(format_of(rows, states), self.tolerance) for rows in states]

    def _judged(self, search: Search, truth: Sequence[int] | None) -> Inversion:
        """What a search found, compared with the truth where that is given."""
        inversion = self._answer(search)
        if truth is None:
            return inversion
        return replace(inversion, matches_truth=matches_truth(self.network.model, inversion, truth))

    def invert(self, observed: torch.Tensor, *, progress: Progress | None = None) -> Inversion:
        """The prompt of one tensor of states (T, d)."""
        ((_, search),) = self._run([(len(observed), lambda: self._search(observed, progress))], None)
        return self._answer(search)

    def _answer(self, search: Search) -> Inversion:
        """What a search that has ended found, and what its rows cannot show.

        Raises:
            Unsupported: nothing was found behind a prefix whose states depend on how long the prompt is.
        """
        inversion = _found(search)
        if inversion.outcome is Outcome.NOT_FOUND:
            settled = [token.token_id for token in inversion.tokens if token.token_id is not None]
            if (search.length, *settled) not in self._as_alone:
                expect_prefixes_as_alone(self.network, settled, search.length, self.tolerance.value)
                self._as_alone.add((search.length, *settled))
        if inversion.outcome is Outcome.RECOVERED and not self._tells_places:
            return replace(inversion, note=PLACELESS)
        return inversion

    def _run(
        self, openings: Sequence[Opening], keep: Callable[[int, Search], None] | None
    ) -> Generator[tuple[int, Search]]:
        """Runs searches; those whose prompts go through one network, which may depend on their lengths, together."""
        for group in self.network.model.lengths.groups([length for length, _ in openings]):

            def kept(number: int, search: Search, group: list[int] = group) -> None:
                if keep is not None:
                    keep(group[number], search)

            with whole_length(max(openings[number][0] for number in group)):
                for number, search in run_together([openings[number] for number in group], keep=kept):
                    yield group[number], search

    def _search(
        self,
        observed: torch.Tensor,
        progress: Progress | None,
        tolerance: Tolerance | None = None,
        truth: Sequence[int] | None = None,
    ) -> Search:
        """The search for one prompt, ready to begin."""
        clock = Clock(self.budget)
        with clock.running():
            network = replace(self.network, work=Work())
            return Search(
                verifier=Verifier(
                    network.model,
                    self.open_prefix(of_all(network)),
                    observed,
                    tolerance or self.tolerance,
                    self._near,
                    top_of(network),
                ),
                proposal=self.policy.propose(observed, network),
                rivals=self.rivals,
                adaptive=self.adaptive,
                clock=clock,
                progress=progress,
                first=self._first,
                truth=truth,
            )

    @cached_property
    def _tells_places(self) -> bool:
        return tells_places(self.network, self.tolerance.value)

    @cached_property
    def _near(self) -> NearTokens:
        """Rivals by what the sites show of tokens, for all searches."""
        return NearTokens(self.network)

    @cached_property
    def _first(self) -> FirstStates | None:
        """States of tokens at the first position, for all searches."""
        return FirstStates.of(of_all(self.network))


def _found(search: Search) -> Inversion:
    """What a search that has ended found."""
    found = search.standing()
    tokens = list(found.results)
    ids = [token.token_id for token in tokens if token.token_id is not None]
    model = search.verifier.model
    text = model.decode(ids) if len(ids) == len(tokens) else None
    return Inversion(
        outcome=overall(token.outcome for token in tokens),
        token_ids=[token.token_id for token in tokens],
        text=text,
        text_is_prompt=None if text is None else model.gives_back(text, ids),
        alternatives=[*other_layers(search), *found.alternatives],
        tokens=tokens,
        forward_passes=found.forward_passes,
        token_positions=found.token_positions,
        candidates_tested=sum(token.candidates_tested for token in tokens),
        seconds=found.seconds,
        pieces=[None if token.token_id is None else model.decode([token.token_id]) for token in tokens],
        working_text=model.decode(list(found.working)) if text is None and found.working else None,
    )
