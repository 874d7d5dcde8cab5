"""Tries the disguises that are known on rows that no convention explains."""

from dataclasses import dataclass, field, replace

import torch

from sipit.diagnosis.disguises.coordinates import Ranking, undo_choice
from sipit.diagnosis.disguises.evidence import HELD, Undone, Vocabulary
from sipit.diagnosis.disguises.rotations import Settled, undo_rotation
from sipit.diagnosis.findings import Cause, Diagnosis
from sipit.diagnosis.sites import Site
from sipit.models.network import Network


@dataclass
class Disguises:
    """What is tried on the prompts of one file, one after the other: they may share a rotation."""

    _settled: Settled | None = field(default=None)

    def diagnosed(
        self, found: Diagnosis, network: Network, site: Site, rows: torch.Tensor, tolerance: float, ranking: Ranking
    ) -> Diagnosis:
        """What was found of rows that no convention explains, and what is behind a disguise of them, if anything.

        Args: as for `undo`; `site` is where the network is read.
        """
        undone, open_ones = self.undo(network, rows, tolerance, ranking)
        if undone is None:
            return replace(found, open_disguises=tuple(open_ones))
        straight = undone.order == tuple(range(len(rows)))
        return replace(
            found,
            cause=Cause.DISGUISED,
            site=site,
            skipped=0,
            verified=len(rows),
            consistent=len(rows),
            factor=1.0,
            tolerance=tolerance,
            largest_residual=max(undone.residuals),
            smallest_margin=min(undone.margins),
            token_ids=undone.token_ids,
            shared=any(len(network.model.members(token)) > 1 for token in undone.token_ids),
            order=None if straight else undone.order,
            disguise=undone.kind,
            coordinates=undone.coordinates,
        )

    def undo(
        self, network: Network, rows: torch.Tensor, tolerance: float, ranking: Ranking
    ) -> tuple[Undone | None, list[str]]:
        """The prompt behind a disguise of rows (T, m), if one was found, and why others were not.

        Args:
            network: whose states they are said to be; its width d is at least m.
            rows: finite rows.
            tolerance: relative distance that two computations of one state may have.
            ranking: all tokens, as a row (d,) at a position speaks for them; asked only of a large vocabulary.
        """
        vocabulary, open_ones = Vocabulary(network, tolerance, len(rows)), list[str]()
        held = len(vocabulary.tokens) * network.width * 8
        if held > HELD:
            return None, [
                f"Disguises are not tried: the states of {len(vocabulary.tokens)} tokens take {held} bytes, more than "
                f"{HELD}."
            ]
        found = undo_choice(vocabulary, rows, ranking)
        if isinstance(found, Undone):
            return found, []
        open_ones.append(f"Coordinates chosen or permuted: {found}.")
        if rows.shape[1] < network.width:
            return None, open_ones
        rounding = rows.shape[1] ** 0.5 * torch.finfo(rows.dtype).eps  # of a product with a matrix
        for known in (None,) if self._settled is None else (self._settled, None):
            answer = undo_rotation(Vocabulary(network, tolerance + rounding, len(rows)), rows, known)
            if isinstance(answer, str):
                which = "A rotation" if known is None else "The rotation of a prompt before"
                open_ones.append(f"{which}: {answer}.")
                continue
            undone, self._settled = answer
            return undone, open_ones
        return None, open_ones
