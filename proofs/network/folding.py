"""Repeated layers of a graph in JSON are written once: a block of rows, how often it stands, and what counts up.

From one repetition to the next an argument grows by a fixed step (0 for what all layers share), and so does a number
in a name ("model.layers.3.mlp"). Nothing else may differ. This is a way to write rows, not a claim: a reader unfolds
the block, and the kernel derives every row of it anew.
"""

import re
from collections.abc import Sequence
from typing import Any

from proofs.errors import InvalidInput

LARGEST = 2**21  # rows of a graph, written out
FEWEST = 3  # repetitions that are worth a block
CANDIDATES = 12  # periods that are tried at a row
DAMAGED = "Expected blocks of rows with a count of repetitions, but got something else; the file is damaged."


def folded(data: dict[str, Any]) -> dict[str, Any]:
    """The graph's JSON with repeated rows as blocks `{"times": n, "rows": [...]}`."""
    whole = [_Row(row, data) for row in data["nodes"]]
    nodes: list[Any] = []
    start = 0
    while start < len(whole):
        period, times = _longest(whole, start)
        if times >= FEWEST:
            second = whole[start + period : start + 2 * period]
            rows = [_joined(a, b) for a, b in zip(whole[start : start + period], second, strict=True)]
            nodes.append({"times": times, "rows": rows})
            start += period * times
        else:
            nodes.append(list(whole[start].row))
            start += 1
    return _used({**data, "nodes": nodes})


def unfolded(data: Any) -> Any:
    """The graph's JSON with every block written out; anything that is no object is left for the reader to refuse.

    Raises:
        InvalidInput: a block is damaged, or the rows are more than any graph has.
    """
    nodes = data.get("nodes") if isinstance(data, dict) else None
    if not isinstance(nodes, list) or not any(isinstance(entry, dict) for entry in nodes):
        return data
    table = {name: list(_is(data.get(name), list)) for name in ("attributes", "places")}
    rows: list[Any] = []
    for entry in nodes:
        if not isinstance(entry, dict):
            rows.append(entry)
            continue
        times, block = _count(entry.get("times")), _is(entry.get("rows"), list)
        if len(rows) + times * len(block) > LARGEST:
            raise InvalidInput(f"Expected a graph of at most {LARGEST} nodes, but the blocks of this one hold more.")
        for repetition in range(times):
            rows.extend(_at(row, repetition, table) for row in block)
    return {**data, **table, "nodes": rows}


def extent(data: Any) -> tuple[int, int, int]:
    """How many rows and arguments a graph's JSON has with every block written out, and the characters of its blocks."""
    rows = arguments = characters = 0
    nodes = data.get("nodes") if isinstance(data, dict) else None
    for entry in nodes if isinstance(nodes, list) else ():
        block = entry.get("rows") if isinstance(entry, dict) else None
        if isinstance(block, list):
            times = _count(entry.get("times"))
            rows += times * len(block)
            arguments += times * sum(map(_arguments, block))
            characters += times * len(str(block))
        else:
            rows += 1
            arguments += _arguments(entry)
    return rows, arguments, characters


def _arguments(row: Any) -> int:
    return len(row[1]) if isinstance(row, list) and len(row) > 1 and isinstance(row[1], list) else 0


class _Row:
    """A row with its name and place in full, cut at their numbers, and what may not change under repetition."""

    def __init__(self, row: list[Any], data: dict[str, Any]) -> None:
        self.row = row
        attributes, place = data["attributes"][row[2]], data["places"][row[4]]
        name = attributes.get("name")
        self.name = _cut(name) if isinstance(name, str) else []
        self.module, self.source = _cut(place[0]), place[1]
        self.attributes = attributes
        self.fixed = (
            row[0], len(row[1]), row[3], self.source, repr({k: v for k, v in attributes.items() if k != "name"}),
            self.name[::2], self.module[::2],
        )  # fmt: skip

    def numbers(self) -> list[int]:
        """All that may count up."""
        return [*self.row[1], *map(int, self.name[1::2]), *map(int, self.module[1::2])]


def _cut(text: str) -> list[str]:
    """Words and numbers in turn; a number is written without leading zeros, so that counting gives it back."""
    return re.split(r"(?<!\d)(0|[1-9]\d{0,8})(?!\d)", text)


def _longest(whole: Sequence[_Row], start: int) -> tuple[int, int]:
    """The period and count of the repetition from a row on that saves most."""
    best = (1, 1)
    tried = 0
    for other in range(start + 1, (len(whole) + start) // 2 + 1):
        if whole[other].fixed != whole[start].fixed:
            continue
        period, tried = other - start, tried + 1
        times = _times(whole, start, period)
        if times >= FEWEST and (times - 1) * period > (best[1] - 1) * best[0]:
            best = (period, times)
        if tried == CANDIDATES:
            break
    return best


def _times(whole: Sequence[_Row], start: int, period: int) -> int:
    """How often the rows of one period stand one after the other, everything counting up by the same steps."""
    steps: list[list[int]] = []
    times = 1
    while start + (times + 1) * period <= len(whole):
        before, after = (whole[start + (times + k) * period : start + (times + k + 1) * period] for k in (-1, 0))
        if any(a.fixed != b.fixed for a, b in zip(before, after, strict=True)):
            break
        found = [
            [y - x for x, y in zip(a.numbers(), b.numbers(), strict=True)]
            for a, b in zip(before, after, strict=True)
        ]  # fmt: skip
        if steps and found != steps:
            break
        steps = found
        times += 1
    return times


def _joined(first: _Row, second: _Row) -> list[Any]:
    """One row of a block; what counts up stands in it, and not in a table."""
    arguments = [a if a == b else [a, b - a] for a, b in zip(first.row[1], second.row[1], strict=True)]
    attributes, place = first.row[2], first.row[4]
    if first.name != second.name:
        attributes = {**first.attributes, "name": _numbered(first.name, second.name)}
    if first.module != second.module:
        place = [_numbered(first.module, second.module), first.source]
    return [first.row[0], arguments, attributes, first.row[3], place]


def _numbered(first: list[str], second: list[str]) -> list[Any]:
    return [a if a == b else [int(a), int(b) - int(a)] for a, b in zip(first, second, strict=True)]


def _used(data: dict[str, Any]) -> dict[str, Any]:
    """Without the table entries that no row names any more."""
    rows = [row for entry in data["nodes"] for row in (entry["rows"] if isinstance(entry, dict) else [entry])]
    for field, column in ((2, "attributes"), (4, "places")):
        order = {
            old: new for new, old in enumerate(sorted({row[field] for row in rows if isinstance(row[field], int)}))
        }
        data[column] = [data[column][old] for old in order]
        for row in rows:
            row[field] = order[row[field]] if isinstance(row[field], int) else row[field]
    return data


def _at(row: Any, repetition: int, table: dict[str, list[Any]]) -> Any:
    """A row of a block in one of its repetitions; a name that counts up gets a place of its own in the table."""
    if not isinstance(row, list) or len(row) != 5:
        raise InvalidInput(DAMAGED)
    arguments = [
        argument if not isinstance(argument, list) else _counted(argument, repetition) for argument in _is(row[1], list)
    ]
    attributes, place = row[2], row[4]
    if isinstance(attributes, dict):
        table["attributes"].append({**attributes, "name": _text(attributes.get("name"), repetition)})
        attributes = len(table["attributes"]) - 1
    if isinstance(place, list) and len(place) == 2:
        table["places"].append([_text(place[0], repetition), place[1]])
        place = len(table["places"]) - 1
    return [row[0], arguments, attributes, row[3], place]


def _text(parts: Any, repetition: int) -> str:
    return "".join(p if isinstance(p, str) else str(_counted(p, repetition)) for p in _is(parts, list))


def _counted(pair: Any, repetition: int) -> int:
    """base + repetition * step."""
    if not isinstance(pair, list) or len(pair) != 2:
        raise InvalidInput(DAMAGED)
    if any(isinstance(n, bool) or not isinstance(n, int) or abs(n) > LARGEST for n in pair):
        raise InvalidInput(DAMAGED)
    return pair[0] + repetition * pair[1]


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise InvalidInput(DAMAGED)
    return value


def _is(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise InvalidInput(DAMAGED)
    return value
