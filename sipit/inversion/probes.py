"""A generative linear probe: which token a state speaks of.

The normalised state x = (sqrt(d) h/|h| - mu) / sigma is modelled as x = A'(e_v - mean e) + noise, with A by ridge
regression from embedding rows and the noise Gaussian with the covariance C of the residuals. With C^-1 = L L', the
log-likelihood of token v is, up to a constant, (xL).G_v - |G_v|^2/2 with G_v = (e_v - mean e) A L: one matrix product
for all tokens and positions. Position 0 has a probe of its own, because trained models keep their attention sink
there. Scores only rank; nothing is believed before it has been verified.
"""

from dataclasses import dataclass
from functools import cached_property

import torch

from numerics.dtypes import name_of
from sipit.cache import keep_tensors, kept_tensors, measured_with
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.prompts.builtin_text import random_tokens, text_windows
from sipit.record import Progress

_RIDGE = 1e-3  # of the mean squared singular value of the embedding rows
_SHRINKAGE = 0.02  # of the mean variance, added to every variance
_WINDOW = 128  # tokens of a training prompt
_FIRST_TOKENS = 2304  # one-token prompts for position 0
_QUICK_TOKENS, _QUICK_FIRST_TOKENS = 2048, 768
_HELD_OUT = 8  # every eighth window calibrates the temperature
_SEED = 20251118


@dataclass(frozen=True)
class LinearProbe:
    """One fitted probe: `mean`, `scale` (d,), `rows` (V, d) = G, `whiten` (d, d) = L, and a calibrated temperature."""

    mean: torch.Tensor
    scale: torch.Tensor
    decode: torch.Tensor
    whiten: torch.Tensor
    temperature: torch.Tensor
    embedding: torch.Tensor

    @cached_property
    def rows(self) -> torch.Tensor:
        """G, shape (V, d)."""
        return self.embedding @ (self.decode @ self.whiten)

    @cached_property
    def _offsets(self) -> torch.Tensor:
        return (self.rows * self.rows).sum(1) / 2

    def features(self, states: torch.Tensor) -> torch.Tensor:
        """Whitened features x L of states (n, d)."""
        states = states.to(device=self.mean.device, dtype=torch.float32)
        direction = states / states.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return ((direction * states.shape[1] ** 0.5 - self.mean) / self.scale) @ self.whiten

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods of all tokens, up to a constant per row and divided by the temperature, shape (n, V)."""
        return (features @ self.rows.T - self._offsets) / self.temperature

    def parameters(self) -> dict[str, torch.Tensor]:
        """What has to be kept to have the probe again."""
        names = ("mean", "scale", "decode", "whiten", "temperature")
        return {name: getattr(self, name) for name in names}


def fit_probe(
    states: torch.Tensor, tokens: torch.Tensor, embedding: torch.Tensor, *, calibrated: bool = True
) -> LinearProbe:
    """Fits a probe to states (n, d) of known tokens (n,); `embedding` holds the centred rows (V, e), float32.

    Calibrating takes longer than all else; without it the order of the tokens is the same, and their odds too large.
    """
    held_out = torch.arange(len(states), device=states.device) // _WINDOW % _HELD_OUT == _HELD_OUT - 1
    if not bool(held_out.any()):
        held_out = torch.arange(len(states), device=states.device) % _HELD_OUT == _HELD_OUT - 1
    direction = states.double() / states.double().norm(dim=1, keepdim=True).clamp_min(1e-300)
    inputs = direction * states.shape[1] ** 0.5
    mean, scale = inputs[~held_out].mean(0), inputs[~held_out].std(0).clamp_min(1e-6)
    x = ((inputs - mean) / scale)[~held_out]
    e = embedding[tokens[~held_out]].double()
    gram = e.T @ e
    ridge = _RIDGE * gram.diagonal().mean() + torch.finfo(torch.float64).tiny
    decode = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), e.T @ x)
    residuals = x - e @ decode
    covariance = residuals.T @ residuals / len(x)
    shrinkage = _SHRINKAGE * covariance.diagonal().mean() + 1e-9
    covariance += shrinkage * torch.eye(len(covariance), dtype=gram.dtype, device=gram.device)
    # C = R R' gives C^-1 = R^-T R^-1, so L = R^-T.
    factor = torch.linalg.cholesky(covariance)
    identity = torch.eye(len(covariance), dtype=gram.dtype, device=gram.device)
    whiten = torch.linalg.solve_triangular(factor, identity, upper=False).T
    fitted = LinearProbe(
        mean=mean.float(),
        scale=scale.float(),
        decode=decode.float(),
        whiten=whiten.float().contiguous(),
        temperature=torch.ones((), device=states.device),
        embedding=embedding,
    )
    return _calibrated(fitted, states[held_out][:2048], tokens[held_out][:2048]) if calibrated else fitted


def _calibrated(probe: LinearProbe, states: torch.Tensor, tokens: torch.Tensor) -> LinearProbe:
    """The probe with the temperature that makes held-out tokens likeliest: the Gaussian alone is too sure of itself."""
    temperatures = 2.0 ** torch.arange(-2, 7.5, 0.5)
    losses = torch.zeros(len(temperatures))
    for part, truth in zip(states.split(256), tokens.split(256), strict=True):
        scores = probe.scores(probe.features(part))
        for index, temperature in enumerate(temperatures.tolist()):
            losses[index] += torch.nn.functional.cross_entropy(scores / temperature, truth, reduction="sum").cpu()
    best = temperatures[losses.argmin()].to(probe.mean.device)
    return LinearProbe(
        mean=probe.mean,
        scale=probe.scale,
        decode=probe.decode,
        whiten=probe.whiten,
        temperature=best,
        embedding=probe.embedding,
    )


@dataclass(frozen=True, slots=True)
class Probes:
    """The probe for position 0 and the one for all later positions."""

    first: LinearProbe
    later: LinearProbe

    def sinks(self, states: torch.Tensor) -> torch.Tensor:
        """Which states (T, d) of one prompt are of the first one's kind, a mask: itself, and later attention sinks.

        Where a prompt begins with a token several times, their states are all but equal: whatever attention weighs,
        it averages equal values.
        """
        states = states.to(device=self.first.mean.device, dtype=torch.float32)
        tiny = torch.finfo(torch.float32).tiny
        direction = states / states.norm(dim=1, keepdim=True).clamp_min(tiny) * states.shape[1] ** 0.5
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


def trained_probes(network: Network, *, progress: Progress | None = None) -> Probes:
    """The probes of a model at a layer: kept ones, or new ones, trained on text and random tokens.

    The training runs are counted nowhere: they are done once per model and layer.
    """
    model = network.model
    embedding = centred_embedding(model)
    key = probes_key(model, network.place)
    probes = kept_probes(key, embedding)
    if probes is None or len(probes.later.mean) != network.width:  # kept by one that took another part for the body
        tokens = training_tokens(model, network.layer)
        probes = _train(network.anew(), embedding, tokens, _FIRST_TOKENS, progress)
        keep_probes(key, probes)
    return probes


def quick_probes(network: Network) -> Probes:
    """Probes from a few tokens, kept nowhere: good enough at the first blocks, for seconds in place of a minute."""
    model = network.model
    return _train(network.anew(), centred_embedding(model), _QUICK_TOKENS, _QUICK_FIRST_TOKENS, None, calibrated=False)


def probes_key(model: LanguageModel, place: str) -> str:
    """Where the cache keeps the probes of a place in a model."""
    dtype = name_of(model.dtype)
    return f"{measured_with(model.device)}/probes/{model.digest[:32]}-{place}-{dtype}.safetensors"


def keep_probes(key: str, probes: Probes) -> None:
    """Puts probes into the cache, the embedding apart."""
    named = {"first": probes.first.parameters(), "later": probes.later.parameters()}
    keep_tensors(key, {f"{part}.{name}": tensor for part, tensors in named.items() for name, tensor in tensors.items()})


def kept_probes(key: str, embedding: torch.Tensor) -> Probes | None:
    """Probes of the cache beside the centred rows they are for, or None."""
    kept = kept_tensors(key)
    if kept is None:
        return None
    parts: dict[str, dict[str, torch.Tensor]] = {"first": {}, "later": {}}
    for name, tensor in kept.items():
        part, _, parameter = name.partition(".")
        parts[part][parameter] = tensor.to(embedding.device)
    return Probes(*(LinearProbe(**parts[part], embedding=embedding) for part in ("first", "later")))


def centred_embedding(model: LanguageModel) -> torch.Tensor:
    """The embedding rows less their mean, shape (V, e), float32."""
    rows = model.decoder.tables[0].weight.detach().float()
    return rows - rows.mean(0)


def training_tokens(model: LanguageModel, layer: int | str) -> int:
    """How many tokens a probe is trained on: late layers hide the token more deeply, small vocabularies need less."""
    depth = 1.0 if layer == "final" else int(layer) / model.layers
    return min(64 * model.vocabulary_size, 2**15 if depth <= 0.67 else 2**16)


def _train(
    network: Network,
    embedding: torch.Tensor,
    tokens: int,
    first: int,
    progress: Progress | None,
    *,
    calibrated: bool = True,
) -> Probes:
    """Probes from so many tokens of prompts, and from so many one-token prompts."""
    model = network.model
    generator = torch.Generator().manual_seed(_SEED)
    length = min(_WINDOW, model.context or _WINDOW)
    count = max(16, tokens // length)
    text = text_windows(model, length=length, generator=generator)
    drawn = random_tokens(model, (count, length), generator=generator)
    states: list[torch.Tensor] = []
    known: list[torch.Tensor] = []
    batch = 8
    for start in range(0, count, batch):
        # Batches of random tokens and of text take turns, so that both kinds are in what is held out.
        ids = drawn[start : start + batch]
        if start // batch % 2:
            windows = [window for window, _ in zip(text, range(batch), strict=False)]
            ids = torch.tensor(windows) if windows else ids
        ids = ids.to(model.device)
        states.append(network.run(ids)[:, 1:].flatten(0, 1).float().clone())
        known.append(ids[:, 1:].flatten())
        if progress is not None:
            progress(start + len(ids), count)
    later = fit_probe(torch.cat(states), torch.cat(known), embedding, calibrated=calibrated)
    some = torch.randperm(model.vocabulary_size, generator=generator)[:first].to(model.device)
    alone = torch.cat([network.run(part[:, None])[:, 0].float().clone() for part in some.split(256)])
    return Probes(fit_probe(alone, some, embedding, calibrated=calibrated), later)
