"""Threads of one process that prove and check at once find what each finds alone."""

import os
import random
import signal
import threading
import time
from collections.abc import Sequence

import flint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs import Verdict, check
from proofs.arithmetic.ball import Balls
from proofs.processes import can_fork
from proofs.provers.vocabulary import certify_vocabulary
from tests.at_once import at_once
from tests.proofs.building import attention_net
from tests.proofs.decoders import weights_of

TOKENS = 300  # more than are enclosed at a time


def test_margins_over_vocabularies_are_those_of_one_alone() -> None:
    """`docs/separation.md`: a bound holds for the weights it is stated of, whatever else is bounded meanwhile."""
    graph = attention_net(vocabulary=TOKENS)
    weights = [weights_of(graph) for _ in range(2)]
    for number, part in enumerate(weights):  # different closest pairs
        part["embedding"] = part["embedding"] * (1 + number)
        part["embedding"][TOKENS - 1] = part["embedding"][5 + number] + 2.0 ** -(10 + number)
    works = [lambda part=part: certify_vocabulary(graph, part, (3, 1), TOKENS).to_json() for part in weights]
    alone = [work() for work in works]
    assert at_once(*works) == alone
    checks = [lambda c=c, w=w: check(c, w).verdict for c, w in zip(alone, weights, strict=True)]
    assert at_once(*checks) == [Verdict.ACCEPTED] * 2


@given(st.lists(st.lists(st.integers(24, 400), min_size=1, max_size=3), min_size=2, max_size=3), st.integers(0, 99))
def test_each_has_the_precision_it_entered_with(bits: list[list[int]], seed: int) -> None:
    waits = random.Random(seed)

    def nested(of: Sequence[int]) -> bool:
        """Enters one within the other; whether the precision is the entered one on the way in and on the way out."""
        with Balls(of[0]):
            time.sleep(waits.random() / 2000)
            held = flint.ctx.prec == of[0]
            return held and (len(of) == 1 or nested(of[1:])) and flint.ctx.prec == of[0]

    before = flint.ctx.prec
    assert at_once(*(lambda of=of: nested(of) for of in bits)) == [True] * len(bits)
    assert flint.ctx.prec == before


@pytest.mark.skipif(not can_fork(), reason="the system cannot fork")
def test_a_forked_process_does_not_wait_for_a_thread_it_has_not() -> None:
    entered = threading.Event()

    def stays() -> None:
        with Balls(300):
            entered.set()
            time.sleep(0.1)

    thread = threading.Thread(target=stays)
    thread.start()
    entered.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # ends it, if it waits
        with Balls(100):
            os._exit(int(flint.ctx.prec != 100))
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    with Balls(100):
        assert flint.ctx.prec == 100
