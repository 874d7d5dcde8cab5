"""Whatever was kept of a model is of its weights: a model that holds others than it was loaded with is refused."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sipit
from numerics.formats import FORMATS
from proofs.errors import InvalidInput
from sipit.claims.certify import certify
from sipit.models.architecture import language_model_of
from sipit.models.copies import copied, in_dtype
from sipit.models.language_model import check_loaded
from sipit.models.tiny import tiny_module
from sipit.quantization.formatted import in_format
from tests.sipit.cases import tiny

IDS = [97, 98]


def own():
    """A model of this test alone."""
    return language_model_of("own", tiny_module("gpt2", seed=5))


def stepped(module, parameter):
    parameter.requires_grad_(True)
    parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD([parameter], lr=0.1).step()


def renamed(module, parameter):
    name = next(name for name, one in module.named_parameters() if one is parameter)
    module.get_submodule(name.rpartition(".")[0]).register_parameter(
        name.rpartition(".")[2], torch.nn.Parameter(parameter.detach() + 1)
    )


CHANGES = {
    "a step": stepped,
    "one entry": lambda _module, parameter: parameter.detach().flatten()[-1:].add_(1),
    "through data": lambda _module, parameter: parameter.data.mul_(1.5).add_(0.5),
    "data anew": lambda _module, parameter: setattr(parameter, "data", parameter.data + 1),
    "another parameter": renamed,
    "loaded": lambda module, _parameter: module.load_state_dict(tiny_module("gpt2", seed=6).state_dict()),
    "another type": lambda module, _parameter: module.bfloat16(),
}
FUNCTIONS = {
    "capture": lambda model, states: sipit.capture(model, [IDS], layer=1),
    "invert": lambda model, states: sipit.invert(model, states),
    "audit": lambda model, states: sipit.audit_states(model, states, [IDS], rate=0.1),
    "compare": lambda model, states: sipit.compare_runs(model, model, [IDS]),
    "leak": lambda model, states: sipit.measure_leak(
        model, [IDS], layers=[1], defences=["clip"], strengths=[0.1], candidates=4
    ),
    "certify": lambda model, states: certify(model, [IDS, IDS[::-1]], layer=1),
    "a format": lambda model, states: in_format(model, FORMATS["bf16"]),
    "a half type": lambda model, states: in_dtype(model, torch.float16),
    "a copy": lambda model, states: copied(model),
    "a deep copy": lambda model, states: copy.deepcopy(model),
    "a shallow copy": lambda model, states: copy.copy(model),
}


@given(st.sampled_from(sorted(CHANGES)), st.integers(0, 27), st.sampled_from(sorted(FUNCTIONS)))
def test_a_model_that_changed_is_refused(change, number, function):
    model, states = OWN, STATES
    before = copy.deepcopy(model.module.state_dict())
    parameters = list(model.module.parameters())
    CHANGES[change](model.module, parameters[number % len(parameters)])
    try:
        with pytest.raises(
            InvalidInput, match=r"^Expected own with the weights it was loaded with, but .* has changed"
        ):
            FUNCTIONS[function](model, states)
    finally:
        model.module.float().requires_grad_(False).load_state_dict(before)
        model.__post_init__()  # the next one finds it as it was


OWN = own()
STATES = sipit.capture(OWN, [IDS], layer=1)


def test_a_model_in_training_is_refused_until_it_is_not():
    model = own()
    model.module.train()
    with pytest.raises(InvalidInput, match=r"it is in training now; call model\.module\.eval\(\)\.$"):
        sipit.capture(model, [IDS], layer=1)
    model.module.eval()
    sipit.capture(model, [IDS], layer=1)


def refused(model):
    with pytest.raises(InvalidInput):
        sipit.capture(model, [[10**6]], layer=1)


def moved(module):
    """As `to` does for another device: the same numbers elsewhere."""
    module._apply(torch.clone)


USES = {
    "runs": lambda model: [
        function(model, STATES) for name, function in FUNCTIONS.items() if name in ("capture", "invert")
    ],
    "a copy": copied,
    "a deep copy": copy.deepcopy,
    "a half type": lambda model: in_dtype(model, torch.bfloat16),
    "float64": lambda model: in_dtype(model, torch.float64),
    "a format": lambda model: in_format(model, FORMATS["bf16"]).model,
    "shared memory": lambda model: model.module.share_memory() and None,
    "moved": lambda model: moved(model.module),
    "gradients asked for": lambda model: model.module.requires_grad_(True) and None,
    "an error": refused,
}


@pytest.mark.parametrize("use", USES)
def test_what_the_package_does_to_a_model_leaves_it_as_it_was(use):
    model = own()
    other = USES[use](model)
    check_loaded(model)
    if isinstance(other, sipit.LanguageModel):
        check_loaded(other)
        sipit.capture(other, [IDS], layer=1)


def test_a_shared_model_is_as_it_was_loaded():
    check_loaded(tiny("gpt2"))
