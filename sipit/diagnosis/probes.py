"""Small probes for several sites at once, from one pass over training prompts: enough to walk a few rows.

The probes of an inversion are trained longer and for one layer; a diagnosis does not know the layer yet. Both are kept
in the cache.
"""

from collections.abc import Sequence

import torch

from sipit.diagnosis.sites import Site, Sites
from sipit.inversion.linear_probe import fit_probe
from sipit.inversion.probes import Probes, keep_probes, kept_probes, probes_key
from sipit.inversion.token_rows import token_rows
from sipit.prompts.builtin_text import random_tokens, text_windows, within_context
from sipit.record import Progress

_TOKENS = 2**13  # behind position 0
_FIRST = 2304  # prompts of one token: with half of them, position 0 of a trained model is missed
_WINDOW = 128
_BATCH = 8
_SEED = 20251123


def fit_site_probes(sites: Sites, wanted: Sequence[Site], *, progress: Progress | None = None) -> dict[Site, Probes]:
    """Probes of the wanted sites, kept ones or new ones, trained on text and random tokens in equal parts."""
    keys = {
        site: probes_key(sites.model, f"site-{site.layer}{'' if site.name == 'residual' else f'-{site.name}'}")
        for site in wanted
    }
    rows = token_rows(sites.model, 0)  # of layer 0, which is one of the sites
    probes = {site: kept_probes(key, lambda _: rows) for site, key in keys.items()}
    missing = [site for site, found in probes.items() if found is None]
    fresh = _fit(sites, missing, rows, progress) if missing else {}
    for site, found in fresh.items():
        keep_probes(keys[site], found)
    return {site: found or fresh[site] for site, found in probes.items()}


def _fit(sites: Sites, wanted: Sequence[Site], rows: torch.Tensor, progress: Progress | None) -> dict[Site, Probes]:
    """One pass over the training prompts for all the sites."""
    model = sites.model
    generator = torch.Generator().manual_seed(_SEED)
    length = within_context(model, _WINDOW, least=2)  # the second token is the first with one before it
    count = max(16, min(_TOKENS, 32 * model.vocabulary_size) // length)
    ids = random_tokens(model, (count, length), generator=generator)
    text = text_windows(model, length=length, generator=generator)
    for row, window in zip(range(0, count, 2), text, strict=False):
        ids[row] = torch.tensor(window)
    ids = ids.to(model.device)
    alone = torch.randperm(model.vocabulary_size, generator=generator)[:_FIRST, None].to(model.device)
    done, total = 0, count + len(alone)

    def states_of(prompts: torch.Tensor, size: int) -> dict[Site, torch.Tensor]:
        nonlocal done
        parts: dict[Site, list[torch.Tensor]] = {site: [] for site in wanted}
        for part in prompts.split(size):
            read = sites.read(part, wanted)
            for site in wanted:
                parts[site].append(read[site].float().clone())
            done += len(part)
            if progress is not None:
                progress(done, total)
        return {site: torch.cat(states) for site, states in parts.items()}

    later, first = states_of(ids, _BATCH), states_of(alone, _BATCH * length)
    return {
        site: Probes(
            first=fit_probe(first[site][:, 0], alone[:, 0], rows),
            later=fit_probe(later[site][:, 1:].flatten(0, 1), ids[:, 1:].flatten(), rows),
        )
        for site in wanted
    }
