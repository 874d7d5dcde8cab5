"""Whatever is given for any argument of any public function: a result, or `SipitError`; never another exception.

Functions that are given are not drawn: what they raise is whoever's they are.
"""

import copy
import dataclasses
import decimal
import fractions
import inspect
import re
import types
from collections.abc import Container
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

import numerics
import proofs
import sipit
from numerics.networks.shrinking import small_copy
from proofs.errors import InvalidInput, SipitError
from sipit.models.tiny import tiny_config
from sipit.privacy.defences import DEFENCES
from tests.sipit.cases import tiny

IDS = [97, 98]
POINTS = np.random.default_rng(0).normal(size=(6, 3))
NUMBERS = st.one_of(
    st.integers(-2, 4), st.booleans(),
    st.sampled_from([10**12, 2**70, -(2**70), 0.5, -0.5, 1.0, 1e-30, np.nan, np.inf, 1j]),
    st.sampled_from([fractions.Fraction(1, 2), decimal.Decimal("0.01"), np.int64(1), np.float32(0.5), np.bool_(True)]),
    st.sampled_from([torch.tensor(1), torch.tensor(0.5), np.array(1)]),
)  # fmt: skip
WORDS = st.sampled_from([
    "", "x", "1", "1,2", "final", "auto", "a\ud800", "a\0b", "a" * 300, "{0}[(", b"1", "gaussian", "keys", "cuda:99",
    "meta", Path("x"), Path("."), "left", "float32",
])  # fmt: skip
THINGS = st.sampled_from([
    None, ..., torch.float32, torch.int8, torch.device("cpu"), DEFENCES["clip"], slice(2), np.datetime64("2020-01-01"),
    np.array([1, 2]), np.array(["a"]), np.array([]), np.array([None, 1], dtype=object), POINTS, POINTS[:1],
    POINTS * np.nan, torch.tensor([1.5]), torch.tensor([1, 2]), torch.zeros(2, 2), torch.zeros(2, 64, device="meta"),
    {1}, {}, {"a": 1}, range(1, 3), range(0), [[[1]]], object(),
])  # fmt: skip
ONE = st.one_of(NUMBERS, WORDS, THINGS)
ODD = st.one_of(
    ONE, st.lists(ONE, max_size=3), st.tuples(ONE), st.tuples(ONE, ONE), st.lists(ONE, max_size=2).map(iter)
)  # fmt: skip


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """A sound call of every public function that works."""
    model, folder = tiny("gpt2"), tmp_path_factory.mktemp("calls")
    states = sipit.capture(model, [IDS], layer=1)
    sipit.write_states(folder / "states.safetensors", states)
    config = small_copy(tiny_config("gpt2"))
    torch.manual_seed(0)
    weights = AutoModelForCausalLM.from_config(config).state_dict()
    graph = numerics.capture_graph(config, 1, length=2)
    pair = {"graph": graph, "weights": weights, "prompts": [[1, 2], [2, 1]]}
    record = Path(__file__).parents[1] / "sipit" / "records" / "check.json"
    (folder / "record.json").write_bytes(record.read_bytes())
    return {
        sipit.capture: {"model": model, "prompts": [IDS], "layer": 1},
        sipit.invert: {"model": model, "states": states},
        sipit.load_model: {"name": "tiny-gpt2"},
        sipit.read_states: {"path": folder / "states.safetensors", "layer": 1, "model": model},
        sipit.write_states: {"path": folder / "others.safetensors", "states": states},
        sipit.States: {"arrays": states.arrays, "layer": 1},
        sipit.audit_states: {"model": model, "states": states, "prompts": [IDS], "rate": 0.1},
        sipit.compare_runs: {"first": model, "second": model, "prompts": [IDS]},
        sipit.measure_leak: {"model": model, "prompts": [IDS], "layers": [1], "defences": ["clip"], "strengths": [0.1],
                             "candidates": 4},
        numerics.closest_pair: {"points": POINTS},
        numerics.closest_pairs: {"points": POINTS, "count": 2},
        numerics.pairs_within: {"points": POINTS, "threshold": 0.5},
        numerics.bit_identical: {"points": POINTS},
        numerics.duplicate_rows: {"weight": torch.tensor(POINTS)},
        numerics.nearest_rows: {"weight": torch.tensor(POINTS)},
        numerics.capture_graph: {"source": config, "layer": 1, "length": 2},
        numerics.evaluate_float64: {"graph": graph, "parameters": weights, "tokens": [1, 2]},
        proofs.prove_analytic: {"graph": graph},
        proofs.certify_separation: pair,
        proofs.certify_vocabulary: {"graph": graph, "weights": weights, "prefix": [1], "tokens": 4},
        proofs.check: {"certificate": proofs.certify_separation(**pair), "weights": weights},
        proofs.read_record: {"path": folder / "record.json"},
    }  # fmt: skip


# Public names that are no such functions: what others return, errors, and the interpreter, which takes number systems.
RESULTS = {
    "sipit": {"Alternative", "Inversion", "LanguageModel", "Outcome", "TokenResult", "Tolerance"},
    "numerics": {"ClosePairs", "Pair"},
    "proofs": {
        "SCHEMA", "AnalyticityProof", "CheckResult", "Claim", "Constant", "Evidence", "Graph", "InvalidInput",
        "MissingResource", "Node", "Obstruction", "Obstructions", "Record", "SeparationCertificate", "SipitError",
        "TensorType", "Unsupported", "Verdict", "VocabularyMargin", "evaluate",
    },
}  # fmt: skip


def test_every_public_function_is_called(calls):
    for package in (sipit, numerics, proofs):
        called = {function.__name__ for function in calls if function.__module__.startswith(f"{package.__name__}.")}
        assert called == {*package.__all__} - RESULTS[package.__name__]


def names_of(function):
    return list(inspect.signature(function).parameters)


def assert_answered_or_told(calls, function, argument, value):
    try:
        function(**{**calls[function], argument: value})
    except SipitError as refusal:
        said = str(refusal)
        assert re.match(r"[A-Z].*[.?]$", said, re.DOTALL), (function, argument, value, said)


@pytest.fixture
def aside(tmp_path, monkeypatch):
    """A folder that relative names are looked up in, and written to."""
    monkeypatch.chdir(tmp_path)


def parts(result):
    """A result, and the results that it is made of."""
    yield result
    if dataclasses.is_dataclass(result):
        for field in dataclasses.fields(result):
            part = getattr(result, field.name)
            first = part[0] if isinstance(part, list | tuple) and part else part
            if dataclasses.is_dataclass(first):
                yield from parts(first)


def test_results_are_compared_and_sought_without_an_error(calls):
    """Whatever a public function returns, and every part of it: `==`, `in`, and `hash` where Python has one of it."""
    for function, arguments in calls.items():
        for one in parts(function(**arguments)):
            if isinstance(one, torch.Tensor):
                continue  # torch's own
            other = copy.deepcopy(one)
            assert (one == one) is True
            assert (one == other) in (True, False)
            assert one in [other, one]
            if isinstance(one, Container):
                assert object() not in one
                assert all(part in one for part in one)
            try:
                hash(one)
            except TypeError as error:
                assert str(error).startswith("unhashable type"), type(one)


def hidden(given):
    """The same numbers, of which a mask hides some; an array is one, or a list of its rows."""
    array = np.asarray(given, dtype=np.float32)
    masked = np.ma.array(array, mask=np.arange(array.size).reshape(array.shape) == 0)
    return [masked, list(masked)] if array.ndim > 1 else [masked]


def test_numbers_that_a_mask_hides_are_never_used(calls):
    """At every door that takes an array: beside it, what hides nothing is taken."""
    doors = {
        numerics.evaluate_float64: "parameters", proofs.certify_separation: "weights",
        proofs.certify_vocabulary: "weights", proofs.check: "weights", sipit.States: "arrays",
        numerics.closest_pair: "points", numerics.closest_pairs: "points", numerics.pairs_within: "points",
        numerics.bit_identical: "points", numerics.duplicate_rows: "weight", numerics.nearest_rows: "weight",
    }  # fmt: skip
    for function, argument in doors.items():
        given = calls[function][argument]
        name = next((name for name in given if "wpe" in name), None) if isinstance(given, dict) else None
        plain = given[name] if name else given[0] if isinstance(given, tuple) else given
        for some in hidden(plain):
            some = {**given, name: some} if name else [some] if isinstance(given, tuple) else some
            try:
                found = function(**{**calls[function], argument: some})
            except InvalidInput as error:
                said = str(error)
            else:  # what a certificate is given with is held against it
                assert function is proofs.check and found.verdict == "rejected"
                said = found.reason
            assert re.search(r"a mask hides some of .*; give the rows that count\.$", said), (function, said)
        if not name:
            function(**{**calls[function], argument: [np.ma.array(np.asarray(plain))] if isinstance(given, tuple) else
                        np.ma.array(np.asarray(plain))})  # fmt: skip


class Rows(torch.nn.Module):
    """A network of one's own; what it calls its config is its own affair, and so is how it goes forward."""

    def __init__(self, config=None, forward=None):
        super().__init__()
        self.rows = torch.nn.Embedding(4, 2)
        if config is not None:
            self.config = config
        if forward is not None:
            self.forward = forward

    def forward(self, ids):
        return self.rows(ids).tanh()


class Wrapped(torch.nn.Module):
    """A model of the library in somebody's module, which hands on its config."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config = inner, inner.config

    def forward(self, ids):
        return self.inner(ids).logits


@dataclasses.dataclass
class Sizes:
    n_layer: int = 1


CONFIGS = {
    "data class": Sizes(), "object": {"n_layer": 1}, "namespace": SimpleNamespace(hidden_size=2), "text": "gpt",
    "class": Sizes, "path": Path("config.json"),
}  # fmt: skip
MODULES = {
    **{name: lambda config=config: Rows(config) for name, config in CONFIGS.items()},
    "without parameters": torch.nn.Identity, "of other input": lambda: torch.nn.Linear(2, 2),
    "a table": lambda: torch.nn.Embedding(4, 2), "unwritten": torch.nn.Module, "empty": torch.nn.Sequential,
    "a library's": lambda: AutoModelForCausalLM.from_config(small_copy(tiny_config("gpt2"))),
    "wrapped": lambda: Wrapped(AutoModelForCausalLM.from_config(small_copy(tiny_config("gpt2")))),
    "scripted": lambda: torch.jit.script(Rows()), "in parallel": lambda: torch.nn.DataParallel(Rows(Sizes())),
    "of no tensor": lambda: Rows(forward=lambda ids: "states"), "of several": lambda: Rows(forward=lambda ids: []),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_captured_or_told(calls, name):
    assert_answered_or_told(calls, numerics.capture_graph, "source", MODULES[name]())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_ones_own_changes_nothing(name):
    plain, other = (numerics.capture_graph(Rows(config), length=2) for config in (None, CONFIGS[name]))
    assert other.to_json() == plain.to_json()


def test_a_capture_leaves_a_module_as_it_was():
    """Blocks behind the layer are passed by; one that had a way forward of its own, as accelerate gives, keeps it."""
    model = AutoModelForCausalLM.from_config(tiny_config("gpt2"))
    last = model.transformer.h[-1]
    last.forward = types.MethodType(type(last).forward, last)
    before = [dict(vars(part)) for part in model.modules()]
    numerics.capture_graph(model, 1, length=2)
    assert [{**vars(part)} for part in model.modules()] == before


@settings(max_examples=250)
@given(data=st.data())
def test_an_odd_argument_is_answered_or_told(calls, aside, data):
    function = data.draw(st.sampled_from(list(calls)))
    argument = data.draw(st.sampled_from(names_of(function)))
    assert_answered_or_told(calls, function, argument, data.draw(ODD))


EACH = [
    None, True, 2**70, -1, 0.5, np.nan, "", "x", "a\0b", "a" * 300, b"1", [], [1, 2], (1, 2**70), {1}, {"a": 1},
    range(2), np.array([1, 2]), np.array([]), torch.zeros(2, 2), torch.tensor(1.5), object(),
]  # fmt: skip


@pytest.mark.slow
def test_each_argument_of_each_function_is_answered_or_told(calls, aside):
    for function in calls:
        for argument in names_of(function):
            for value in EACH:
                if value is None and (function, argument) == (sipit.measure_leak, "prompts"):
                    continue  # the built-in text, which takes seconds
                assert_answered_or_told(calls, function, argument, value)


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "a\ud800", None, 3, b"x"])
def test_what_is_no_name_is_no_model_whatever_its_type(name):
    for dtype in ("auto", "float32"):
        with pytest.raises(InvalidInput, match=r"^Expected .*; "):
            sipit.load_model(name, dtype=dtype)


@pytest.mark.parametrize("layers", [
    1, 2, np.int64(1), torch.tensor(1), np.array(1), range(1, 3), [1, 2], (2, 1, 1), np.array([1, 2]), iter([2]), None,
])  # fmt: skip
def test_layers_of_a_leak_are_taken_as_they_are_meant(layers):
    found = sipit.measure_leak(tiny("gpt2"), [IDS], layers=layers, defences="clip", strengths=0.1, candidates=4)
    assert set(found.layers) <= {1, 2} and list(found.layers) == sorted(set(found.layers))


@pytest.mark.parametrize("layers", ["final", "1", 0, 3, 1.0, True, [], [1, "final"], {1}])
def test_what_are_no_layers_of_a_leak_is_refused(layers):
    with pytest.raises(InvalidInput, match=r"^Expected layers .*; "):
        sipit.measure_leak(tiny("gpt2"), [IDS], layers=layers)


@pytest.mark.parametrize("prompts", [["12", "21"], [[1.5, 2.0], [2, 1]], "12"])
def test_text_and_fractions_are_no_token_ids_of_a_certificate(calls, prompts):
    with pytest.raises(InvalidInput, match="whole numbers"):
        proofs.certify_separation(**{**calls[proofs.certify_separation], "prompts": prompts})
