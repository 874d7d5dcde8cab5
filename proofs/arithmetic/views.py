"""What tells views of arrays apart, for products that cut or convert a matrix once."""

from typing import Any

View = tuple[int, tuple[int, ...], tuple[int, ...], str]


def view_of(array: Any) -> View:
    """Where a view begins, its shape, its steps and its type: other views of the same entries are other matrices.

    It is no other's as long as the array lives; whoever keeps it keeps the array beside.
    """
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str
