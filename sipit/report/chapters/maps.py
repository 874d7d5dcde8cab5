"""The map of `compare` or `audit`: what was found over what rounding explains, along the positions."""

from collections.abc import Mapping
from typing import Any

from sipit.report.document import Block, Claim, Figure, HeatMap
from sipit.report.reading import integer, one_for_each, real, sequence
from sipit.report.wording import count

_CUT = 64  # positions that earlier records have of a prompt at most
_MOST = 2**31  # positions that a cell may stand for, in a record that is not damaged


def maps(title: str, drawn: Mapping[str, Any], names: list[str], row: str, more: str = "") -> list[Block]:
    """The map of a record, if it has one.

    Args:
        title: of the figure.
        drawn: the field `map` of the record.
        names: of the rows.
        row: what one of them is.
        more: what else is said of the map.
    """
    rows = tuple(tuple(real(value) for value in sequence(line)) for line in sequence(drawn.get("ratios")))
    longest = max(map(len, rows), default=0)
    if not longest:
        return []
    known = integer(drawn.get("positions_a_cell"))
    each = known if known is not None and 0 < known < _MOST else 1
    beyond = sum(value is None or value > 1 for line in rows for value in line)
    place = "a position" if each == 1 else f"the worst of {each} positions"
    said = (
        f"Of {count(sum(map(len, rows)), 'cell')}, each {row} and {place}, {beyond} lie beyond what rounding explains."
    )
    cut = f" The record has no more than the first {_CUT} positions." if known is None and longest >= _CUT else ""
    chart = HeatMap("position", one_for_each(names, len(rows)), rows, each)
    return [Figure(title, said + more + cut, chart, Claim.MEASURED)]
