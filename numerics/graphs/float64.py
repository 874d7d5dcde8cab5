"""The captured graph in torch's float64, without any cast: the reference for rounded runs of the same network."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proofs.arguments import nothing_hidden, of_kind, shown, token_ids
from proofs.arithmetic.base import Arithmetic, Discrete, taken
from proofs.arithmetic.whole import discrete
from proofs.enclosures.segments import STATE, cuts, inputs_of, segments
from proofs.errors import InvalidInput
from proofs.network.graph import Constant, Graph
from proofs.operations.interpreter import evaluate

_ELEMENTARY = {
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sin": torch.sin,
    "cos": torch.cos, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "erf": torch.erf, "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
}  # fmt: skip


class TorchArithmetic(Arithmetic):
    """Tensors of one float type; integers and truth values stay numpy arrays."""

    def __init__(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        self.dtype = dtype
        self.device = device

    def constant(self, value: Constant) -> Any:
        """A tensor of known entries, rounded once."""
        if value.kind == "real":
            numbers = {v: float(v) for v in set(value.values)}
            flat = torch.tensor([numbers[v] for v in value.entries()], dtype=torch.float64, device=self.device)
            return flat.to(self.dtype).reshape(value.shape)
        return discrete(value.entries(), value.shape, value.kind)

    def scalar(self, value: Fraction) -> torch.Tensor:
        """A rational number, rounded once."""
        return torch.tensor(float(value), dtype=self.dtype, device=self.device)

    def real(self, value: Discrete) -> torch.Tensor:
        """Integers or truth values as floats."""
        return torch.as_tensor(np.array(value)).to(self.device, self.dtype)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        """The same entries in another shape."""
        return x.reshape(tuple(shape))

    def permute(self, x: Any, order: Sequence[int]) -> Any:
        """Axes in another order."""
        return x.permute(tuple(order)) if isinstance(x, torch.Tensor) else np.transpose(x, order)

    def expand(self, x: Any, shape: Sequence[int]) -> Any:
        """Repeated along axes of size one."""
        return x.expand(tuple(shape)) if isinstance(x, torch.Tensor) else np.broadcast_to(x, tuple(shape))

    def slice(self, x: Any, axis: int, start: int, stop: int, step: int) -> Any:
        """Every step-th entry along one axis."""
        return x[(slice(None),) * axis + (slice(start, stop, step),)]

    def concatenate(self, parts: Sequence[Any], axis: int) -> Any:
        """Tensors one after the other."""
        return torch.cat(list(parts), axis) if isinstance(parts[0], torch.Tensor) else np.concatenate(parts, axis)

    def take(self, x: Any, index: Discrete, axis: int) -> Any:
        """Entries along an axis by index."""
        if not isinstance(x, torch.Tensor):
            return taken(x, index, axis)
        flat = torch.index_select(x, axis, self._index(index.reshape(-1)))
        return flat.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))

    def gather(self, x: Any, index: Discrete, axis: int) -> Any:
        """One entry per index."""
        if isinstance(x, torch.Tensor):
            return torch.gather(x, axis, self._index(index))
        cut = tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape))
        return np.take_along_axis(x[cut], index, axis)

    def select(self, condition: Discrete, x: Any, y: Any) -> Any:
        """x where the condition holds, else y."""
        if isinstance(x, torch.Tensor):
            return torch.where(torch.as_tensor(np.array(condition), device=self.device), x, y)
        return np.where(condition, x, y)

    def add(self, x: Any, y: Any) -> Any:
        """x + y."""
        return x + y

    def subtract(self, x: Any, y: Any) -> Any:
        """x - y."""
        return x - y

    def multiply(self, x: Any, y: Any) -> Any:
        """x * y."""
        return x * y

    def divide(self, x: Any, y: Any) -> Any:
        """x / y."""
        return x / y

    def negate(self, x: Any) -> Any:
        """-x."""
        return -x

    def power(self, x: Any, exponent: int) -> Any:
        """x to a whole power."""
        return x**exponent

    def matmul(self, x: Any, y: Any) -> Any:
        """Matrix products over the last two axes."""
        return x @ y

    def sum(self, x: Any, axes: Sequence[int], keep: bool) -> Any:
        """The sum over some axes."""
        if isinstance(x, torch.Tensor):
            return x.sum(tuple(axes), keepdim=keep) if axes else x
        return np.sum(x, axis=tuple(axes), keepdims=keep)

    def cumulative_sum(self, x: Any, axis: int) -> Any:
        """Partial sums along an axis."""
        return torch.cumsum(x, axis) if isinstance(x, torch.Tensor) else np.cumsum(x, axis)

    def apply(self, name: str, x: Any) -> torch.Tensor:
        """An elementary function, entry by entry."""
        if name == "softplus":
            return torch.nn.functional.softplus(x, threshold=1e9) if x.max() < 700 else torch.logaddexp(x, x * 0)
        return _ELEMENTARY[name](x)

    def shift(self, x: Any, axis: int) -> torch.Tensor:
        """The largest entry of each row."""
        return x.amax(axis, keepdim=True)

    def greater(self, x: Any, y: Any) -> Discrete:
        """x > y."""
        return (x > y).cpu().numpy()

    def top(self, x: Any, axis: int, count: int) -> Discrete:
        """Places of the largest entries of each row."""
        places = torch.sort(x, dim=axis, descending=True, stable=True).indices
        return places.narrow(axis, 0, count).cpu().numpy()

    def floor(self, x: Any) -> Discrete:
        """The greatest integer at most x."""
        return torch.floor(x).to(torch.int64).cpu().numpy()

    def _index(self, index: Discrete) -> torch.Tensor:
        return torch.as_tensor(np.array(index), dtype=torch.long, device=self.device)


def evaluate_float64(
    graph: Graph, parameters: Mapping[str, torch.Tensor], tokens: Sequence[int], *, device: str = "cpu"
) -> torch.Tensor:
    """The states of one prompt, shape (1, length, width), by the captured graph in float64 with every cast elided.

    Args:
        graph: captured for exactly `len(tokens)` tokens.
        parameters: a module's `state_dict()` or tensors by parameter name; they are widened to float64.
        tokens: the prompt's ids.
        device: where torch runs.

    Raises:
        InvalidInput: a parameter is missing, or the prompt has another length.
    """
    of_kind("a captured graph", graph, Graph, "capture one with numerics.capture_graph")
    of_kind("parameters by name", parameters, Mapping, "give the state_dict of the captured model")
    tokens = token_ids("the prompt", tokens)
    vocabulary = next((n.attributes["vocabulary"] for n in graph.nodes if n.operation == "tokens"), 2**31)
    if not all(0 <= token < int(str(vocabulary)) for token in tokens):
        raise InvalidInput(f"Expected token ids below {vocabulary}, but got {shown(tokens)}; give other ids.")
    if len(tokens) != graph.length:
        raise InvalidInput(f"Expected {graph.length} tokens, as captured, but got {len(tokens)}; capture that length.")
    arithmetic = TorchArithmetic(device=device)
    inputs: dict[str, Any] = {"tokens": np.array([tokens], dtype=np.int64)}
    for name, _ in graph.parameters():
        if name not in parameters:
            raise InvalidInput(f"Expected the parameter {name!r}, but got none; give the state of the captured model.")
        inputs[name] = _placed(name, parameters[name], device)
    with torch.no_grad():
        return evaluate(graph, inputs, arithmetic)


def segment_states(
    graph: Graph,
    tokens: Sequence[int],
    weights: Mapping[str, NDArray[Any]],
    *,
    dtype: torch.dtype = torch.float64,
) -> Iterator[torch.Tensor]:
    """The states of one prompt after every segment, shape (1, length, width), by the graph in one type without casts.

    Of the weights, which are given as arrays, only those of one segment are widened at a time.
    """
    state: Any = None
    for segment in segments(graph, cuts(graph)):
        inputs: dict[str, Any] = {"tokens": np.array([tokens], dtype=np.int64), STATE: state}
        for name in inputs_of(segment):
            if name != STATE:
                inputs[name] = torch.from_numpy(np.array(weights[name])).to(dtype)
        with torch.no_grad():
            state = evaluate(segment, inputs, TorchArithmetic(dtype))
        yield state


def _placed(name: str, parameter: Any, device: Any) -> torch.Tensor:
    nothing_hidden(repr(name), parameter)
    try:
        return torch.as_tensor(parameter).detach().to(torch.device(device), torch.float64)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(
            f"Expected the parameter {name!r} as a tensor, and a device that is present, but got {shown(parameter)} "
            f"and {shown(device)} ({reason}); give the state of the captured model, and use cpu."
        ) from None
