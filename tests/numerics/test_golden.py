"""The class proved of many architectures, one block per kind of block, without a search for witnesses."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from numerics.graphs.capture import capture_graph
from proofs import Verdict, check, prove_analytic
from proofs.formal.graph_text import network_text
from tests.proofs.formal_programs import NO_CHECKER, judged

GOLDEN: dict[str, str] = json.loads(Path(__file__).with_name("golden_classes.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), GOLDEN.items())
def test_the_class_of_an_architecture_stays_what_it_was(name: str, expected: str) -> None:
    found = prove_analytic(capture_graph(AutoConfig.for_model(name), distinct=True))
    assert str(found.regularity) == expected
    assert check(found).verdict is Verdict.ACCEPTED
    if not NO_CHECKER:
        certificate = found.to_json()
        assert judged([network_text(name, certificate)]) == [f"accepted {name} {len(certificate['lines'])}"]
