"""Changed proofs of captured networks: what holds for a toy holds for what the library's own code gives."""

import functools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from numerics.graphs.capture import capture_graph
from numerics.networks.shrinking import small_copy
from proofs import Verdict, check, prove_analytic
from tests.proofs.mutating import assert_sound, mutations


@functools.cache
def proof_of(name: str) -> dict[str, Any]:
    """The proof of a small network of two blocks."""
    found = prove_analytic(capture_graph(small_copy(AutoConfig.for_model(name)), length=3))
    return json.loads(json.dumps(found.to_json()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_changed_proof_of_a_captured_network_is_rejected_or_true(name: str, data: st.DataObject) -> None:
    proof = proof_of(name)
    assert check(proof).verdict is Verdict.ACCEPTED
    assert_sound(data.draw(mutations(proof)))
