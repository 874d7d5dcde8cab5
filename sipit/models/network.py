"""Runs the blocks 1..l of a model, and nothing beyond them where nothing else is asked for.

The residual stream is read with hooks, and a plain run is ended by an exception inside the last hook, so that no block
after l, no final norm and no unembedding is computed. Two runs go on: `run_whole`, to the end of the body, since it
fills a memory of all blocks, and `next_token_logits`, from observed states. Every run is counted.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import torch

from numerics.networks.stand_ins import standing_in
from proofs.errors import InvalidInput, Unsupported
from proofs.threads import turn
from sipit.models import LanguageModel
from sipit.models.abilities import agree
from sipit.models.hooks import Reached, hooked
from sipit.models.refusals import Refusals

Layer = int | Literal["final"]
_TRIED = 8  # tokens of the prompt on which it is seen of which type states are, and whether the rest goes on from them


@dataclass(slots=True)
class Work:
    """What has been computed: runs of the model, and tokens pushed through blocks in them."""

    forward_passes: int = 0
    token_positions: int = 0

    def add(self, forward_passes: int, token_positions: int) -> None:
        """Counts work that was done elsewhere."""
        self.forward_passes += forward_passes
        self.token_positions += token_positions


@dataclass(frozen=True)
class Network:
    """A model read at one layer: the map from token ids to the states h^l, shape (batch, T, d).

    `layer` 0 is what enters the first block, l the residual stream after block l before the final norm, and
    "final" the state after the final norm.
    """

    model: LanguageModel
    layer: Layer
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        check_layer(self.model, self.layer)

    @property
    def width(self) -> int:
        """Width of the states."""
        return self.model.width_at(self.layer)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the states, as a run of a short prompt shows it, once for a model and place.

        It may be another than the weights have: some models carry the residual stream of a half type in float32.
        """
        seen = self.model.types_seen
        if self.place not in seen:
            seen[self.place] = self.anew().run(self._short_prompt).dtype
        return seen[self.place]

    @property
    def _short_prompt(self) -> torch.Tensor:
        return self.model.ordinary_ids(min(_TRIED, self.model.limit or _TRIED))

    @property
    def depth(self) -> int:
        """How many blocks the states depend on."""
        return self.model.layers if self.layer == "final" else self.layer

    @property
    def place(self) -> str:
        """Where it is read, as a name for what is kept of it."""
        return str(self.layer)

    def anew(self) -> Self:
        """The same, with work that is counted apart."""
        return replace(self, work=Work())

    def run(
        self,
        token_ids: torch.Tensor,
        *,
        memory: Any = None,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The states of one batch of ids, shape (batch, T).

        Args:
            token_ids: the ids.
            memory: what was kept of the tokens before them, a cache; it is extended.
            mask: ones where a token is seen, shape (batch, T with what is in the memory), or four dimensions.
            positions: the position of each token, counted from 0.

        Raises:
            InvalidInput: the device ran out of memory.
            Unsupported: the body was not found to understand what it is given (`LanguageModel.abilities`).
        """
        with torch.inference_mode():
            return self._states(token_ids, memory=memory, mask=mask, positions=positions)

    def run_whole(
        self, token_ids: torch.Tensor, *, memory: Any = None, positions: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Any]:
        """The states, and what the body remembers of all blocks; the run is not ended at the layer."""
        self._count(token_ids)
        memory = self.memory_for(memory)
        arguments = self.model.abilities.arguments(memory=memory, positions=positions, remember=True)
        state: list[torch.Tensor] = []
        with turn, torch.inference_mode(), self.reading(state.append, memory):
            output = self.body(input_ids=token_ids, **arguments)
        states = (state[0] if state else output[0]).to(self.model.device)
        return states, self.model.abilities.memory_in(output)

    def run_embeddings(
        self,
        token_ids: torch.Tensor,
        embeddings: torch.Tensor,
        *,
        memory: Any = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The last n states (n, d) of one row of ids (1, T) whose last n tokens have `embeddings` (n, e) for rows.

        They can be differentiated by `embeddings`. Whatever else the model does with a row, such as scaling it, and
        other tables that the ids index, stay those of the ids that are given.
        """
        count = len(embeddings)

        def with_rows(_table: Any, _arguments: Any, output: torch.Tensor) -> torch.Tensor:
            rows = table.weight[token_ids[0, -count:]].norm(dim=1, keepdim=True)
            scale = torch.where(rows > 0, output[0, -count:].norm(dim=1, keepdim=True) / rows, 1.0)
            return torch.cat([output[:, :-count], (scale * embeddings).to(output.dtype)[None]], dim=1)

        table = self.model.decoder.tables[0]
        with hooked(lambda: [table.register_forward_hook(with_rows)]), torch.enable_grad():
            return self._states(token_ids, memory=memory, positions=positions)[0, -count:]

    def _count(self, token_ids: torch.Tensor) -> None:
        self.work.forward_passes += 1
        self.work.token_positions += token_ids.numel()

    @property
    def body(self) -> Any:
        """What is run."""
        return self.model.decoder.body

    def memory_for(self, memory: Any) -> Any:
        """The memory that a run is given: what was kept of earlier tokens, None where there is nothing."""
        return memory

    def _states(self, token_ids: torch.Tensor, *, memory: Any = None, **given: Any) -> torch.Tensor:
        self._count(token_ids)
        memory = self.memory_for(memory)
        arguments = self.model.abilities.arguments(memory=memory, **given)
        state: list[torch.Tensor] = []

        def end(hidden: torch.Tensor) -> None:
            state.append(hidden)
            raise Reached

        try:
            with turn, self.reading(end, memory):
                output = self.body(input_ids=token_ids, **arguments)
            if self.layer == "final":
                return _of_tokens(output[0], token_ids).to(self.model.device)
        except Reached:  # on the device of its block
            return _of_tokens(state[0], token_ids).to(self.model.device)
        except torch.OutOfMemoryError:
            raise InvalidInput(
                f"Expected {token_ids.numel()} tokens to fit into memory, but the device ran out of it; "
                "use shorter prompts or a smaller batch; sipit doctor says how much there is."
            ) from None
        raise RuntimeError("the model ended without calling the block that is read")

    @contextmanager
    def reading(self, keep: Callable[[torch.Tensor], None], memory: Any = None) -> Generator[None]:
        """Hooks the block whose output, or at layer 0 whose input, is the wanted state, and hands that to `keep`."""

        stream = self.model.decoder.chain.stream

        def before(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            keep(stream.entered(arguments, named))

        def after(_module: Any, _arguments: Any, output: Any) -> None:
            keep(stream.handed_on(output))

        blocks, final = self.model.decoder.blocks, self.model.decoder.chain.final
        if self.layer == "final":
            with reading_final(final, keep):
                yield
            return

        def put_on() -> Iterator[Any]:
            if self.layer == 0:
                yield blocks[0].register_forward_pre_hook(before, with_kwargs=True)
            else:
                yield blocks[int(self.layer) - 1].register_forward_hook(after)

        with hooked(put_on):
            yield

    @property
    def goes_on_alone(self) -> bool:
        """Whether the rest of the model goes on from states, of which nobody says which ids they are of.

        It does not where later blocks want more of the earlier ones than the states, such as shared keys, or look at
        the ids themselves: for rows of a table of their own, say, or for the experts that a token is sent to. That is
        tried on a short prompt, once for a model and layer.
        """
        known = self.model.tried_alone
        if self.layer not in known:
            ids, alone, found = self._short_prompt, self.anew(), False
            with Refusals():
                states = alone.run(ids)[0]
                own, others = (alone._logits(states, None, one).double() for one in (ids, torch.zeros_like(ids)))
                found = agree(own, others, self.model.dtype)
            known[self.layer] = found
        return known[self.layer]

    def next_token_logits(
        self,
        states: torch.Tensor,
        rows: torch.Tensor | None = None,
        *,
        token_ids: Sequence[int] | None = None,
    ) -> torch.Tensor | None:
        """What the rest of the model predicts from observed states: logits of the next token, shape (T, V).

        Where `rows` (n,) are given, of these positions alone, shape (n, V): the unembedding is run for no other.

        Pushes states h^l, shape (T, d), through blocks l+1..L, the final norm and the unembedding; blocks up to l
        are passed over. Beside `run_whole`, which has no logits, nothing here computes beyond layer l. Needs
        l >= 1. `token_ids` are those of the states, for blocks that look at them. None where there is no head, or the
        rest does not run: without ids, where it does not go on alone (`goes_on_alone`).
        """
        if self.model.head is None or (token_ids is None and not self.goes_on_alone):
            return None
        ids = torch.tensor([[0] * len(states) if token_ids is None else [*token_ids]], device=self.model.device)
        with Refusals():
            logits = self._logits(states, rows, ids)
            # An unembedding may lack rows that only fill up the embedding, or have some of its own.
            missing = self.model.vocabulary_size - logits.shape[1]
            return torch.nn.functional.pad(logits, (0, missing), value=-torch.inf)
        return None

    def _logits(self, states: torch.Tensor, rows: torch.Tensor | None, ids: torch.Tensor) -> torch.Tensor:
        self.work.forward_passes += 1
        self.work.token_positions += len(states)
        model, final = self.model, self.layer == "final"
        states = states.to(device=model.device, dtype=model.dtype if final else self.dtype)[None]
        wanted = [] if rows is None else [_only(rows)]
        with turn, torch.inference_mode():
            replaced = replaced_end(model, states) if final else replaced_blocks(model, int(self.layer), states)
            with hooked(lambda: map(model.head.register_forward_pre_hook, wanted)), replaced:
                output = model.module(input_ids=ids, **model.abilities.arguments())
                return model.head(output[0])[0] if model.module is model.decoder.body else output.logits[0]


def _of_tokens(states: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """The states, one for each token.

    Raises:
        Unsupported: there are more or fewer, as where a body pads its prompts.
    """
    if states.shape[1] != token_ids.shape[1]:
        raise Unsupported(
            f"Expected a state for each of {token_ids.shape[1]} tokens, but the model hands on {states.shape[1]}; give "
            "prompts of a length that it does not pad."
        )
    return states


def _only(rows: torch.Tensor) -> Callable[..., Any]:
    """Hands a module some positions of its input (1, T, d) alone."""
    return lambda _module, arguments: (arguments[0][:, rows], *arguments[1:])


@contextmanager
def replaced_blocks(model: LanguageModel, layer: int, states: torch.Tensor) -> Generator[None]:
    """Lets the first `layer` blocks hand on the given states, each in the form that its own output has."""

    chain = model.decoder.chain
    hidden = chain.stream.hidden(states)

    def constant(count: int | None) -> Callable[..., Any]:
        output = hidden if count is None else (hidden, *[None] * (count - 1))
        return lambda *_arguments, **_named: output

    with standing_in(chain.blocks[:layer], [constant(count) for count in chain.returns[:layer]]):
        yield


@contextmanager
def replaced_end(model: LanguageModel, states: torch.Tensor) -> Generator[None]:
    """Lets the given states (1, T, d) be those behind the final norm; no block is run.

    What a model makes of them is its own affair: a head may stand behind another part, and logits be scaled or capped.
    """
    body, final = model.decoder.body, model.decoder.chain.final

    def given(_module: Any, _arguments: Any, output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            return states.to(output)
        if isinstance(output, tuple):
            return (states.to(output[0]), *output[1:])
        output[next(iter(output))] = states.to(output[0])
        return output

    last, unread = body if final is None else final, states.new_zeros(*states.shape[:2], model.width)
    with hooked(lambda: [last.register_forward_hook(given)]), replaced_blocks(model, model.layers, unread):
        yield


@contextmanager
def reading_final(final: Any | None, keep: Callable[[torch.Tensor], None]) -> Generator[None]:
    """Hands `keep` what the final norm returns, where a body goes on from there."""
    if final is None:
        yield
        return
    with hooked(lambda: [final.register_forward_hook(lambda _module, _arguments, output: keep(output))]):
        yield


def check_layer(model: LanguageModel, layer: Layer) -> None:
    """Raises InvalidInput where the model has no such layer, Unsupported where it has no state behind a final norm."""
    if layer == "final" and model.decoder.chain.final_width is None:
        raise Unsupported(
            f"Expected a state of width {model.width} after a final norm, but {type(model.decoder.body).__name__} has "
            f"none behind its last block, and ends with another width; name layer {model.layers}, the last before it."
        )
    if layer != "final" and not (type(layer) is int and 0 <= layer <= model.layers):
        raise InvalidInput(
            f"Expected a layer from 0 to {model.layers} or 'final' for {model.name}, but got layer={layer!r}; "
            "choose one of these."
        )
