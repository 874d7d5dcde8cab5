"""`Observation`: which tensors of a network are observed, at which layers: the grammar of `--observe` and `--layer`.

    residual  centred  mid  attention-out  mlp-out            of block l: 1 … L (residual also 0, or `final`)
    normed  keys  values  keys-unrotated  latent
    experts  router-scores                                    what block l + 1 makes of residual l: 0 … L - 1
    logits  logprobs                                          of the whole network: no layer

So keys at layer l are `cache.layers[l]` of `transformers`. Several sites are joined by commas, and what a cache or a
router holds may be of several layers: each token then has the numbers of the first site at every layer, then those of
the next, shape (T, n) in all, heads side by side.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from proofs.arguments import several, shown, whole_number
from proofs.errors import InvalidInput

if TYPE_CHECKING:
    from sipit.models.network import Layer


class Where(StrEnum):
    """What the layer l of a site means."""

    BLOCK = "of block l"
    NEXT = "made of residual l by block l + 1"
    NETWORK = "of the whole network"


@dataclass(frozen=True, slots=True)
class Kind:
    """What may be asked of a site: at which layers, at several together, head by head.

    `entered` is whether it is there in front of the first block, at layer 0 of `Where.BLOCK`; `discrete` whether its
    numbers are names of things, whose distance means nothing, `flat` whether they may stay as they are while what is in
    front of them moves, as behind a ReLU that is off.
    """

    where: Where
    several: bool = False
    per_head: bool = False
    entered: bool = False
    discrete: bool = False
    flat: bool = False


KINDS = {
    "residual": Kind(Where.BLOCK, entered=True),
    **{name: Kind(Where.BLOCK) for name in ("centred", "mid")},
    **{name: Kind(Where.BLOCK, flat=True) for name in ("attention-out", "mlp-out")},
    "normed": Kind(Where.NEXT),
    **{name: Kind(Where.NEXT, several=True, per_head=True) for name in ("keys", "values", "keys-unrotated")},
    "latent": Kind(Where.NEXT, several=True),
    "experts": Kind(Where.NEXT, several=True, discrete=True, flat=True),
    "router-scores": Kind(Where.NEXT, several=True, flat=True),
    "logits": Kind(Where.NETWORK),
    "logprobs": Kind(Where.NETWORK),
}


@dataclass(frozen=True, slots=True)
class Observation:
    """Which tensors, by the names of their sites, and at which layers.

    `layers` is empty where no layer was named, or the sites have none; `top` is how many log-probabilities of every
    position were kept, the largest, None for all.

    Raises:
        InvalidInput: no such site, one named twice, or layers or a `top` that these sites do not have.
    """

    sites: tuple[str, ...] = ("residual",)
    layers: tuple["Layer", ...] = ()
    top: int | None = None

    def __post_init__(self) -> None:
        unknown = [site for site in self.sites if site not in KINDS]
        if unknown or not self.sites or len({*self.sites}) < len(self.sites):
            raise InvalidInput(
                f"Expected sites among {', '.join(KINDS)}, each once, but got {','.join(self.sites)!r}; choose of them."
            )
        if any(self.layers.count(layer) > 1 for layer in self.layers):
            raise InvalidInput(f"Expected every layer once, but got {_joined(self.layers)}; leave the others away.")
        if self.top is not None and self.sites != ("logprobs",):
            raise InvalidInput(
                f"Expected a top beside logprobs alone, but got one for {','.join(self.sites)}; leave it away, or "
                "observe logprobs."
            )
        if self.top is not None and (type(self.top) is not int or self.top < 1):
            raise InvalidInput(
                f"Expected a top of at least 1, but got {shown(self.top)}; give one such as 20, or leave it away."
            )
        if len(self.sites) > 1 and any(kind.discrete for kind in self.kinds):
            raise InvalidInput(f"Expected experts alone, but got {','.join(self.sites)}; observe one of them.")
        self._check_layers()

    def _check_layers(self) -> None:
        named = ",".join(self.sites)
        if self.layers and not self.layered:
            raise InvalidInput(f"Expected no layer for {named}, but got {_joined(self.layers)}; leave it away.")
        if "final" in self.layers and (self.sites != ("residual",) or len(self.layers) > 1):
            raise InvalidInput(
                f"Expected layer numbers for {named}, but got {_joined(self.layers)}; only residual has a final one."
            )
        if len(self.layers) > 1 and not all(kind.several for kind in self.kinds):
            raise InvalidInput(
                f"Expected one layer for {named}, but got {_joined(self.layers)}; only "
                f"{', '.join(name for name, kind in KINDS.items() if kind.several)} are observed at several together."
            )

    @classmethod
    def of(cls, observe: Any = None, layer: Any = None, top: Any = None) -> "Observation":
        """The observation of its words: sites between commas, and a layer, several, or None where none is named.

        Raises:
            InvalidInput: as above.
        """
        if isinstance(observe, Observation):
            layers = observe.layers if layer is None else named_layers(layer)
            return cls(observe.sites, layers, observe.top if top is None else top)
        if observe is not None and not isinstance(observe, str):
            raise InvalidInput(f"Expected sites such as 'keys,values', but got a {type(observe).__name__}; name them.")
        sites = ("residual",) if observe is None else tuple(part.strip() for part in observe.split(","))
        return cls(sites, named_layers(layer), top)

    @classmethod
    def from_json(cls, entry: Any) -> "Observation":
        """That of a manifest or a record.

        Raises:
            InvalidInput: it holds none.
        """
        try:
            sites, layers, top = tuple(entry["sites"]), tuple(entry["layers"]), entry["top"]
            sound = all(layer == "final" or type(layer) is int for layer in layers) and type(top) in {int, type(None)}
        except (TypeError, KeyError):
            sound, sites, layers, top = False, (), (), None
        if not sound:
            raise InvalidInput(f"Expected the sites, layers and top of an observation, but got {entry!r}; correct it.")
        return cls(sites, layers, top)

    def to_json(self) -> dict[str, Any]:
        """The entry of a manifest or a record."""
        return {"sites": list(self.sites), "layers": list(self.layers), "top": self.top}

    @property
    def kinds(self) -> list[Kind]:
        """What may be asked of each site."""
        return [KINDS[site] for site in self.sites]

    @property
    def plain(self) -> bool:
        """Whether it is the residual stream at one layer, as it comes."""
        return self.sites == ("residual",)

    @property
    def layer(self) -> Any:
        """The layer as records name it: one, a list of several, or None where there is none."""
        return self.layers[0] if len(self.layers) == 1 else list(self.layers) or None

    @property
    def layered(self) -> bool:
        """Whether it has a layer, of which it says nothing where none is named."""
        return any(kind.where is not Where.NETWORK for kind in self.kinds)

    @property
    def per_head(self) -> bool:
        """Whether every token has a row for each of several heads."""
        return len(self.sites) == 1 and self.kinds[0].per_head

    @property
    def discrete(self) -> bool:
        """Whether its numbers are names of things."""
        return self.kinds[0].discrete

    @property
    def words(self) -> str:
        """The sites in words."""
        return " and ".join(self.sites) + ("" if self.top is None else f", the {self.top} largest,")

    @property
    def key(self) -> str:
        """A name for files of a cache; that of the residual stream is its layer alone."""
        parts = [*([] if self.plain else self.sites), *map(str, self.layers)]
        return "-".join([*parts, *([] if self.top is None else [f"top{self.top}"])])

    def __str__(self) -> str:
        layers = f"layer{'s' * (len(self.layers) > 1)} {_joined(self.layers)}" if self.layers else ""
        if self.plain:
            return layers or "a layer that is not named"
        return f"{self.words} at {layers}" if layers else self.words

    def within(self, blocks: int, name: str) -> "Observation":
        """The same for a model of so many blocks: half depth where no layer is named.

        Raises:
            InvalidInput: it has no such layer there; `name` is the model's.
        """
        least, most = 0, blocks
        for kind in self.kinds:
            least = max(least, int(kind.where is Where.BLOCK and not kind.entered))
            most = min(most, blocks - int(kind.where is Where.NEXT))
        if not self.layers and self.layered:
            return Observation(self.sites, (min(max(blocks // 2, least), most),), self.top)
        if not all(layer == "final" or (type(layer) is int and least <= layer <= most) for layer in self.layers):
            has = f"{most} or 'final' for {name}" if self.plain else f"{most} for {','.join(self.sites)} of {name}"
            raise InvalidInput(
                f"Expected a layer from {least} to {has}, but got layer={_named(self.layers)}; choose one of these."
            )
        return self


RESIDUAL = Observation()


def named_layers(layer: Any) -> tuple[Any, ...]:
    """The layers that are meant, one or several, by whole numbers of whatever library or in words; none for None.

    Raises:
        InvalidInput: something else.
    """
    found = () if layer is None else tuple(map(whole_number, several("layers", layer)))
    for one in found:
        if hasattr(one, "ndim"):  # of no whole number; what else is no layer is refused beside those that there are
            raise InvalidInput(
                f"Expected layers by number, or 'final', but got layer={shown(layer)}; choose one of these."
            )
    return found


def _named(layers: tuple[Any, ...]) -> str:
    return repr(layers[0]) if len(layers) == 1 else _joined(layers)


def _joined(layers: tuple[Any, ...]) -> str:
    return ",".join(map(str, layers))
