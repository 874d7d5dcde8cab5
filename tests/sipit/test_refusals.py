"""Memory that runs out is no answer of a model: wherever it happens, it is raised, and nothing is concluded from it."""

import pytest
import torch

import sipit
from proofs.errors import InvalidInput
from sipit.models import load_model
from sipit.models.refusals import REFUSALS, Refusals
from tests.sipit.cases import rest_slow

SHORT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
ON_THE_CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory")


def inverted(model):
    return sipit.invert(model, sipit.capture(model, [[1, 2, 3, 2]], layer=1))


def observed(name, site):
    return sipit.capture(load_model(name), [[1, 2]], layer=1, observe=site)


WORK = {
    "loading": lambda: load_model("tiny-llama"),
    "inverting": lambda: inverted(load_model("tiny-qwen2")),
    "keys before they are turned": lambda: observed("tiny-llama", "keys-unrotated"),
    "the router": lambda: observed("tiny-mixtral", "experts"),
}  # fmt: skip


class Failing:
    """A module's forward that fails at one of its calls, and counts them."""

    def __init__(self, at, error):
        self.at, self.error, self.calls = at, error, 0
        self.forward = torch.nn.Linear.forward

    def __call__(self, module, rows):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.forward(module, rows)

    def during(self, monkeypatch, work):
        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.Linear, "forward", lambda module, rows: self(module, rows))
            return work()


@pytest.mark.parametrize("name", rest_slow("inverting", of=WORK))
def test_it_is_raised_at_whatever_call_it_happens(monkeypatch, name):
    WORK[name]()  # what is kept from a first time is not done again
    counted = Failing(0, SHORT)
    counted.during(monkeypatch, WORK[name])
    assert counted.calls > 20
    for at in range(1, counted.calls + 1, max(1, counted.calls // 12)):
        for error in (SHORT, ON_THE_CPU):
            with pytest.raises((RuntimeError, InvalidInput), match=r"memory|ran out"):
                Failing(at, error).during(monkeypatch, WORK[name])


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_a_body_raises_otherwise_is_a_refusal(kind):
    with Refusals() as refusals:
        raise kind("no such argument")
    assert isinstance(refusals.reason, kind)


@pytest.mark.parametrize("error", [SHORT, ON_THE_CPU, MemoryError(), KeyboardInterrupt()])
def test_what_is_none_passes(error):
    with pytest.raises(type(error)), Refusals():
        raise error
