"""Work that is shared with forked processes: in order, and never waited for in vain."""

import multiprocessing
import os
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.errors import InvalidInput
from proofs.processes import can_fork, in_order

pytestmark = pytest.mark.skipif(not can_fork(), reason="the system cannot fork")


def moved(subject: int, item: int) -> int:
    return subject + item


def fails_at_two(_subject: None, item: int) -> int:
    if item == 2:
        raise InvalidInput("Expected another, but got 2; leave it away.")
    return item


def killed_at_two(_subject: None, item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)  # what a system does that has no memory left
    return item


@given(st.integers(), st.lists(st.integers(), max_size=9), st.sampled_from([1, 2]))
def test_results_come_in_the_order_of_the_items(subject: int, items: list[int], workers: int) -> None:
    assert list(in_order(subject, moved, items, workers)) == [subject + item for item in items]


def test_a_process_that_is_killed_is_an_error_and_not_waited_for() -> None:
    with pytest.raises(MemoryError, match="ended from outside"):
        list(in_order(None, killed_at_two, range(6), 2))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_is_raised_and_no_process_stays(workers: int) -> None:
    found: list[int] = []
    with pytest.raises(InvalidInput, match="got 2"):
        found.extend(in_order(None, fails_at_two, range(6), workers))
    assert multiprocessing.active_children() == []


def test_nobody_works_on_for_one_who_has_seen_enough() -> None:
    results = in_order(3, moved, range(1000), 2)
    assert next(results) == 3
    results.close()  # type: ignore[attr-defined]  # a generator
    assert multiprocessing.active_children() == []
    assert list(in_order(4, moved, [1], 2)) == [5]  # and what was shared is that of the next one


@settings(max_examples=10)
@given(st.lists(st.sampled_from([1, 2]), min_size=2, max_size=3), st.data())
def test_works_that_go_on_at_once_keep_their_own_subjects(workers: list[int], data: st.DataObject) -> None:
    """As they do in threads: each begins while another is under way, and some are left before they end."""
    works = [in_order(100 * number, moved, range(3), count) for number, count in enumerate(workers)]
    left = data.draw(st.sampled_from([None, *range(len(works))]))
    found: dict[int, list[int]] = {number: [] for number in range(len(works))}
    for number in data.draw(st.permutations([*range(len(works))] * 3)):
        if number == left:
            works[number].close()  # type: ignore[attr-defined]  # a generator
        else:
            found[number].append(next(works[number]))
    assert all(rows == [100 * n, 100 * n + 1, 100 * n + 2] for n, rows in found.items() if n != left)
    for work in works:
        work.close()  # type: ignore[attr-defined]  # a generator
    assert multiprocessing.active_children() == []
