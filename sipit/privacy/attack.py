"""The attack of `leak` at one layer: the likeliest candidate behind what was released, position by position.

table   the states of candidate tokens behind the true prompt, once for each position
attack  of every defence and strength: the likeliest candidate; nothing else knows more
cost    what was released goes through the rest of the network, and its predictions are compared
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from numerics.chance import chance_of
from numerics.dtypes import name_of
from proofs.errors import InvalidInput
from sipit.cache import keep_json, kept_json, measured_with
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.prefix.choice import PrefixOpener, prefix_opener
from sipit.privacy.defences import DEFENCES, Defence, Known, Seen, released
from sipit.prompts.calibration import calibration_prompts
from sipit.quantization.output import divergences
from sipit.states.capturing import capture

_TRIED = 2  # tokens that the time is estimated from


def _known(model: LanguageModel, layer: int) -> Known:
    rows = torch.cat([one.cpu().double() for one in capture(model, calibration_prompts(model), layer=layer)])
    # Recomputed states differ by amplified rounding, some ten units.
    return Known(rows, 10 * torch.finfo(model.coarsest).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """All defences with their strengths, `levels`, at one layer; `candidates` is the size of the shortlist."""

    network: Network
    opener: PrefixOpener
    known: Known
    levels: list[tuple[Defence, float]]
    candidates: int
    seed: int

    @classmethod
    def at(cls, network: Network, levels: list[tuple[Defence, float]], candidates: int, seed: int) -> "Attack":
        """At the layer that a network is read at."""
        return cls(network, prefix_opener(network), _known(network.model, int(network.layer)), levels, candidates, seed)

    def drawn_again(self, seeds: int) -> "list[Attack]":
        """The same with so many seeds that count up from its own."""
        return [replace(self, seed=self.seed + number) for number in range(seeds)]

    def behind(self, levels: list[tuple[Defence, float]]) -> "Attack":
        """The same attack behind other defences."""
        return replace(self, levels=levels)

    def seconds(self, prompts: list[list[int]]) -> float:
        """How long prompts will take that are not done yet, by the time of the first tokens of one, and of one cost."""
        left = [prompt for number, prompt in enumerate(prompts) if self._kept(prompt, number) is None]
        if not left:
            return 0.0
        longest = max(left, key=len)
        attacking = _timed(lambda: self._attacked(longest[:_TRIED], 0)) / len(longest[:_TRIED])
        states = self.network.run(torch.tensor([longest], device=self.network.model.device))[0]
        predicting = _timed(lambda: self._cost(longest, states, [states])) / (2 * len(longest))  # by two runs
        return (attacking + (1 + len(self.levels)) * predicting) * sum(map(len, left))

    def on(self, prompt: list[int], number: int) -> list[dict[str, Any]]:
        """What each defence and strength leaves of one prompt; kept, for those that are our own."""
        kept = self._kept(prompt, number)
        if kept is None:
            kept = {"levels": self._measured(prompt, number)}
            if self._ours:
                keep_json(self._key(prompt, number), kept)
        return kept["levels"]

    @property
    def _ours(self) -> bool:
        return all(DEFENCES.get(defence.name) is defence for defence, _ in self.levels)

    def _kept(self, prompt: list[int], number: int) -> dict[str, Any] | None:
        return kept_json(self._key(prompt, number)) if self._ours else None

    def _key(self, prompt: list[int], number: int) -> str:
        model = self.network.model
        named = [(defence.name, level) for defence, level in self.levels]
        identity = (
            model.key,
            str(model.coarsest),
            str(self.network.dtype),
            self.network.layer,
            prompt,
            named,
            self.candidates,
            self.seed,
            number,
        )
        told = hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
        return f"{measured_with(model.device)}/leak/read-with-ids/{told}.json"

    def _measured(self, prompt: list[int], number: int) -> list[dict[str, Any]]:
        found, states, changed = self._attacked(prompt, number)
        return [one | cost for one, cost in zip(found, self._cost(prompt, states, changed), strict=True)]

    def _attacked(
        self, prompt: list[int], number: int
    ) -> tuple[list[dict[str, Any]], torch.Tensor, list[torch.Tensor]]:
        """By level how often the attack succeeds; the states, and what leaves of them by level."""
        network, model = self.network, self.network.model
        ids = torch.tensor(prompt, device=model.device)
        prefix = self.opener(network)
        states = prefix.extend(0, ids[None])[0].clone()
        prefix.keep(0)
        rows = states.cpu().double()
        changed = [self._leaving(rows, defence, level, number) for defence, level in self.levels]
        nothing = {"recovered": 0, "ambiguous": 0, "wrong": 0, "tokens": len(prompt)}
        found: list[dict[str, Any]] = [nothing | {"bounds": []} for _ in self.levels]
        classes = model.token_classes
        for position, token in enumerate(prompt):
            tried = self._shortlist(token, position, number)
            table = prefix.candidates(torch.full_like(tried, position), tried).cpu().double()
            same = (classes[tried] == classes[token]).cpu()
            for place, (defence, level) in enumerate(self.levels):
                seen = Seen(changed[place][position], changed[place][:position], rows[:position])
                found[place][_outcome(defence.likelihoods(seen, table, level, self.known), same)] += 1
                found[place]["bounds"].append(defence.error_bound(rows[position], table[~same], level, self.known))
        return found, states, changed

    def _cost(self, prompt: list[int], states: torch.Tensor, changed: list[torch.Tensor]) -> list[dict[str, Any]]:
        """By level how far predictions move where the changed states go on; nothing where the rest does not run."""
        before = self.network.next_token_logits(states, token_ids=prompt)
        found: list[dict[str, Any]] = []
        for rest in changed:
            after = None if before is None else self.network.next_token_logits(rest, token_ids=prompt)
            if before is None or after is None:
                found.append({})
                continue
            kl, alike = divergences(before, after)
            found.append({"kl": kl.tolist(), "same": alike.tolist()})
        return found

    def _leaving(self, rows: torch.Tensor, defence: Defence, level: float, number: int) -> torch.Tensor:
        """What leaves of the rows of a prompt, rounded to the type of the states.

        Raises:
            InvalidInput: that type does not hold it.
        """
        drawn, dtype = chance_of(self.seed, number, defence.name, level), self.network.dtype
        leaving = released(defence, rows, level, self.known, drawn).to(dtype).double()
        if not bool(leaving.isfinite().all()):
            wider = "name others" if dtype == torch.float64 else "name others, or a wider --dtype"
            raise InvalidInput(
                f"Expected strengths of {defence.name} whose states {name_of(dtype)} holds, as the states of "
                f"{self.network.model.name} are, but got {level:g}, at which they overflow; {wider}."
            )
        return leaving

    def _shortlist(self, token: int, position: int, number: int) -> torch.Tensor:
        """The whole vocabulary, or the true token, those nearest to it, and others at random."""
        model = self.network.model
        every = torch.arange(model.vocabulary_size, device=model.device)
        if len(every) <= self.candidates:
            return every
        own = every[token : token + 1]
        near = model.nearest_rows(own, self.candidates // 2)[0]
        drawn = torch.randperm(len(every), generator=chance_of(self.seed, number, "shortlist", position))
        rest = drawn.to(model.device)
        rest = rest[~torch.isin(rest, torch.cat([own, near]))]
        return torch.cat([own, near, rest])[: self.candidates]


def _timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _outcome(likelihoods: torch.Tensor, same: torch.Tensor) -> str:
    """Whether the likeliest candidate is the true token (or has its embedding), is not, or is not the only one."""
    best, other = (
        likelihoods[same].max(),
        likelihoods[~same].max() if bool((~same).any()) else likelihoods.new_tensor(-1e300),
    )
    return "recovered" if best > other else "ambiguous" if best == other else "wrong"
