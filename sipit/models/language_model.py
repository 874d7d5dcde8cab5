"""`LanguageModel`: a model with its tokenizer, digest and parts."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from numerics.dtypes import name_of
from numerics.formats.layers import multiplied_in
from numerics.graphs.windows import ORDINARY
from numerics.networks.products import rounded_unit
from numerics.pairs.row_classes import row_classes
from proofs.errors import InvalidInput
from sipit.models.abilities import Abilities
from sipit.models.entry import told_apart
from sipit.models.held import Held
from sipit.models.length import LengthDependence
from sipit.models.near_rows import NearRows
from sipit.models.structure import Decoder
from sipit.models.tokenizers import digest_of_tokenizer, text_of, token_ids_of


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A decoder-only language model, ready to run.

    `module` is the torch module, `decoder` its parts, `tokenizer` the `transformers` tokenizer (None where a folder has
    none), `digest` the sha256 of configuration and stored weights, `dtype` the type that it computes in, of which
    its states need not be (`Network.dtype`). `assembly`
    says in words what was done to make it of what is stored, where that is more than loading, and `has_head` whether a
    language-model head was stored: rows that are tied to the embedding are none where the checkpoint's class does not
    write text. `without_tokenizer` says of a model why it has none. `held` is what its weights were when it was made:
    what is kept of it goes by its digest, so that a model whose weights have changed since is refused.
    """

    name: str
    module: Any
    tokenizer: Any
    digest: str
    decoder: Decoder
    dtype: torch.dtype
    assembly: tuple[str, ...] = ()
    has_head: bool = True
    without_tokenizer: str = ""
    held: Held = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "held", Held.by(self.module))

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of: of a model that holds what it was loaded with."""
        check_loaded(self)
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy holds the same; that it was written is not counted."""
        vars(self).update(state)
        object.__setattr__(self, "held", replace(self.held, written=Held.by(self.module).written))

    @cached_property
    def key(self) -> str:
        """By which the cache knows what was measured with a model on texts: of its weights and its tokenizer."""
        return hashlib.sha256(f"{self.digest} {digest_of_tokenizer(self.tokenizer)}".encode()).hexdigest()[:32]

    @cached_property
    def coarsest(self) -> torch.dtype:
        """The least exact type that anything is computed in: `dtype`, or one that packed layers multiply in."""
        return max({self.dtype, *multiplied_in(self.module)}, key=lambda dtype: torch.finfo(dtype).eps)

    @property
    def head(self) -> Any:
        """The unembedding, or None where the checkpoint has no language-model head."""
        return self.module.get_output_embeddings() if self.has_head else None

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding: the candidates of an inversion (the tokenizer may know fewer or more)."""
        return self.decoder.tables[0].num_embeddings

    @property
    def layers(self) -> int:
        """Number of blocks, L."""
        return len(self.decoder.blocks)

    @property
    def width(self) -> int:
        """Width d of the residual stream."""
        return self.decoder.chain.width

    def width_at(self, layer: int | str) -> int:
        """Width of the states at a layer: d; where a token has several streams, that of one after the final norm."""
        return self.decoder.chain.final_width or self.width if layer == "final" else self.width

    @property
    def device(self) -> torch.device:
        """Where the embedding lies; states and candidates are kept there."""
        return self.decoder.tables[0].weight.device

    @property
    def context(self) -> int | None:
        """The longest prompt that the model was made for, in tokens; None where that is not said."""
        return self.decoder.context

    @property
    def limit(self) -> int | None:
        """The longest prompt that the model takes, in tokens; None where a run showed no end."""
        return self.decoder.limit

    @property
    def lengths(self) -> LengthDependence:
        """Which lengths of a prompt change the states of all its positions."""
        return self.decoder.lengths

    def ordinary_ids(self, count: int) -> torch.Tensor:
        """Ids of one short prompt of different tokens, shape (1, count): what a model is tried on.

        The first ones of a vocabulary are left out: padding may have a row of zeros, or the same place everywhere.
        """
        return torch.arange(ORDINARY, ORDINARY + count, device=self.device)[None] % self.vocabulary_size

    def warnings(self, lengths: Iterable[int]) -> list[str]:
        """What has to be known of results for prompts of these lengths."""
        longest, context = max(lengths, default=0), self.context
        if context is None or longest <= context:
            return []
        return [
            f"a prompt of {longest} tokens lies beyond the {context} that {self.name} was made for "
            "(max_position_embeddings): it runs, but was never trained there"
        ]

    @property
    def arithmetic(self) -> str:
        """The arithmetic that really runs: types of the weights and activations, kind of attention, what was merged."""
        stored = {name_of(parameter.dtype) for parameter in self.module.parameters()}
        attention = getattr(self.module.config.get_text_config(), "_attn_implementation", None)
        plain = (
            f"weights in {' and '.join(sorted(stored))}, activations in {name_of(self.dtype)} "
            f"(the library casts some norms, rotary tables and softmax to float32), attention: {attention or 'none'}"
        )
        unit = rounded_unit(self.device) if self.dtype == torch.float32 else None
        products = () if unit is None else (f"factors of products rounded to {unit:.0e}",)
        return "; ".join((plain, *products, *self.assembly))

    @property
    def abilities(self) -> Abilities:
        """What the body was found to understand when the model was loaded."""
        return self.decoder.abilities

    @cached_property
    def tried_alone(self) -> dict[int | str, bool]:
        """By layer what was found out about the rest behind it, where that was asked (`Network.goes_on_alone`)."""
        return {}

    @cached_property
    def types_seen(self) -> dict[str, torch.dtype]:
        """By place the type of the states there, where that was asked (`Network.dtype`)."""
        return {}

    @cached_property
    def token_classes(self) -> torch.Tensor:
        """For every token the smallest id with the same rows in all tables that ids index, shape (V,), int64.

        Tokens of one class have equal states after every prefix at every layer, so no method can tell them apart. Those
        that a trial tells apart all the same, as padding whose place is counted otherwise, are classes of their own.
        """
        tables = [*(table.weight for table in self.decoder.tables), *self.decoder.other_tables]
        classes = torch.tensor(row_classes(*tables), device=self.device)
        return told_apart(self.decoder.body, self.abilities, classes)

    @cached_property
    def entering_rows(self) -> torch.Tensor:
        """What every token brings to the first block, shape (V, e): its row, unless the body makes another of it."""
        entrance = self.decoder.entrance
        return entrance.table if self.decoder.rows_enter else entrance.rows()

    @cached_property
    def _near_rows(self) -> NearRows:
        return NearRows(self.entering_rows, self.token_classes)

    def nearest_rows(self, tokens: torch.Tensor, count: int) -> list[torch.Tensor]:
        """For each token so many of other classes that enter the blocks nearest to it or along it, in order."""
        return self._near_rows.of(tokens, count)

    @cached_property
    def _shared(self) -> frozenset[int]:
        """The classes of several tokens."""
        found, counts = self.token_classes.unique(return_counts=True)
        return frozenset(found[counts > 1].tolist())

    @property
    def shared_classes(self) -> list[list[int]]:
        """The tokens of each class that has several."""
        return [self.members(token) for token in sorted(self._shared)]

    def members(self, token: int) -> list[int]:
        """All tokens whose embedding rows are identical to this token's, itself included, ascending."""
        classes = self.token_classes
        own = int(classes[token])
        if own not in self._shared:
            return [token]
        return torch.nonzero(classes == own).flatten().tolist()

    def decode(self, token_ids: list[int]) -> str:
        """The text of ids; those that the tokenizer does not know, or all without one, stand in brackets."""
        text = text_of(self.tokenizer, token_ids)
        if text is not None:
            return text
        pieces = [(token, text_of(self.tokenizer, [token])) for token in token_ids]
        return "".join(f"[{token}]" if piece is None else piece for token, piece in pieces)

    def gives_back(self, text: str, token_ids: list[int]) -> bool | None:
        """Whether the tokenizer makes these ids of a text again, so that the text is the prompt; None without one."""
        if self.tokenizer is None:
            return None
        try:
            return token_ids in [token_ids_of(self.tokenizer, text, special_tokens=added) for added in (False, True)]
        except InvalidInput:
            return False


def check_loaded(model: Any) -> None:
    """Raises InvalidInput where something else than a loaded model was given, such as its name, or one that changed."""
    if not isinstance(model, LanguageModel):
        raise InvalidInput(
            f"Expected a model that was loaded, but got a {type(model).__name__}; load it with sipit.load_model first."
        )
    if model.module.training != model.held.training:
        mode, way = ("training", "eval()") if model.module.training else ("evaluation", "train()")
        raise InvalidInput(
            f"Expected {model.name} in the mode it was loaded in, but it is in {mode} now; call model.module.{way}."
        )
    changed = model.held.changed(model.module)
    if changed is not None:
        raise InvalidInput(
            f"Expected {model.name} with the weights it was loaded with, but {changed!r} has changed since; save it "
            "with model.module.save_pretrained, its tokenizer beside it, and load that folder."
        )
