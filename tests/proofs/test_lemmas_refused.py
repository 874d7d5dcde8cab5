"""What does not fit a lemma of the kernel is refused: shapes, kinds, attributes, leaves, masks beyond all bounds."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.kernel.lemmas.instance import OPEN, Line
from proofs.kernel.lemmas.table import LEMMAS
from proofs.network.graph import Constant, Node, TensorType
from proofs.regularity import CONSTANT, POLYNOMIAL, UNPROVED
from tests.proofs.lines import HALF, derived, real, refused, truth, whole, within


@pytest.mark.parametrize(
    ("operation", "arguments", "shape", "attributes"),
    [
        ("reshape", [real((2, 2))], (5,), {"shape": (5,)}), ("reshape", [real((2, 2))], (-2, -2), {"shape": (-2, -2)}),
        ("reshape", [real((2, 2))], (3,), {"shape": (3,)}),
        ("reshape", [real(), real()], (4,), {"shape": (4,)}), ("reshape", [], (4,), {"shape": (4,)}),
        ("permute", [real((2, 2))], (2, 2), {"order": (0, 0)}), ("permute", [real((2, 2))], (2,), {"order": (0,)}),
        ("permute", [real((2, 2))], (2, 2), {"order": (0, 2)}), ("permute", [real((2, 2))], (2, 2), {"order": (1, 1)}),
        ("expand", [real((1, 2))], (2,), {"shape": (2,)}), ("expand", [real((2,))], (3,), {"shape": (3,)}),
        ("expand", [real((2, 2))], (2,), {"shape": (2,)}),
        ("slice", [real()], (2,), {"axis": 0, "start": -1, "stop": 1, "step": 1}),
        ("slice", [real()], (1,), {"axis": 0, "start": 4, "stop": 5, "step": 1}),
        ("slice", [real()], (0,), {"axis": 0, "start": 3, "stop": 2, "step": 1}),
        ("slice", [real()], (2,), {"axis": 0, "start": 0, "stop": 2, "step": 0}),
        ("slice", [real()], (2,), {"axis": 1, "start": 0, "stop": 2, "step": 1}),
        *((name, [real()], (4,), {"axis": -1}) for name in ("cumulative_sum", "softmax", "log_sum_exp")),
        ("take", [real((5, 2)), whole((2,), within(0, 1).bounds)], (5, 2), {"axis": -1}),
        ("slice", [real()], (2,), {"axis": True, "start": 0, "stop": 2, "step": 1}),
        ("concatenate", [real((2, 2)), real((3, 2))], (2, 4), {"axis": 1}),
        ("concatenate", [real((3, 2)), real((2, 2))], (3, 4), {"axis": 1}),
        ("concatenate", [real((2, 2)), real((2, 3))], (4, 2), {"axis": 0}),
        ("concatenate", [real((2, 3)), real((2, 2))], (4, 3), {"axis": 0}),
        ("concatenate", [real((2, 2)), real((2,))], (4, 2), {"axis": 0}),
        ("concatenate", [real((2,)), real((2, 2))], (4,), {"axis": 0}),
        ("concatenate", [real((2, 2)), real((2, 2))], (2, 4), {"axis": -1}),
        ("concatenate", [real((2,)), whole((2,))], (4,), {"axis": 0}),
        ("gather", [real((5, 2)), whole((2, 3), within(0, 1).bounds)], (2, 3), {"axis": 0}),
        ("gather", [real((5, 2)), whole((2,), within(0, 1).bounds)], (2,), {"axis": 0}),
        ("gather", [real((2, 5)), whole((3, 5), within(0, 1).bounds)], (3, 5), {"axis": 1}),
        ("scatter", [real((2, 5)), whole((3, 5), within(0, 1).bounds), real((3, 5))], (2, 5), {"axis": 1}),
        ("take", [real((5, 2)), real((2,))], (2, 2), {"axis": 0}),
        ("scatter", [real((5,)), whole((2,), within(0, 1).bounds), real((3,))], (5,), {"axis": 0}),
        ("scatter", [real((5,)), whole((2,), within(0, 1).bounds), real((1,))], (5,), {"axis": 0}),
        ("scatter", [real((5, 2)), whole((2, 3), within(0, 1).bounds), real((2, 3))], (5, 2), {"axis": 0}),
        ("select", [real(), real(), real()], (4,), {}), ("select", [truth(), real(), whole()], (4,), {}),
        ("add", [truth(), truth()], (4,), {}), ("add", [real(), whole()], (4,), {}),
        ("add", [real((2,)), real((3,))], (3,), {}),
        ("add", [real(), real()], (3,), {}), ("multiply", [truth(), truth()], (4,), {}),
        ("sum", [real((2, 2))], (2,), {"axes": (2,), "keep": False}),
        ("sum", [real((2, 2))], (2,), {"axes": (-1,), "keep": False}),
        ("sum", [real((2, 2))], (2, 2), {"axes": (-1,), "keep": False}),
        ("sum", [real((2, 2))], (2,), {"axes": (0, 0), "keep": False}),
        ("sum", [truth()], (), {"axes": (0,), "keep": False}),
        ("mean", [real((0,))], (), {"axes": (0,), "keep": False}),
        ("softmax", [real()], (4,), {"axis": 1}), ("softmax", [real()], (3,), {"axis": 0}),
        ("softmax", [whole()], (4,), {"axis": 0}),
        ("log_sum_exp", [real((2, 3))], (2, 3), {"axis": 1}),
        ("layer_norm", [real()], (4,), {"axes": 2, "epsilon": HALF}),
        ("layer_norm", [real()], (4,), {"axes": 0, "epsilon": HALF}),
        ("layer_norm", [real(), real((3,))], (4,), {"axes": 1, "epsilon": HALF}),
        ("layer_norm", [real(), real((5,))], (4,), {"axes": 1, "epsilon": HALF}),
        ("layer_norm", [real(), real(), real(), real()], (4,), {"axes": 1, "epsilon": HALF}),
        ("layer_norm", [], (4,), {"axes": 1, "epsilon": HALF}),
        ("layer_norm", [real((0,))], (0,), {"axes": 1, "epsilon": HALF}),
        ("matmul", [real((2, 2)), real((3, 2))], (2, 2), {}), ("matmul", [real((2, 3)), real((2, 3))], (2, 3), {}),
        ("matmul", [real((3,)), real((3, 2))], (2,), {}),
        ("matmul", [real((2, 3)), real((3,))], (2,), {}), ("matmul", [real((2, 3)), real((3, 2))], (2, 3), {}),
        ("largest", [real((2, 2))], (), {"axes": (0, 1), "keep": False}),
        ("largest", [real((2, 0))], (2,), {"axes": (1,), "keep": False}),
        ("largest", [real((2, 2))], (2, 2), {"axes": (2,), "keep": True}),
        ("largest", [real((2, 2))], (2, 2), {"axes": (-1,), "keep": True}),
        ("top_values", [real()], (5,), {"axis": 0, "count": 5}),
        ("top_values", [real()], (0,), {"axis": 0, "count": 0}),
        ("greater", [real(), whole()], (4,), {}), ("greater", [truth(), truth()], (4,), {}),
        ("greater", [real(), real()], (4,), {}),
        ("both", [truth()], (4,), {}), ("opposite", [truth(), truth()], (4,), {}), ("as_real", [real()], (4,), {}),
        ("power", [real()], (4,), {"exponent": -1}), ("power", [real()], (4,), {"exponent": 1025}),
        ("power", [real()], (4,), {"exponent": True}),
        ("negate", [truth()], (4,), {}), ("cumulative_sum", [real()], (4,), {"axis": 1}),
        ("exp", [real(), real()], (4,), {}),
        ("exp", [whole()], (4,), {}), ("exp", [real()], (5,), {}), ("softplus", [real()], (4,), {"beta": 1}),
        ("clamp", [real()], (4,), {"low": 1, "high": None}), ("parameter", [], (4,), {"shape": (4,), "kind": "real"}),
        ("parameter", [], (4,), {"shape": (3,), "kind": "real", "name": "x"}),
        ("tokens", [], (4,), {"shape": (4,), "kind": "real"}),
        ("parameter", [real()], (4,), {"shape": (4,), "kind": "real", "name": "x"}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(operation: str, arguments: Any, shape: Any, attributes: Any) -> None:
    assert operation in LEMMAS
    refused(operation, arguments, shape, **attributes)


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "greater", "at_most", "equal"])
def test_truth_values_are_no_numbers(operation: str) -> None:
    refused(operation, [truth(), truth()], (4,), "boolean")


@pytest.mark.parametrize("declared", ["boolean", "integer", "real"])
@pytest.mark.parametrize(
    ("operation", "arguments", "kind"),
    [("add", [real(), real()], "real"), ("add", [whole(), whole()], "integer"), ("exp", [real()], "real"),
     ("greater", [real(), real()], "boolean"), ("floor", [real()], "integer"), ("as_real", [whole()], "real"),
     ("opposite", [truth()], "boolean"), ("as_integer", [truth()], "integer")],
)  # fmt: skip
def test_a_result_of_another_kind_is_refused(operation: str, arguments: Any, kind: str, declared: str) -> None:
    if declared == kind:
        derived(operation, arguments, (4,), declared)
    else:
        refused(operation, arguments, (4,), declared)


def test_a_mean_of_whole_numbers_is_no_whole_number() -> None:
    refused("mean", [whole()], (), "integer", axes=(0,), keep=False)
    assert derived("sum", [whole()], (), "integer", axes=(0,), keep=False).regularity == CONSTANT


@pytest.mark.parametrize("operation", ["take", "gather"])
def test_nothing_is_known_of_what_is_read_from_a_mask(operation: str) -> None:
    masked = ((4,), "real", Line(POLYNOMIAL, EVERYTHING, np.array([True, False, False, False])))
    assert derived(operation, [masked, whole((4,), within(0, 3).bounds)], (4,), axis=0) == OPEN


@pytest.mark.parametrize(
    ("operation", "kind", "attributes"),
    [("parameter", "integer", {"name": "x"}), ("tokens", "integer", {}), ("tokens", "real", {"vocabulary": 7}),
     ("tokens", "boolean", {"vocabulary": 7}), ("tokens", "integer", {"vocabulary": 0}),
     ("remainder", "integer", {"by": 0})],
)  # fmt: skip
def test_leaves_that_are_not_what_they_say_are_refused(operation: str, kind: str, attributes: Any) -> None:
    arguments = [whole()] if operation == "remainder" else []
    refused(operation, arguments, (4,), kind, shape=(4,), **({"kind": kind} | attributes))


def test_leaves_are_what_they_say() -> None:
    prompt = derived("tokens", [], (1, 4), "integer", shape=(1, 4), kind="integer", vocabulary=7)
    assert prompt == Line(CONSTANT, Interval(Fraction(0), False, Fraction(6)))
    assert derived("parameter", [], shape=(4,), kind="real", name="x") == Line(POLYNOMIAL)
    assert derived("constant", [], shape=(4,), kind="real") == Line(CONSTANT)
    values = [Constant((2,), "real", (HALF, -math.inf))]
    line = derived("constant", [], (2,), values=values, shape=(2,), kind="real", value=0)
    assert (line.bounds, line.mask.tolist()) == (Interval.point(HALF), [False, True])
    for shape in ((), (3,), (2, 0)):
        alone = [Constant(shape, "real", (-math.inf,))]
        found = derived("constant", [], shape, values=alone, shape=shape, kind="real", value=0).mask
        assert found.shape == shape
        assert found.all()


@pytest.mark.parametrize("size", [2**28, 2**28 + 1])
def test_no_mask_is_followed_beyond_what_can_be_written_out(size: int) -> None:
    mask = np.broadcast_to(np.array(True), (size,))
    line = derived("add", [(mask.shape, "real", Line(POLYNOMIAL, EVERYTHING, mask)), real((size,))], (size,))
    assert (line == OPEN) == (size > 2**28)


def test_a_constant_of_one_entry_that_stands_for_too_many_is_no_mask() -> None:
    values = [Constant((2**28 + 1,), "real", (-math.inf,))]
    refused("constant", [], (2**28 + 1,), values=values, shape=(2**28 + 1,), kind="real", value=0)


@pytest.mark.parametrize("operation", ["maximum", "minimum"])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "hidden", [Line(POLYNOMIAL, within(0, 1).bounds, np.array([True, False, False, False])), Line(UNPROVED)]
)
def test_what_may_be_no_number_is_not_left_out_for_being_small(operation: str, place: int, hidden: Line) -> None:
    """On either side, and however far beyond the other the one that is known lies."""
    far = within(-9, -8) if operation == "minimum" else within(8, 9)
    arguments = [real((4,), hidden), real((4,), far)]
    assert derived(operation, arguments if place else arguments[::-1]) == OPEN
    beyond = real((4,), replace(hidden, bounds=within(0, 1).bounds))
    assert derived(operation, [beyond, real((4,), far)] if place else [real((4,), far), beyond]) == OPEN


def test_what_is_unproved_stays_so_where_it_is_multiplied_by_0() -> None:
    negative = within(-2, -1).bounds
    assert derived("relu", [real((4,), Line(UNPROVED, negative))]).regularity == UNPROVED
    assert derived("relu", [real((4,), Line(POLYNOMIAL, negative))]).regularity == CONSTANT


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("around", [(-9, -7), (-3, 9), (2, 4), (7, 8)])
def test_limits_in_the_wrong_order_give_the_upper_one(around: Any, opened: bool) -> None:
    line = derived("clamp", [real((4,), within(*around, opened))], low=Fraction(5), high=Fraction(1))
    assert line.bounds == Interval.point(Fraction(1))


@pytest.mark.parametrize(
    ("values", "largest"),
    [((-math.inf, 0), False), ((0, 0), False), ((-math.inf, -math.inf), True)],
)
def test_only_minus_infinity_everywhere_is_less_than_every_number(values: Any, largest: bool) -> None:
    """As a constant beside what may be anything: nothing else may be left out."""
    held = [Constant((2,), "real", values)]
    mask = np.array([value == -math.inf for value in values])
    bottom = Node("constant", (), {"value": 0}, TensorType((2,), "real"))
    line = Line(POLYNOMIAL, EVERYTHING)
    known = Line(CONSTANT, EVERYTHING if mask.any() else Interval.point(Fraction(0)), mask if mask.any() else None)
    found = derived("maximum", [real((2,), line), real((2,), known)], (2,), constants=[None, bottom], values=held)
    assert (found == line) == largest


@pytest.mark.parametrize("operation", ["parameter", "abs", "zeros"])
def test_a_value_is_read_of_constants_alone(operation: str) -> None:
    """A node that is no constant may carry an attribute of that name, in a forged graph."""
    known = Constant((4,), "real", (float("-inf"),))
    named = Node(operation, (), {"value": 0, "name": "w"}, TensorType((4,), "real"))
    largest = derived("maximum", [real(), real()], constants=(None, named), values=(known,))
    assert largest.regularity > POLYNOMIAL
    constant = Node("constant", (), {"value": 0}, TensorType((4,), "real"))
    assert derived("maximum", [real(), real()], constants=(None, constant), values=(known,)).regularity == POLYNOMIAL
    which = Constant((4,), "boolean", (True,))
    chosen = Node(operation, (), {"value": 0, "name": "w"}, TensorType((4,), "boolean"))
    masked = real(line=Line(POLYNOMIAL, EVERYTHING, np.ones(4, dtype=bool)))
    selected = derived("select", [truth(), real(), masked], constants=(chosen,), values=(which,))
    assert selected == OPEN or selected.mask is not None
