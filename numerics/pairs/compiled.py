"""Machine code for tight loops: one decorator, so that every kernel is compiled under the same rules.

Kernels release the interpreter lock and keep no state, so that plain threads run them side by side; sums are
reordered only where `compiled_sums` says so, and nothing else about IEEE arithmetic is relaxed in either.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba

Array: TypeAlias = Any  # an array inside a kernel, where indexing gives a plain number
Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(function: Kernel) -> Kernel:
    """Compiles a kernel in strict IEEE arithmetic: what is written is what is rounded."""
    return _compiled(function, fastmath=False)


def compiled_sums(function: Kernel) -> Kernel:
    """Compiles a kernel that may regroup its sums and fuse multiply-adds.

    Both are covered by the a-priori bound gamma_n of a sum of n products, which holds in any order; products,
    differences and comparisons of single numbers stay as they are written.
    """
    return _compiled(function, fastmath={"reassoc", "contract"})


def _compiled(function: Kernel, **options: Any) -> Kernel:
    try:
        return cast("Kernel", numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function))
    except RuntimeError:  # no folder to keep the machine code in: compiled again in every process
        return cast("Kernel", numba.njit(nogil=True, error_model="numpy", **options)(function))
