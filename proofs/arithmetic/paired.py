"""Number systems whose tensors are several arrays, such as midpoints beside radii: entries move alike in all."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from proofs.arithmetic.base import Arithmetic, Discrete, taken


class PairedArithmetic(Arithmetic):
    """What moves entries about, given how one movement is done to a tensor."""

    @abstractmethod
    def moved(self, x: Any, move: Callable[[Any], Any]) -> Any:
        """A tensor with all of its arrays moved."""

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        """The same entries in another shape."""
        return self.moved(x, lambda a: a.reshape(tuple(shape)))

    def permute(self, x: Any, order: Sequence[int]) -> Any:
        """Axes in another order."""
        return self.moved(x, lambda a: np.transpose(a, tuple(order)))

    def expand(self, x: Any, shape: Sequence[int]) -> Any:
        """Repeated along axes of size one."""
        return self.moved(x, lambda a: np.broadcast_to(a, tuple(shape)))

    def slice(self, x: Any, axis: int, start: int, stop: int, step: int) -> Any:
        """Every step-th entry along one axis."""
        return self.moved(x, lambda a: a[(slice(None),) * axis + (slice(start, stop, step),)])

    def take(self, x: Any, index: Discrete, axis: int) -> Any:
        """Entries along an axis by index."""
        return self.moved(x, lambda a: taken(a, index, axis))

    def gather(self, x: Any, index: Discrete, axis: int) -> Any:
        """One entry per index; the other axes are cut to those of the index."""
        cut = tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape))
        return self.moved(x, lambda a: np.take_along_axis(a[cut], index, axis))
