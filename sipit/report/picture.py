"""The rows of a page's first picture as inline SVG: some numbers of a state, and the gap to the next best token."""

from markupsafe import Markup

from sipit.report.chart import Scale
from sipit.report.document import Picture, ReadBack

_CELL = 5  # pixels of one number of a state
_HEIGHT = 14


def strip(row: ReadBack) -> Markup:
    """The numbers of a state as cells: two colours for the signs, and the fuller the larger."""
    largest = max(map(abs, row.state), default=0.0) or 1.0
    cells = (
        Markup('<rect class="{}" x="{}" y="0" width="4" height="{}" fill-opacity="{:.2g}"/>').format(
            "plus" if value > 0 else "minus", _CELL * at, _HEIGHT, 0.08 + 0.92 * abs(value) / largest
        )
        for at, value in enumerate(row.state)
    )
    head = Markup('<svg width="{}" height="{}" aria-hidden="true">').format(_CELL * len(row.state), _HEIGHT)
    return head + Markup("").join(cells) + Markup("</svg>")


def gap(row: ReadBack, picture: Picture) -> Markup:
    """How far the token and its next best are from the state, on the logarithmic scale of the whole picture."""
    distances = [value for one in picture.rows for value in (one.near, one.far)]
    scale = Scale.over([*distances, picture.level])
    middle = _HEIGHT / 2

    def across(value: float) -> float:
        return 2 + 96 * scale.part(value)

    marks: list[Markup] = []
    if picture.level is not None:
        marks.append(
            Markup('<rect class="inside" x="0" y="0" width="{:.4g}%" height="{}"/>').format(
                across(picture.level), _HEIGHT
            )
        )
    if row.near is not None and row.far is not None:
        line = Markup('<line class="gap" x1="{:.4g}%" y1="{}" x2="{:.4g}%" y2="{}"/>')
        marks.append(line.format(across(row.near), middle, across(row.far), middle))
    if row.near is not None:
        marks.append(Markup('<circle class="s0" cx="{:.4g}%" cy="{}" r="3.2"/>').format(across(row.near), middle))
    if row.far is not None:
        square = Markup('<rect class="s1" x="{:.4g}%" y="{}" width="6" height="6"/>')
        marks.append(square.format(across(row.far), middle - 3))
    return Markup('<svg width="100%" height="{}">').format(_HEIGHT) + Markup("").join(marks) + Markup("</svg>")
