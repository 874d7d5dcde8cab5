"""Prompts from the experts that were chosen for their tokens: all that route alike, as far as they can be followed.

    paths = [nothing]
    at every position
        behind every path   run the whole vocabulary, scores moved towards the observed choice as far as rounding may
                            move them; a token is possible there if it then chooses as observed, at every layer
        paths               every path with every token that is possible behind it
        too many            follow the likeliest by the language model; from here on no token is excluded, those
                            that were found are listed first

Ids say little, and their distance means nothing. So nothing is compared with a tolerance: what rounding may move,
amplified as at ill-conditioned positions, is moved towards the observation, and who still chooses otherwise is out.
A run that would flip is thereby kept on the observed side at earlier layers, too. `recovered` is said where every path
was followed and all that are left have the same token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from sipit.inversion.budget import Clock, check_budget
from sipit.inversion.outcome import Alternative, Inversion, Outcome, TokenResult, matches_truth, overall
from sipit.inversion.verifier import PIECE
from sipit.models import LanguageModel
from sipit.models.length import whole_length
from sipit.models.network import Network, Work
from sipit.noise.tolerance import Format, Tolerance, derive_tolerance
from sipit.observations.network import ObservedNetwork, expectation, observed_network
from sipit.observations.observation import Observation
from sipit.observations.routers import Aim, Router
from sipit.prefix.choice import PrefixOpener, single_opener
from sipit.prefix.kinds import Prefix
from sipit.states.files import States

AMPLIFIED = 100  # times the tolerance, by which rounding may move scores at ill-conditioned positions
FARTHEST = 1e-3  # of their norm, unless the tolerance itself is more
ROWS = 2**16  # tokens that are run at a position: paths that are followed, each with a whole vocabulary …
OPEN_ROWS = 2**13  # … and those once some were left behind, where only an order comes of it
FEWEST, MOST = 4, 128  # paths that are followed in any case, and at most
LISTED = 4096  # tokens of a vocabulary that is listed whole where nothing is excluded
LIKELIEST = 8  # whole prompts named

Reach = dict[int, float]


@dataclass(frozen=True, slots=True)
class Path:
    """Tokens that route as observed, and the logarithm of their probability as text."""

    tokens: tuple[int, ...] = ()
    score: float = 0.0


@dataclass
class RouteSearch:
    """One prompt at work; `observed` holds the ids (T, n) of every layer side by side."""

    network: ObservedNetwork
    prefix: Prefix
    aim: Aim
    prior: Network | None
    clock: Clock
    paths: list[Path] = field(default_factory=lambda: [Path()])
    lists: list[list[int]] = field(default_factory=list[list[int]])
    followed: list[str] = field(default_factory=list[str])
    complete: int = 0  # leading positions, all paths through which were followed
    tested: list[int] = field(default_factory=list[int])

    @property
    def length(self) -> int:
        """Positions of the prompt."""
        return len(self.aim.observed)

    def run(self, progress: Callable[[int, int], None] | None = None) -> Outcome | None:
        """Follows paths to the end; how it ended before that, or None."""
        for position in range(self.length):
            rows = ROWS if self.complete == position else OPEN_ROWS
            most = min(max(FEWEST, rows // len(self.vocabulary)), MOST)
            before, followed = len(self.paths), sorted(self.paths, key=lambda path: -path.score)[:most]
            grown: list[Path] = []
            for path, expected in zip(followed, self._expected(followed), strict=True):
                possible = self._possible(path)
                if possible is None:
                    return Outcome.BUDGET_EXHAUSTED
                grown += [Path((*path.tokens, token), path.score + float(expected[token])) for token in possible]
            if len(followed) == before and self.complete == position:
                if not grown:
                    return Outcome.NOT_FOUND
                self.complete += 1
                self.lists = [self._listed(grown, at) for at in range(position + 1)]
            elif not grown:
                return Outcome.AMBIGUOUS
            else:
                self.lists.append(self._listed(grown, position))
            self.followed.append(f"{len(followed)} of {before}")
            self.tested.append(len(followed) * len(self.vocabulary))
            self.paths = grown
            if progress is not None:
                progress(position + 1, self.length)
        return None

    @property
    def vocabulary(self) -> torch.Tensor:
        """One token of each class."""
        return self.network.model.token_classes.unique()

    def _possible(self, path: Path) -> list[int] | None:
        """The tokens that route as observed behind a path; None when out of time."""
        position = len(path.tokens)
        if position:
            self.aim.end = position
            self.prefix.extend(0, torch.tensor([path.tokens], device=self.network.model.device))
            self.prefix.keep(0)
        self.aim.end = position + 1
        wanted = self.aim.observed[position].to(self.network.model.device)
        found: list[int] = []
        for tokens in self.vocabulary.split(PIECE):
            if self.clock.expired:
                return None
            chosen = self.prefix.candidates(torch.full_like(tokens, position), tokens)
            found += tokens[(chosen == wanted).all(1)].tolist()
        return found

    def _expected(self, paths: Sequence[Path]) -> torch.Tensor:
        """Logarithms of the probabilities of the next token behind every path, as text, shape (N, V)."""
        model = self.network.model
        if self.prior is None or not paths[0].tokens:
            return torch.zeros(len(paths), model.vocabulary_size)
        run = self.prior.run(torch.tensor([path.tokens for path in paths], device=model.device))[:, -1].cpu()
        missing = model.vocabulary_size - run.shape[1]
        return torch.nn.functional.pad(run, (0, missing), value=float(run.min()))

    def listed(self, position: int) -> list[int]:
        """The tokens that are possible at a position, one of each class, the likeliest first.

        Where some paths were left behind these are all, in a vocabulary that is not too large.
        """
        found = self.lists[position] if position < len(self.lists) else []
        if position < self.complete or len(self.vocabulary) > LISTED:
            return found
        return list(dict.fromkeys([*found, *self.vocabulary.tolist()]))

    def _listed(self, paths: Sequence[Path], position: int) -> list[int]:
        """The tokens that paths have at a position, that of the likeliest path first."""
        ordered = sorted(paths, key=lambda path: -path.score)
        return list(dict.fromkeys(path.tokens[position] for path in ordered))


@dataclass(frozen=True)
class RouteInverter:
    """What the inversions of expert ids share."""

    network: ObservedNetwork
    open_prefix: PrefixOpener
    tolerance: Tolerance
    reach: Reach
    prior: Network | None
    budget: float

    @classmethod
    def open(
        cls, model: LanguageModel, states: States, *, tolerance: float | Tolerance | None, budget: float
    ) -> "RouteInverter":
        """Measures by how much rounding moves the scores of every layer."""
        check_budget(budget)
        network = observed_network(model, states.observation)
        assert isinstance(network, ObservedNetwork)
        layers = [int(layer) for layer in states.observation.within(model.layers, model.name).layers]
        computed = getattr(torch, states.manifest.dtype) if states.manifest is not None else model.dtype
        asked, found = Tolerance.asked(tolerance), dict[int, Tolerance]()
        for layer in layers:
            if asked is not None:
                found[layer] = asked
                continue
            scores = States((torch.zeros(1, 1),), layer=layer, observation=Observation(("router-scores",)))
            found[layer] = derive_tolerance(model, scores, damped=False, formats=Format(computed, computed))
        reach = {layer: one.value if one.kind == "given" else max(one.value, min(AMPLIFIED * one.value, FARTHEST))
                 for layer, one in found.items()}  # fmt: skip
        return cls(
            network=network,
            open_prefix=single_opener(observed_network(model, Observation(("router-scores",), tuple(layers)))),
            tolerance=_told(max(found.values(), key=lambda one: one.value), max(reach.values())),
            reach=reach,
            prior=expectation(model),
            budget=budget,
        )

    @property
    def arithmetic(self) -> str:
        """What really ran."""
        return f"{self.network.model.arithmetic}; the whole vocabulary behind every prompt that is followed"

    def invert_all(
        self,
        states: States,
        *,
        truth: Sequence[Sequence[int]] | None = None,
        resume: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Inversion]:
        """The prompts of all tensors of ids; see `Inverter.invert_all`.

        Raises:
            KeyboardInterrupt: with words, for nothing is kept of an interrupted run.
        """
        done, answers = 0, list[Inversion]()
        try:
            for number, rows in enumerate(states):
                told = progress and (lambda settled, _all, done=done: progress(done + settled, sum(map(len, states))))
                answers.append(self._invert(rows, told, None if truth is None else truth[number]))
                done += len(rows)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("nothing is kept of prompts that are read from experts") from None
        return answers

    def _invert(
        self, rows: torch.Tensor, progress: Callable[[int, int], None] | None, truth: Sequence[int] | None
    ) -> Inversion:
        model, clock = self.network.model, Clock(self.budget)
        with clock.running(), whole_length(len(rows)):
            aim = Aim(rows, self.reach)
            network = replace(self.network, work=Work(), readers=aimed(self.network, aim))
            search = RouteSearch(network, self.open_prefix(network), aim, self.prior, clock)
            ended = search.run(progress)
        inversion = replace(answer(search, ended), seconds=clock.seconds)
        if truth is None:
            return inversion
        return replace(inversion, matches_truth=matches_truth(model, inversion, truth))


def aimed(network: ObservedNetwork, aim: Aim) -> tuple[Router, ...]:
    """The routers of a network, each moved towards its own columns of what was observed."""
    readers: list[Router] = []
    start = 0
    for reader in network.readers:
        assert isinstance(reader, Router)
        readers.append(replace(reader, aim=aim, start=start))
        start += reader.chosen
    return tuple(readers)


def answer(search: RouteSearch, ended: Outcome | None) -> Inversion:
    """What a search found."""
    model = search.network.model
    tokens: list[TokenResult] = []
    alternatives: list[Alternative] = []
    for position in range(search.length):
        listed = search.listed(position)
        members = [member for token in listed for member in model.members(token)]
        exact = position < search.complete
        if exact and len(listed) == 1:
            outcome = Outcome.RECOVERED if len(members) == 1 else Outcome.AMBIGUOUS
        else:
            outcome = Outcome.AMBIGUOUS if position < len(search.lists) or ended is None else ended
        if len(members) > 1 or not exact:
            alternatives.append(Alternative(position, members, _reason(search, position, listed, ended)))
        tokens.append(
            TokenResult(
                position=position,
                token_id=listed[0] if exact and len(listed) == 1 else None,
                outcome=outcome,
                residual=None,
                margin=None,
                tolerance=max(search.aim.reach.values()),
                rivals_tested=max(0, search.tested[position] - 1) if position < len(search.tested) else 0,
                candidates_tested=search.tested[position] if position < len(search.tested) else 0,
            )
        )
    ids = [token.token_id for token in tokens]
    known = [token for token in ids if token is not None]
    text = model.decode(known) if len(known) == len(ids) else None
    likeliest = sorted(search.paths, key=lambda path: -path.score)[:LIKELIEST] if ended is None else []
    return Inversion(
        outcome=overall(token.outcome for token in tokens),
        token_ids=ids,
        text=text,
        text_is_prompt=None if text is None else model.gives_back(text, known),
        alternatives=alternatives,
        tokens=tokens,
        forward_passes=search.network.work.forward_passes,
        token_positions=search.network.work.token_positions,
        candidates_tested=sum(token.candidates_tested for token in tokens),
        seconds=0.0,
        pieces=[None if token is None else model.decode([token]) for token in ids],
        likeliest=tuple((list(path.tokens), path.score) for path in likeliest if len(known) < len(ids)),
    )


def _reason(search: RouteSearch, position: int, listed: list[int], ended: Outcome | None) -> str:
    if position < search.complete:
        return "identical embedding rows" if len(listed) == 1 else "all that route alike, of the whole vocabulary"
    if position < len(search.lists):
        count, followed = len(search.lists[position]), search.followed[position]
        return (
            f"no token is excluded, for only the likeliest {followed} prompts so far were followed; behind these the "
            f"first {count} route alike"
        )
    if ended is Outcome.NOT_FOUND:
        first = len(search.lists)
        where = "like this" if position == first else f"as at position {first}"
        return f"nothing in the vocabulary routes {where}"
    if ended is Outcome.BUDGET_EXHAUSTED:
        return "the budget ended before this position was reached"
    return "nothing routes like this behind the prompts that were followed"


def _told(tolerance: Tolerance, reach: float) -> Tolerance:
    """What is allowed in all, and what it comes from."""
    if tolerance.kind == "given":
        return tolerance
    also = f"scores may move by {AMPLIFIED} times that, but by {FARTHEST:g} at most unless that is less"
    return replace(tolerance, value=reach, derived_from=f"{tolerance.derived_from}; {also}")
