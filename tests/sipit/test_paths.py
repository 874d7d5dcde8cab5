"""The leaves of a record by their paths, and what stands for many of them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sipit.claims.paths import by_leaf, in_short
from tests.sipit.record_edits import leaves

names = st.text("abc", min_size=1, max_size=2)
values = st.recursive(
    st.integers(0, 9), lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3)
)
records = st.dictionaries(names, values, min_size=1, max_size=4)


def divided(record: Any, data: st.DataObject) -> tuple[list[str], list[str]]:
    """Paths that divide a record: each one drawn at some depth."""
    lists: tuple[list[str], list[str]] = ([], [])

    def below(path: str, value: Any) -> None:
        named = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        inner = list(named)
        if not inner or (path and data.draw(st.booleans())):
            lists[data.draw(st.integers(0, 1))].append(path)
        else:
            for name, held in inner:
                below(f"{path}.{name}".removeprefix("."), held)

    below("", record)
    return lists


def at_or_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}.")


@given(records, st.data())
def test_every_leaf_is_listed_where_its_path_was(record: Any, data: st.DataObject) -> None:
    paths = divided(record, data)
    listed = by_leaf(record, *paths)
    every = [path for path, _ in leaves(record)]
    for roots, found in zip(paths, listed, strict=True):
        assert found == [path for path in every if any(at_or_below(path, root) for root in roots)]


@given(records, st.data())
def test_what_there_is_no_room_for_is_listed_by_the_path_above(record: Any, data: st.DataObject) -> None:
    paths, room = divided(record, data), data.draw(st.integers(0, 60))
    listed = by_leaf(record, *paths, room=room)
    every = [path for path, _ in leaves(record)]
    for path in every:
        assert sum(at_or_below(path, root) for root in (*listed[0], *listed[1])) == 1
    expanded = [path for found, roots in zip(listed, paths, strict=True) for path in found if path not in roots]
    assert sum(map(len, expanded)) <= room


def test_long_names_above_long_lists_are_not_written_out() -> None:
    deep: Any = 0
    for _ in range(5000):
        deep = [deep]
    record = {"a" * 10**6: [0] * 10**5, "deep": deep, "short": [1, [2]]}
    derived, other = by_leaf(record, ["a" * 10**6], ["deep", "short"])
    assert derived == ["a" * 10**6]
    assert other == ["deep", "short.0", "short.1.0"]


@given(records, st.data())
def test_in_short_all_of_some_and_none_of_the_others(record: Any, data: st.DataObject) -> None:
    some, others = by_leaf(record, *divided(record, data))
    short = in_short(some, others)
    assert all(sum(at_or_below(path, root) for root in short) == 1 for path in some)
    assert not any(at_or_below(path, root) for path in others for root in short)
    assert len(short) <= len(some)


def test_in_short_looks_at_the_first_levels_alone() -> None:
    assert in_short(["a.b.c", "a.b.d", "a.e"], ["a.f.g"]) == ["a.b", "a.e"]
    assert in_short([], ["a"]) == []
    assert in_short([".".join("x" * 20)], [".".join("x" * 19) + ".y"]) == [".".join("x" * 20)]
    assert len(in_short(["." * 10**6, "a"], ["." * 10**6 + "b"])[0]) == 10**6
