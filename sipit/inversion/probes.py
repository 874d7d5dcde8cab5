"""The probes of a model at a layer: kept ones, or new ones, trained on as many tokens as they need.

Position 0 has a probe of its own, because trained models keep their attention sink there. The other is trained on a
few windows of text and of random tokens, then on twice as many, until it names most held-out tokens among its best.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from numerics.dtypes import name_of
from sipit.cache import keep_tensors, kept_tensors, measured_with
from sipit.inversion.correction import Correction, fit_correction
from sipit.inversion.linear_probe import LinearProbe, calibrated, fit_probe, normalised, ranks_of
from sipit.inversion.token_rows import KINDS, rows_of_some, token_rows
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.prompts.builtin_text import random_tokens, text_windows, within_context
from sipit.record import Progress

_WINDOW = 128  # tokens of a training prompt
_BATCH = 8  # of these that run together, text and random tokens in turn
_FEWEST = 2048  # tokens of the first windows
_FIRST_TOKENS = 512  # one-token prompts for position 0
_GOOD = 0.97  # share of held-out tokens among the best, from which no more are run
_WORTH = 128  # tokens that are run at most for each one that is to be named, beyond the fewest
_BEST = 16
_HELD_OUT = 8  # of so many windows, one is held out
_TRIED = 4096  # tokens of the vocabulary by which the kind of rows is chosen, beside those of the training
_CALIBRATING = 256  # held-out tokens that the temperature comes from
_SEED = 20251118

_Labelled = tuple[torch.Tensor, torch.Tensor]  # states (n, d) and their tokens (n,)


@dataclass(frozen=True, slots=True)
class Probes:
    """The probe for position 0 and the one for all later positions.

    `trained` is how many tokens the latter was trained on, `share` how many of the held-out ones it names among the
    best, `correction` how a run of a draft corrects it, where it does, `rows_of` the layer of the rows of both
    (`sipit.inversion.token_rows`).
    """

    first: LinearProbe
    later: LinearProbe
    trained: int = 0
    share: float = 0.0
    correction: Correction | None = None
    rows_of: int = 0

    def sinks(self, states: torch.Tensor) -> torch.Tensor:
        """Which states (T, d) of one prompt are of the first one's kind, a mask: itself, and later attention sinks.

        Where a prompt begins with a token several times, their states are all but equal: whatever attention weighs,
        it averages equal values.
        """
        direction = normalised(states.to(device=self.first.mean.device, dtype=torch.float32))
        first, later = ((direction - probe.mean).norm(dim=1) for probe in (self.first, self.later))
        alike = first < later / 2
        alike[:1] = True
        return alike

    def at(self, position: int) -> LinearProbe:
        """The probe of a position, where nothing is known of its state."""
        return self.later if position else self.first

    def features(self, states: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
        """Whitened features of states (n, d), each for the probe of its kind, shape (n, d)."""
        features = self.later.features(states)
        features[sinks] = self.first.features(states[sinks.to(states.device)])
        return features

    def scores(self, features: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
        """Scores of all tokens, each row by the probe of its kind, shape (n, V)."""
        scores = self.later.scores(features)
        if bool(sinks.any()):
            scores[sinks] = self.first.scores(features[sinks])
        return scores

    def scores_of(self, tokens: torch.Tensor, features: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
        """Scores of some tokens (n, k) of each row alone, shape (n, k)."""
        found = self.later.scores_of(tokens, features)
        return torch.where(sinks[:, None], self.first.scores_of(tokens, features), found) if sinks.any() else found

    def closeness(self, tokens: torch.Tensor, among: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
        """How near the states of tokens (n, k) lie to those of tokens (n,), each by the probe of its kind, (n, k)."""
        found = self.later.closeness(tokens, among)
        return torch.where(sinks[:, None], self.first.closeness(tokens, among), found) if sinks.any() else found

    def expected(self, tokens: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
        """The features that tokens (n,) are expected to have, each by the probe of its kind, shape (n, d)."""
        return torch.where(sinks[:, None], self.first.expected(tokens), self.later.expected(tokens))


def trained_probes(network: Network, *, positions: int | None = None, progress: Progress | None = None) -> Probes:
    """The probes of a model at a layer: kept ones, or new ones, trained on text and random tokens.

    They are trained until they are good, or have seen 128 tokens for each of the `positions` that are to be named; kept
    ones that did neither are trained anew. The training runs are counted nowhere: they are done once.
    """
    model = network.model
    key = probes_key(model, network.place)
    probes = kept_probes(key, lambda layer: token_rows(model, layer))
    most = most_tokens(model, network.layer)
    if positions is not None:
        most = min(most, max(_FEWEST, _WORTH * positions))
    if (
        probes is None
        or len(probes.later.mean) != network.width  # kept by one that took another part for the body
        or (probes.share < _GOOD and probes.trained < most)
    ):
        probes = _train(network.anew(), most, progress)
        keep_probes(key, probes)
    return probes


def probes_key(model: LanguageModel, place: str) -> str:
    """Where the cache keeps the probes of a place in a model."""
    return f"{measured_with(model.device)}/probes/{model.key}-{place}-{name_of(model.dtype)}-rows.safetensors"


def keep_probes(key: str, probes: Probes) -> None:
    """Puts probes into the cache, the rows of tokens apart."""
    named = {"first": probes.first.parameters(), "later": probes.later.parameters()}
    tensors = {f"{part}.{name}": tensor for part, tensors in named.items() for name, tensor in tensors.items()}
    way = probes.correction or Correction(0.0, 0.0)
    numbers = [probes.trained, probes.share, way.share, way.weight, probes.rows_of]
    keep_tensors(key, tensors | {"trained": torch.tensor(numbers, dtype=torch.float64)})


def kept_probes(key: str, rows_of: Callable[[int], torch.Tensor]) -> Probes | None:
    """Probes of the cache, with the rows of a layer that they are for; None where there are none, or damaged ones."""
    kept = kept_tensors(key) or {}
    found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in kept.items()}
    width, vocabulary = (kept[name].numel() if name in kept else 0 for name in ("later.mean", "later.halves"))
    wide = kept["later.decode"].numel() // max(1, width) if "later.decode" in kept else 0
    expected = _stored(width, vocabulary, wide)
    if found != expected or not all(bool(tensor.isfinite().all()) for tensor in kept.values()):
        return None
    trained, share, *way, layer = kept.pop("trained").tolist()
    rows = rows_of(int(layer)) if layer in KINDS else None
    if rows is None or rows.shape != (vocabulary, wide):
        return None
    parts: dict[str, dict[str, torch.Tensor]] = {"first": {}, "later": {}}
    for name, tensor in kept.items():
        part, _, parameter = name.partition(".")
        parts[part][parameter] = tensor.to(rows.device)
    first, later = (LinearProbe(**parts[part], rows=rows) for part in ("first", "later"))
    return Probes(first, later, int(trained), share, Correction(*way) if way[0] else None, int(layer))


def _stored(width: int, vocabulary: int, wide: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Types and shapes of what is kept of two probes, by name; rows are `wide`."""
    one = {"mean": (width,), "scale": (width,), "decode": (wide, width), "whiten": (width, width),
           "temperature": (), "halves": (vocabulary,), "sizes": (vocabulary,)}  # fmt: skip
    tensors = {f"{part}.{name}": (torch.float32, shape) for part in ("first", "later") for name, shape in one.items()}
    return {"trained": (torch.float64, (5,)), **tensors}


def most_tokens(model: LanguageModel, layer: int | str) -> int:
    """How many tokens a probe is trained on at most: late layers hide the token more deeply."""
    return min(64 * model.vocabulary_size, 2**16 if is_late(model, layer) else 2**15)


def is_late(model: LanguageModel, layer: int | str) -> bool:
    """Whether a layer lies in the last third, where states speak of the next token as much as of their own."""
    return layer == "final" or int(layer) > 0.67 * model.layers


def _train(network: Network, most: int, progress: Progress | None) -> Probes:
    """Probes from as many tokens as they need, at most so many, and from one-token prompts."""
    generator = torch.Generator().manual_seed(_SEED)
    length = within_context(network.model, _WINDOW, least=2)  # the second token is the first with one before it
    wanted, last = max(2 * _HELD_OUT, _FEWEST // length), max(2 * _HELD_OUT, most // length)
    windows = _windows(network.model, length, generator)
    states, prompts = list[torch.Tensor](), list[torch.Tensor]()
    kind, rows = KINDS[0], None
    while True:
        while len(states) < wanted:
            ids = next(windows)
            states += network.run(ids)[:, 1:].float().clone()
            prompts += ids
            if progress is not None:
                progress(len(states), wanted)
        # Of sixteen windows the last two are held out: one of text, one of random tokens.
        apart = torch.arange(len(states)) % (2 * _HELD_OUT) >= 2 * _HELD_OUT - 2
        tokens = [ids[1:] for ids in prompts]
        known = _chosen(states, ~apart), _chosen(tokens, ~apart)
        some = torch.randperm(int(apart.sum()) * (length - 1), generator=generator)[:_CALIBRATING]
        some = some.to(states[0].device)
        held_out = _chosen(states, apart)[some], _chosen(tokens, apart)[some]
        if rows is None:
            kind = _better_rows(network, known, held_out)
            rows = token_rows(network.model, kind, progress=progress)
        probe = fit_probe(*known, rows)
        share = float((ranks_of(probe, *held_out) < _BEST).float().mean())
        if wanted >= last or share >= _GOOD:
            trained = most if wanted >= last else length * len(states)
            later = calibrated(probe, *held_out)
            first = _first_probe(network, rows, generator)
            pair = apart.nonzero().flatten()[-2:].tolist()
            way = _correction(network, later, [prompts[at] for at in pair], [states[at] for at in pair])
            return Probes(first, later, trained, share, way, kind)
        wanted = min(2 * wanted, last)


def _better_rows(network: Network, known: _Labelled, held_out: _Labelled) -> int:
    """The kind of rows by which probes of known tokens rank held-out ones higher, among some of the vocabulary."""
    if not network.depth:
        return KINDS[0]
    model, device = network.model, known[1].device
    some = torch.randperm(model.vocabulary_size, generator=torch.Generator().manual_seed(_SEED))[:_TRIED].to(device)
    some = torch.cat([some, known[1], held_out[1]]).unique()

    def mean_log_rank(kind: int) -> float:
        probe = fit_probe(known[0], torch.searchsorted(some, known[1]), rows_of_some(model, kind, some))
        ranks = ranks_of(probe, held_out[0], torch.searchsorted(some, held_out[1]))
        return float((ranks + 1.0).log().mean())

    return min(KINDS, key=mean_log_rank)


def _correction(
    network: Network, probe: LinearProbe, prompts: list[torch.Tensor], states: list[torch.Tensor]
) -> Correction | None:
    """How a run of a draft corrects it, from prompts (n,) with their states (n - 1, d) from the second position on."""
    ids = torch.stack(prompts)[:, : _CALIBRATING // 4]
    seen = probe.features(torch.stack(states)[:, : ids.shape[1] - 1].flatten(0, 1))
    drafted = probe.scores(seen).argmax(1)
    run = network.run(torch.cat([ids[:, :1], drafted.view(len(ids), -1)], dim=1))[:, 1:]
    return fit_correction(probe, seen, probe.features(run.flatten(0, 1)), drafted, ids[:, 1:].flatten())


def _chosen(parts: list[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """The parts that a mask chooses, one behind the other."""
    return torch.cat([parts[number] for number in mask.nonzero().flatten().tolist()])


def _windows(model: LanguageModel, length: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Batches of training prompts, ids (8, length): text, where there is any, and random tokens in turn."""
    text = text_windows(model, length=length, generator=generator)
    while True:
        ids = random_tokens(model, (_BATCH, length), generator=generator)
        for row, window in zip(range(0, _BATCH, 2), text, strict=False):
            ids[row] = torch.tensor(window)
        yield ids.to(model.device)


def _first_probe(network: Network, rows: torch.Tensor, generator: torch.Generator) -> LinearProbe:
    """The probe of position 0, from one-token prompts."""
    some = torch.randperm(network.model.vocabulary_size, generator=generator)[:_FIRST_TOKENS].to(network.model.device)
    alone = torch.cat([network.run(part[:, None])[:, 0].float().clone() for part in some.split(256)])
    held_out = torch.arange(len(some), device=some.device) % _HELD_OUT == _HELD_OUT - 1
    probe = fit_probe(alone[~held_out], some[~held_out], rows)
    return calibrated(probe, alone[held_out], some[held_out])
