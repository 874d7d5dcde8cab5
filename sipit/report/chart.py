"""Charts as inline SVG, most of them on a logarithmic scale, without a view box.

Across, everything is in percent of the width; down, in pixels. So a chart fills a phone and a wide screen alike while
its letters keep their size; what must stand left of the plot lies in the padding of the element. Colours are classes
of the page's style, and every series has a shape of its own besides.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from sipit.report.document import Chart, HeatMap, Level, LogCurves, LogPlot, LogRanges, Series, ShareCurves
from sipit.report.wording import number, visible

HEIGHT = 232  # pixels of the plot of a LogPlot
_ROW = 30  # pixels of a row of a LogRanges
_EDGE = 14  # pixels above and below the scale
_TICKS = 8  # at most about this many along an axis
_LETTERS = 36  # of all names along an axis, on a phone
_CELL = 14  # pixels of a row of a HeatMap
_FAINT = 6  # decades below 1 at which a cell of a HeatMap is hardly seen
_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536)


@dataclass(frozen=True, slots=True)
class Scale:
    """Whole decades from `low` to `high`; with `zero`, one more place below them for an exact 0."""

    low: int
    high: int
    zero: bool

    @classmethod
    def over(cls, values: Iterable[float | None]) -> "Scale":
        """The scale that holds all finite values; from 1 to 10 where none is positive."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        positive = [value for value in known if value > 0] or [1.0]
        low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
        return cls(low, max(high, low + 1), zero=any(value <= 0 for value in known))

    def part(self, value: float) -> float:
        """Where a value lies between the start (0) and the end (1) of the axis."""
        if value <= 0:
            return 0.0
        return self._place(min(math.log10(value), self.high) if math.isfinite(value) else self.high)

    def ticks(self) -> list[tuple[float, str]]:
        """The places to name on the axis, with their names."""
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if (self.high - self.low) / step <= _TICKS)
        named = [(self._place(power), power_of_ten(power)) for power in range(self.high, self.low - 1, -step)]
        return [*named, (0.0, "0")] if self.zero else named

    def _place(self, power: float) -> float:
        start = self.low - (1 if self.zero else 0)
        return (power - start) / (self.high - start)


def power_of_ten(power: int) -> str:
    """`10⁻⁷`."""
    if power in (0, 1):
        return "1" if power == 0 else "10"
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def draw(chart: Chart, *, name: str, title: str, description: str) -> Markup:
    """The chart as an SVG element with title and description; `name` makes their ids unique on a page."""
    match chart:
        case LogPlot():
            body, height, kind = _plot(chart)
        case LogRanges():
            body, height, kind = _ranges(chart)
        case LogCurves():
            body, height, kind = _curves(chart)
        case ShareCurves():
            body, height, kind = _shares(chart)
        case HeatMap():
            body, height, kind = _heat(chart)
    head = Markup(
        '<svg class="chart {kind}" role="img" aria-labelledby="{name}-t {name}-d" height="{height}">'
        '<title id="{name}-t">{title}</title><desc id="{name}-d">{description}</desc>'
    ).format(kind=kind, name=name, height=height, title=visible(title), description=visible(description))
    return head + Markup("").join(body) + Markup("</svg>")


def _finite(series: Series) -> list[tuple[int, float]]:
    return [(at, value) for at, value in enumerate(series.values) if value is not None and math.isfinite(value)]


def _every(series: Sequence[Series], level: Level | None) -> list[float | None]:
    return [value for one in series for value in one.values] + ([level.value] if level is not None else [])


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.4g}%" y1="{:.4g}" x2="{:.4g}%" y2="{:.4g}"/>').format(kind, x1, y1, x2, y2)


def _text(kind: str, x: str, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{:.4g}">{}</text>').format(kind, x, y, visible(text))


def _dot(series: int, x: float, y: float) -> Markup:
    # A circle, a square and a ring: shapes that survive a print in black.
    if series == 1:
        return Markup('<rect class="s1" x="{:.4g}%" y="{:.4g}" width="6" height="6"/>').format(x, y - 3)
    return Markup('<circle class="s{}" cx="{:.4g}%" cy="{:.4g}" r="{}"/>').format(series, x, y, 3.2 if series else 3)


def _plot(chart: LogPlot) -> tuple[list[Markup], int, str]:
    length = max((len(series.values) for series in chart.series), default=1) or 1
    scale = Scale.over(_every(chart.series, chart.level))
    inner = HEIGHT - 2 * _EDGE

    def across(at: float) -> float:
        return 100 * (at + 0.5) / length

    def down(part: float) -> float:
        return _EDGE + inner * (1 - part)

    marks = [
        Markup('<rect class="hole" x="{:.4g}%" y="0" width="{:.4g}%" height="{}"/>').format(
            100 * at / length, 100 / length, HEIGHT
        )
        for at in chart.holes
    ]
    if chart.level is not None:
        top = down(scale.part(chart.level.value))
        marks.append(Markup('<rect class="{}" x="0" y="{:.4g}" width="100%" height="{:.4g}"/>').format(
            "inside" if chart.level.good else "inside bad", top, HEIGHT - top))  # fmt: skip
    for part, name in scale.ticks():
        marks += [_line("grid", 0, down(part), 100, down(part)), _text("y", "-8", down(part) + 4, name)]
    for at, near, far in _gaps(chart.series):
        marks.append(_line("gap", across(at), down(scale.part(near)), across(at), down(scale.part(far))))
    for index, series in enumerate(chart.series):
        marks += [_dot(index, across(at), down(scale.part(value))) for at, value in _finite(series)]
    if chart.level is not None:
        y = down(scale.part(chart.level.value))
        marks.append(_line("level", 0, y, 100, y))
        words = y - 6 if y > HEIGHT / 4 else y + 16  # below the line where the values are above it
        marks.append(_text("level", "100%", words, f"{chart.level.name} {number(chart.level.value)}"))
    step = next((step for step in _STEPS if (length - 1) / step <= _TICKS), length)
    marks += [_text("x", f"{across(at):.4g}%", HEIGHT + 16, str(at)) for at in range(0, length, step)]
    marks.append(_text("over", "50%", HEIGHT + 34, chart.over))
    return marks, HEIGHT + 40, "plot"


def _gaps(series: Sequence[Series]) -> list[tuple[int, float, float]]:
    """Where a place has the first two series: the gap between them, which is what such a chart is about."""
    if len(series) < 2:
        return []
    far = dict(_finite(series[1]))
    return [(at, low, far[at]) for at, low in _finite(series[0]) if at in far]


def _curves(chart: LogCurves) -> tuple[list[Markup], int, str]:
    scale = Scale.over(_every(chart.series, chart.level))
    first, last = (chart.at[0], chart.at[-1]) if chart.at else (0, 1)

    def across(at: float) -> float:
        return 2 + 96 * (at - first) / ((last - first) or 1)

    def down(value: float) -> float:
        return _EDGE + (HEIGHT - 2 * _EDGE) * (1 - scale.part(value))

    marks: list[Markup] = []
    for part, name in scale.ticks():
        y = _EDGE + (HEIGHT - 2 * _EDGE) * (1 - part)
        marks += [_line("grid", 0, y, 100, y), _text("y", "-8", y + 4, name)]
    for index, series in enumerate(chart.series):
        marks += _joined(index, [(across(chart.at[place]), down(value)) for place, value in _finite(series)])
    if chart.level is not None:
        y = down(chart.level.value)
        marks += [_line("level", 0, y, 100, y), _text("level", "100%", y - 6, chart.level.name)]
    step = _step([number(at) for at in chart.at])
    marks += [_text("x", f"{across(at):.4g}%", HEIGHT + 16, number(at)) for at in chart.at[::step]]
    marks.append(_text("over", "50%", HEIGHT + 34, chart.over))
    return marks, HEIGHT + 40, "curves"


def _joined(index: int, points: Sequence[tuple[float, float]]) -> list[Markup]:
    """The points of a series, with lines between them."""
    lines = [_line(f"s{index} curve", *start, *end) for start, end in pairwise(points)]
    return [*lines, *(_dot(index, *point) for point in points)]


def _step(names: Sequence[str]) -> int:
    """How many names further the next one is that there is room for on a phone."""
    letters = len(names) * (max(map(len, names), default=0) + 1)
    return max(1, -(-len(names) // _TICKS), -(-letters // _LETTERS))


def _shares(chart: ShareCurves) -> tuple[list[Markup], int, str]:
    def across(place: int) -> float:
        return 3 + 94 * place / max(1, len(chart.at) - 1)

    def down(value: float) -> float:
        return _EDGE + (HEIGHT - 2 * _EDGE) * (1 - value)

    marks: list[Markup] = []
    for percent in (0, 25, 50, 75, 100):
        y = down(percent / 100)
        marks += [_line("grid", 0, y, 100, y), _text("y", "-8", y + 4, f"{percent} %")]
    for index, series in enumerate(chart.series):
        marks += _joined(index, [(across(place), down(value)) for place, value in _finite(series)])
    step = _step(chart.at)
    marks += [
        _text("x", f"{across(place):.4g}%", HEIGHT + 16, name)
        for place, name in enumerate(chart.at)
        if place % step == 0
    ]
    marks.append(_text("over", "50%", HEIGHT + 34, chart.over))
    return marks, HEIGHT + 40, "curves"


def _ranges(chart: LogRanges) -> tuple[list[Markup], int, str]:
    scale = Scale.over(_every((*chart.series, *chart.ends), chart.level))
    height = _ROW * len(chart.rows)

    def across(part: float) -> float:
        return 2 + 96 * part

    marks: list[Markup] = []
    if chart.level is not None:
        marks.append(Markup('<rect class="inside" x="0" y="18" width="{:.4g}%" height="{}"/>').format(
            across(scale.part(chart.level.value)), height))  # fmt: skip
    for part, name in scale.ticks():
        marks += [_line("grid", across(part), 18, across(part), 18 + height)]
        marks += [_text("x", f"{across(part):.4g}%", height + 34, name)]
    for row, name in enumerate(chart.rows):
        y = 18 + _ROW * (row + 0.5)
        marks.append(_text("y", "-8", y + 4, name))
        for index, (lows, highs) in enumerate(zip(chart.series, chart.ends, strict=True)):
            low, high = lows.values[row], highs.values[row]
            if low is not None and high is not None and math.isfinite(low):
                start, end = across(scale.part(low)), across(scale.part(high))
                marks += [_line(f"s{index} range", start, y, end, y), _dot(index, start, y), _dot(index, end, y)]
    if chart.level is not None:
        x = across(scale.part(chart.level.value))
        marks += [_line("level", x, 14, x, 18 + height)]
        side = "start" if x < 25 else "middle" if x < 75 else "end"  # so that the words stay on the chart
        marks.append(_text(f"level {side}", f"{x:.4g}%", 10, f"{chart.level.name} {number(chart.level.value)}"))
    return marks, height + 40, "ranges"


def _heat(chart: HeatMap) -> tuple[list[Markup], int, str]:
    length = max((len(row) for row in chart.values), default=1) or 1
    height = _CELL * len(chart.rows)
    marks: list[Markup] = []
    every = -(-len(chart.rows) // (2 * _TICKS))
    for row, (name, values) in enumerate(zip(chart.rows, chart.values, strict=True)):
        y = _CELL * row
        if row % every == 0:
            marks.append(_text("y", "-8", y + 11, name))
        for at, value in enumerate(values):
            much = value is None or not value <= 1
            seen = 1.0 if much or value is None else max(0.0, 1 + math.log10(value) / _FAINT) if value > 0 else 0.0
            cell = Markup('<rect class="{}" x="{:.4g}%" y="{}" width="{:.4g}%" height="{}" fill-opacity="{:.2g}"/>')
            place = (100 * at / length, y, 96 / length, _CELL - 2)
            marks.append(cell.format("hot" if much else "warm", *place, seen))
    step = next((step for step in _STEPS if (length - 1) / step <= _TICKS), length)
    marks += [
        _text("x", f"{100 * (at + 0.5) / length:.4g}%", height + 16, number(at * chart.each))
        for at in range(0, length, step)
    ]
    marks.append(_text("over", "50%", height + 34, chart.over))
    return marks, height + 40, "heat"
