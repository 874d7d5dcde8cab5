"""The numbering that was extracted from its proof, beside the kernel's, on captured networks of one narrow block."""

from typing import Any

import pytest
from transformers import AutoConfig

from numerics.graphs.capture import capture_graph
from proofs.kernel.value_numbering.number import Numbering
from tests.proofs.formal_programs import NO_NUMBERING, equated

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(NO_NUMBERING), reason=NO_NUMBERING)]
ONE = {
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "num_hidden_layers": 1,
    "intermediate_size": 4,
    "head_dim": 4,
}
RUNS, FAR = ((1,), (1, 1)), ((1, 2, 3), (4, 2, 3))
PAIRS = (RUNS, FAR, ((2, 1), (2, 1, 2, 1)), ((1, 2, 3), (2, 1, 3)), ((2, 1), (2, 2, 1)))


@pytest.mark.parametrize(
    ("name", "options", "shown"),
    [
        ("gpt2", {"n_embd": 4, "n_head": 1, "n_layer": 1, "n_positions": 8}, set()),
        ("bloom", {"hidden_size": 4, "n_head": 1, "n_layer": 1}, {RUNS}),
        ("llama", {"hidden_size": 4, **ONE}, {RUNS}),
        ("mistral", {"hidden_size": 4, "sliding_window": 2, **ONE}, {RUNS, FAR}),
    ],
)
def test_captured_networks_are_numbered_as_by_the_kernel(name: str, options: dict[str, Any], shown: set[Any]) -> None:
    config = AutoConfig.for_model(name, vocab_size=5, **options)
    graphs = {length: capture_graph(config, length=length) for length in (1, 2, 3, 4)}
    kernel = Numbering(graphs.values())
    for both in PAIRS:
        one, other = ((graphs[len(prompt)], prompt) for prompt in both)
        assert any(equated(one, other)) is (both in shown) is kernel.equal(*one, *other), both
