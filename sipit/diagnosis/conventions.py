"""`--diagnose`: under which convention were these states captured, and is what is left rounding or another model?

    facts      number grid of the values, rows that are zero or not finite
    rank       sites by the statistics of directions                                  no run of the model per site
    walk       a few rows at the likeliest sites, from several starts                 nearest token at every row
    explain    the distance left, against the noise of this and of coarser arithmetics
    verify     all rows at the winner, with one factor, by the rule of the verifier

A convention is claimed only if the states of the tokens found, recomputed under it, are the observed ones within the
tolerance. All tolerances are for damped directions (see `sipit.noise.distances`) and come from measured noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch

from proofs.errors import InvalidInput
from sipit.diagnosis.disguises.undoing import Disguises
from sipit.diagnosis.findings import Cause, Chunk, Diagnosis, Tried
from sipit.diagnosis.order import in_order
from sipit.diagnosis.padding import empty_rows, token_padding
from sipit.diagnosis.probes import fit_site_probes
from sipit.diagnosis.sites import Site, Sites
from sipit.diagnosis.statistics import Level, SiteStatistics, coarse_levels, ordinary_level
from sipit.diagnosis.walk import Start, Step, Walk, consistent, fitting, ranked, single_token_distances
from sipit.inversion.probes import Probes
from sipit.models import LanguageModel
from sipit.models.length import whole_length
from sipit.models.network import Layer, Network
from sipit.noise.distances import direction_distance, relative_distance
from sipit.noise.number_grid import HALVES, grid_error, stored_grid
from sipit.noise.tolerance import SAFETY
from sipit.record import Progress
from sipit.states.readers.vllm import BLOCK

_HEAD = 8  # rows walked at a site to judge it
_GLANCE = 2  # of them walked first
_MOST = 4096  # candidates tested at a row before it is left unexplained
_SITES = 4  # likeliest sites that are tried
_ENOUGH = 0.02  # distance of directions below which a start is worth a walk
_CHUNK = 2  # rows of a run of its own that are verified before one is claimed, where there are as many
_SKIPS = 3  # starts behind padding that are tried
_PADDED = 64  # rows, at most, that padding is looked for in
_LIKELIEST = 8  # tokens with one of which such a row may begin a prompt
_ROUGHLY = 5 * _ENOUGH  # how near the state of a prompt of one token comes to a row that may be the first of one
_SHIFTS = 8  # position ids, at most, by which the first row may be shifted
_SHUFFLED = 2  # likeliest sites at which rows are put in order
_NEAR = 0.5  # median distance of the head up to which it may still be the same model


def diagnose(
    model: LanguageModel,
    rows: torch.Tensor,
    *,
    claimed: Layer | None = None,
    known: tuple[int, ...] | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Finds the convention of one tensor of states (T, d).

    Args:
        model: whose states they may be.
        rows: floating-point values; rows may be zero or not finite.
        claimed: the layer they are said to come from, tried first.
        known: tokens in front of the first row; None tries none, and what the tokenizer puts in front.
        progress: of the probes that have to be trained.

    Raises:
        InvalidInput: another width, or no row.
    """
    return Diagnostician(model, progress).diagnose(rows, claimed=claimed, known=known)


_Walked = tuple[Tried, Site, list[Step]]


@dataclass
class Diagnostician:
    """Diagnoses tensors of one model; statistics, noise and probes are kept between them."""

    model: LanguageModel
    progress: Progress | None = None

    def __post_init__(self) -> None:
        self._sites = Sites.of(self.model)
        self._statistics = SiteStatistics.measure(self._sites)
        self._probes: dict[Site, Probes] = {}
        self._levels: dict[Site, Level] = {}
        self.coarser: dict[Site, list[Level]] = {}
        self._disguises = Disguises()

    def diagnose(
        self, rows: torch.Tensor, *, claimed: Layer | None = None, known: tuple[int, ...] | None = None
    ) -> Diagnosis:
        """See `diagnose`."""
        if not self._has(Start(known or ())):
            raise InvalidInput(
                f"Expected fewer known tokens than the {self.model.limit} positions of {self.model.name}, but got "
                f"{len(known or ())}; name less of the prompt."
            )
        present = torch.isfinite(rows).all(-1) & (rows != 0).any(-1)
        if claimed is not None and rows.ndim == 2 and 0 < rows.shape[1] < self.model.width_at(claimed):
            part = self._undisguised(Diagnosis(Cause.FOREIGN, len(rows)), rows, claimed) if present.all() else None
            if part is not None and (part.disguise is not None or part.left_open):
                return part
        widths = dict.fromkeys((self.model.width, self.model.width_at("final")))
        if rows.ndim != 2 or rows.shape[1] not in widths or not len(rows):
            raise InvalidInput(
                f"Expected states of shape (T, {' or '.join(map(str, widths))}) for {self.model.name}, but got "
                f"{tuple(rows.shape)}; name the model that they come from."
            )
        if not bool(present.any()):
            return Diagnosis(Cause.FOREIGN, len(rows), padding=empty_rows(present))
        ends = empty_rows(present)
        inner = rows[ends.front : len(rows) - ends.behind].to(self.model.device).nan_to_num(0.0, 0.0, 0.0)
        found = self._inner(inner, claimed, known)
        if claimed is not None and not found.consistent and bool(present.all()):
            found = self._undisguised(found, inner, claimed)
        return found.between(ends) if ends.rows else found

    def _undisguised(self, found: Diagnosis, rows: torch.Tensor, claimed: Layer) -> Diagnosis:
        """What was found, or what is behind a disguise of the states of that layer."""
        if self.model.limit is not None and len(rows) > self.model.limit:
            many = f"Disguises are not tried: {len(rows)} rows, and {self.model.limit} positions."
            return replace(found, open_disguises=(many,))
        site = Site(claimed)
        noise = ordinary_level(self._sites, site, partial(relative_distance, damped=False)).largest
        tolerance = SAFETY * noise + grid_error(stored_grid(rows), rows)
        with whole_length(len(rows)):
            network = Network(self.model, claimed)
            return self._disguises.diagnosed(found, network, site, rows, tolerance, partial(self._ranking, site))

    def _ranking(self, site: Site, row: torch.Tensor, position: int) -> torch.Tensor:
        """All tokens by the probe of a site, as a row (d,) at a position speaks for them."""
        if site not in self._probes:
            self._probes |= fit_site_probes(self._sites, [site], progress=self.progress)
        return ranked(self._probes[site], row, position)

    def _inner(self, rows: torch.Tensor, claimed: Layer | None, known: tuple[int, ...] | None) -> Diagnosis:
        """The diagnosis of rows none of which is empty at the ends: as they stand, else in another order."""
        stored = stored_grid(rows)
        grid = grid_error(stored, rows)
        found = self._in_place(rows, claimed, known, stored, grid)
        padded = found.padding.rows if found.padding is not None else 0
        if max(found.verified, found.consistent) + padded == len(rows):
            return found
        for start, site in product(self._starts(known), self._order(rows, claimed)[:_SHUFFLED]):
            reordered = self._reordered(rows, start, site, grid, stored)
            if reordered is not None and reordered.verified > found.verified:
                as_named = (claimed is None or site == Site(claimed)) and start == Start()
                plain = as_named and reordered.order is None and reordered.factor == 1.0
                cause = Cause.PLAIN if plain else reordered.cause
                return replace(reordered, cause=cause, stored=stored, tried=found.tried)
        return found

    def _in_place(
        self, rows: torch.Tensor, claimed: Layer | None, known: tuple[int, ...] | None, stored: str | None, grid: float
    ) -> Diagnosis:
        """The diagnosis of rows in the order in which they stand."""
        tried = self._walks(rows, grid, self._order(rows, claimed), self._starts(known))
        best, site, steps = min(tried, key=lambda entry: entry[0].median)
        everything = tuple(entry[0] for entry in tried)
        explained = self._explained(site, stored, grid, steps)
        if explained is None:
            near = best.median <= _NEAR and _mostly_clear(steps)
            cause = Cause.UNEXPLAINED if near else Cause.FOREIGN
            return Diagnosis(cause, len(rows), stored=stored, tried=everything, skipped=best.skipped)
        level, tolerance = explained
        found = self._verified(rows, best, site, level, tolerance)
        coarse = level is not self._ordinary(site) or grid > SAFETY * self._ordinary(site).largest
        as_named = claimed is None or site == Site(claimed)
        straight = not found.chunks and found.order is None
        plain = as_named and straight and best.start == Start() and best.skipped == 0 and found.factor == 1.0
        cause = Cause.ROUNDING if coarse and plain else Cause.PLAIN if plain else Cause.CONVENTION
        if not found.verified and cause is not Cause.ROUNDING:
            return Diagnosis(Cause.UNEXPLAINED, len(rows), stored=stored, tried=everything, skipped=best.skipped)
        return replace(found, cause=cause, stored=stored, tried=everything)

    def _walks(self, rows: torch.Tensor, grid: float, sites: list[Site], starts: list[Start]) -> list[_Walked]:
        """Heads at the sites, from the starts; behind rows of padding only where nothing else fits. Ends at a fit."""
        walked: list[_Walked] = []
        for site in sites:
            within = SAFETY * self._ordinary(site).largest + grid
            for start in starts:
                walked.append(self._try(rows, site, start, 0, grid))
                if walked[-1][0].largest <= within:
                    return walked
        if min(entry[0].median for entry in walked) > _ENOUGH:
            for site in sites[:2]:
                walked += [self._try(rows, site, start, skip, grid) for skip, start in self._skips(rows, site)]
        return walked

    def _order(self, rows: torch.Tensor, claimed: Layer | None) -> list[Site]:
        """The claimed place, then the likeliest ones; probes for them are trained together."""
        sites = self._statistics.ranked(rows, self._sites.possible(rows))[:_SITES]
        if claimed is not None and self.model.width_at(claimed) == rows.shape[1]:
            sites = [Site(claimed), *[site for site in sites if site != Site(claimed)]]
        missing = [site for site in sites if site not in self._probes]
        if missing:
            self._probes |= fit_site_probes(self._sites, missing, progress=self.progress)
        return sites

    def _has(self, start: Start) -> bool:
        """Whether the model has a position for a row behind a start."""
        return self.model.limit is None or start.shift + len(start.known) < self.model.limit

    def _starts(self, known: tuple[int, ...] | None) -> list[Start]:
        if known is not None:
            cut = range(len(known) - len(known) % BLOCK, 0, -BLOCK)
            return [Start(known), *[Start(known[:end]) for end in cut if end < len(known)]]
        bos = getattr(self.model.tokenizer, "bos_token_id", None)
        return [Start(), *([Start((bos,))] if bos is not None and bos < self.model.vocabulary_size else [])]

    def _skips(self, rows: torch.Tensor, site: Site) -> list[tuple[int, Start]]:
        """Rows that look like the first of a prompt, with position ids that count from there, or from row 0."""
        if len(rows) < 2:
            return []
        walk = Walk(self._sites, site, self._probes[site], Start(), _ENOUGH)
        apart = single_token_distances(walk, rows[1 : 1 + _PADDED], _LIKELIEST)
        near = sorted((distance, skip) for skip, distance in enumerate(apart, start=1) if distance <= _ROUGHLY)
        skips = sorted(skip for _, skip in near[:_SKIPS])
        shifted = [(skip, Start(shift=skip)) for skip in range(1, min(len(rows), 1 + _SHIFTS))] if not skips else []
        shifted = [one for one in shifted if self._has(one[1])]
        return [(skip, Start()) for skip in skips] + (shifted if self._absolute else [])

    @property
    def _absolute(self) -> bool:
        """Whether position ids make a difference beyond rounding."""
        ids = self.model.ordinary_ids(8)
        plain, moved = (self._sites.network(Site(self.model.layers), shift=shift).run(ids) for shift in (0, 3))
        return bool(direction_distance(moved.double(), plain.double()).max() > _ENOUGH)

    def _try(self, rows: torch.Tensor, site: Site, start: Start, skip: int, grid: float) -> _Walked:
        """Walks the head at one convention; no farther than a few rows where none of them comes near."""
        enough = SAFETY * self._ordinary(site).largest + grid
        with whole_length(_length(rows, start, skip)):
            walk = Walk(self._sites, site, self._probes[site], start, enough)
            steps = walk.along(rows[skip : skip + _GLANCE])
            if min(step.residual for step in steps) <= _NEAR:
                steps += walk.along(rows[skip + _GLANCE : skip + _HEAD])
        apart = torch.tensor([step.residual for step in steps])
        return Tried(str(site), start, skip, float(apart.median()), float(apart.max())), site, steps

    def _explained(self, site: Site, stored: str | None, grid: float, steps: list[Step]) -> tuple[Level, float] | None:
        """The arithmetic whose noise covers the most of a head, the least coarse of equals, and the tolerance for it.

        Where no token could be named for half of the rows, the largest noise seen of an arithmetic has to cover all of
        them, and most have to be clear: states of another network lie about as near to several tokens.
        """
        best, most = None, (len(steps) + 1) // 2 - 1
        for level in self._by_coarseness(site, stored):
            tolerance = SAFETY * level.largest + grid
            count = fitting(steps, tolerance)
            if count > most:
                best, most = (level, tolerance), count
            if count == len(steps):
                break
        if best is not None or not _mostly_clear(steps):
            return best
        levels = ((level, level.largest + grid) for level in self._by_coarseness(site, stored))
        return next((one for one in levels if consistent(steps, one[1]) == len(steps)), None)

    def _by_coarseness(self, site: Site, stored: str | None) -> Iterator[Level]:
        """The model's own arithmetic, then coarser ones, first that of the half type on whose grid the values lie."""
        yield self._ordinary(site)
        if stored in HALVES:
            yield from (level for level in self._coarse(site) if level.arithmetic == stored)
        yield from (level for level in self._coarse(site) if level.arithmetic not in HALVES or stored not in HALVES)

    def _verified(self, rows: torch.Tensor, best: Tried, site: Site, level: Level, tolerance: float) -> Diagnosis:
        """Walks all rows at the winner and says what holds of those that fit; the cause is left open."""
        with whole_length(_length(rows, best.start, best.skipped)):
            walk = Walk(self._sites, site, self._probes[site], best.start, tolerance, _MOST)
            steps = walk.while_near(rows[best.skipped :], tolerance)
        accepted, near = steps[: fitting(steps, tolerance)], steps[: consistent(steps, tolerance)]
        found = Diagnosis(
            cause=Cause.UNEXPLAINED,
            rows=len(rows),
            site=site,
            start=best.start,
            skipped=best.skipped,
            verified=len(accepted),
            consistent=len(near),
            factor=_constant([step.factor for step in near], tolerance),
            arithmetic=level.arithmetic,
            tolerance=tolerance,
            largest_residual=max((step.residual for step in accepted), default=None),
            smallest_margin=min((step.margin for step in accepted), default=None),
            token_ids=tuple(step.token for step in accepted),
            shared=any(len(self.model.members(step.token)) > 1 for step in accepted),
        )
        if 0 < len(accepted) < len(rows):
            tokens, network = list(found.token_ids), self._sites.network(site)
            around = token_padding(network, rows, tokens, front=best.skipped, tolerance=tolerance)
            found = replace(found, padding=around)
            if not around.rows and not best.skipped:
                found = self._chunks(rows, found, tolerance)
                found = found if found.chunks else self._reordered_behind(rows, found, tolerance)
        return found

    def _chunks(self, rows: torch.Tensor, found: Diagnosis, tolerance: float) -> Diagnosis:
        """The same with what stands behind the verified rows, if it is runs of their own that see none before."""
        while found.verified < len(rows):
            at, site = found.verified, found.site
            assert site is not None  # where rows are verified, they are so at a place
            seen = at + len(found.start.known)
            walks = (
                (start, Walk(self._sites, site, self._probes[site], start, tolerance, _MOST).while_near(
                    rows[at:], tolerance))
                for start in filter(self._has, (Start(), Start(shift=seen)))
            )  # fmt: skip
            start, steps = max(walks, key=lambda walk: fitting(walk[1], tolerance))
            accepted = steps[: fitting(steps, tolerance)]
            if len(accepted) < min(_CHUNK, len(rows) - at):
                break
            chunk = Chunk(at, start, tuple(step.token for step in accepted))
            found = self._with(found, accepted, chunks=(*found.chunks, chunk), padding=None)
        return found

    def _reordered_behind(self, rows: torch.Tensor, found: Diagnosis, tolerance: float) -> Diagnosis:
        """The same with the rows behind the verified ones, if they are those of the prompt in another order."""
        at, site = found.verified, found.site
        assert site is not None  # as above
        start = Start((*found.start.known, *found.token_ids), found.start.shift)
        walk = Walk(self._sites, site, self._probes[site], start, tolerance, _MOST)
        order, steps = in_order(walk, rows[at:], tolerance)
        if not order:
            return found
        return self._with(found, steps, order=(*range(at), *(at + row for row in order)), padding=None)

    def _reordered(
        self, rows: torch.Tensor, start: Start, site: Site, grid: float, stored: str | None
    ) -> Diagnosis | None:
        """The diagnosis of rows that are out of order from the first on; None where they are not."""
        for level in self._by_coarseness(site, stored):
            tolerance = SAFETY * level.largest + grid
            walk = Walk(self._sites, site, self._probes[site], start, tolerance, _MOST)
            order, steps = in_order(walk, rows, tolerance)
            if order:
                empty = Diagnosis(Cause.CONVENTION, len(rows), site, start, arithmetic=level.arithmetic,
                                  tolerance=tolerance)  # fmt: skip
                factor = _constant([step.factor for step in steps], tolerance)
                moved = tuple(order) if order != [*range(len(order))] else None
                return replace(self._with(empty, steps, order=moved), factor=factor)
            if stored not in HALVES:
                break
        return None

    def _with(self, found: Diagnosis, steps: list[Step], **also: Any) -> Diagnosis:
        """The same with further rows that were accepted."""
        residuals = [step.residual for step in steps]
        margins = [step.margin for step in steps]
        return replace(
            found,
            verified=found.verified + len(steps),
            consistent=found.verified + len(steps),
            largest_residual=max([*residuals, *([] if found.largest_residual is None else [found.largest_residual])]),
            smallest_margin=min([*margins, *([] if found.smallest_margin is None else [found.smallest_margin])]),
            token_ids=(*found.token_ids, *(step.token for step in steps)),
            shared=found.shared or any(len(self.model.members(step.token)) > 1 for step in steps),
            **also,
        )

    def _ordinary(self, site: Site) -> Level:
        if site not in self._levels:
            self._levels[site] = ordinary_level(self._sites, site)
        return self._levels[site]

    def _coarse(self, site: Site) -> list[Level]:
        if site not in self.coarser:
            self.coarser[site] = coarse_levels(self._sites, site)
        return self.coarser[site]


def _length(rows: torch.Tensor, start: Start, skip: int) -> int:
    """The tokens of the whole prompt, if rows from `skip` on are its end."""
    return len(start.known) + start.shift + len(rows) - skip


def _mostly_clear(steps: list[Step]) -> bool:
    return sum(step.clear for step in steps) > len(steps) / 2


def _constant(factors: list[float | None], tolerance: float) -> float | None:
    """The factor of all rows, 1 where it is that within the tolerance, or None where they differ.

    States that are zero have none, and are so under any.
    """
    values = torch.tensor([factor for factor in factors if factor is not None], dtype=torch.float64)
    if not len(values):
        return 1.0 if factors else None
    middle = float(values.median())
    if float((values / middle - 1).abs().max()) > tolerance:
        return None
    return 1.0 if abs(middle - 1) <= tolerance else middle
