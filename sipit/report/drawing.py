"""The figures of a page drawn by matplotlib, for notebooks and papers: the same values, in the same colours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from sipit.report.document import Figure, HeatMap, Level, LogCurves, LogPlot, LogRanges, Series, ShareCurves
from sipit.report.wording import number

_COLOURS = ("#1b5e9b", "#b4541a", "#8a2a6b")  # as the style of the page has them
_MARKS = ("o", "s", "D")  # shapes survive a print in black


def draw_figure(figure: Figure) -> Drawing:
    """A figure of a page as one of matplotlib's; nothing is shown, and no window is opened."""
    drawing = Drawing(figsize=(8, 4), layout="constrained")
    axes: Any = drawing.add_subplot()
    chart = figure.chart
    match chart:
        case LogPlot():
            for at in chart.holes:
                axes.axvspan(at - 0.5, at + 0.5, color="#eceae3")
            places = range(max((len(one.values) for one in chart.series), default=0))
            _curves(axes, chart.series, list(places), "")
        case LogCurves():
            _curves(axes, chart.series, list(chart.at), "-")
        case ShareCurves():
            _curves(axes, chart.series, list(range(len(chart.at))), "-")
            axes.set_xticks(range(len(chart.at)), chart.at)
            axes.set_ylim(0, 1)
        case LogRanges():
            _ranges(axes, chart)
        case HeatMap():
            _heat(drawing, axes, chart)
    if isinstance(chart, LogPlot | LogCurves):
        axes.set_yscale("symlog" if _has_zero(chart.series) else "log", **_linear(chart.series))
        _level(axes, chart.level, axes.axhline)
    if not isinstance(chart, LogRanges):
        axes.set_xlabel(chart.over)
    axes.set_title(figure.title, fontsize=10, parse_math=False)
    if not isinstance(chart, HeatMap):
        axes.legend(fontsize=8)
    return drawing


def draw_facts(title: str, facts: Sequence[tuple[str, str]]) -> Drawing:
    """Facts with their values as a table, for what has no figure."""
    drawing = Drawing(figsize=(8, 0.8 + 0.3 * max(1, len(facts))), layout="constrained")
    axes: Any = drawing.add_subplot()
    axes.axis("off")
    axes.set_title(title, fontsize=10, parse_math=False)
    if facts:
        table = axes.table(cellText=[list(fact) for fact in facts], loc="center", cellLoc="left")
        for cell in table.get_celld().values():
            cell.get_text().set_parse_math(False)
    return drawing


def _curves(axes: Any, series: Sequence[Series], at: Sequence[float], line: str) -> None:
    for index, one in enumerate(series):
        values = [np.nan if value is None else value for value in one.values]
        style = {"marker": _MARKS[index % 3], "color": _COLOURS[index % 3], "markersize": 4, "label": one.name}
        if not np.isnan(values).all():
            axes.plot(at[: len(values)], values, linestyle=line or "none", **style)


def _ranges(axes: Any, chart: LogRanges) -> None:
    for index, (lows, highs) in enumerate(zip(chart.series, chart.ends, strict=True)):
        pairs = zip(range(len(chart.rows)), lows.values, highs.values, strict=True)
        known = [(row, low, high) for row, low, high in pairs if low is not None and high is not None]
        if known:
            rows, low, high = zip(*known, strict=True)
            axes.hlines(rows, low, high, color=_COLOURS[index % 3], linewidth=4, alpha=0.5, label=lows.name)
    axes.set_yticks(range(len(chart.rows)), chart.rows)
    axes.invert_yaxis()
    ends = (*chart.series, *chart.ends)
    axes.set_xscale("symlog" if _has_zero(ends) else "log", **_linear(ends))
    _level(axes, chart.level, axes.axvline)


def _heat(drawing: Drawing, axes: Any, chart: HeatMap) -> None:
    length = max(map(len, chart.values), default=0)
    cells = np.full((len(chart.rows), max(length, 1)), np.nan)
    for row, values in enumerate(chart.values):
        cells[row, : len(values)] = [np.inf if value is None else value for value in values]
    rows, columns = cells.shape
    extent = (-0.5, columns * chart.each - 0.5, rows - 0.5, -0.5)
    with np.errstate(divide="ignore"):
        shown = axes.imshow(np.clip(np.log10(cells), -3, 3), aspect="auto", cmap="coolwarm", vmin=-3, vmax=3,
                            extent=extent)  # fmt: skip
    drawing.colorbar(shown, label="times what is expected (log₁₀)")
    axes.set_yticks(range(len(chart.rows)), chart.rows)


def _level(axes: Any, level: Level | None, line: Any) -> None:
    if level is not None:
        line(level.value, color="black", linestyle="--", linewidth=1, label=f"{level.name} {number(level.value)}")


def _values(series: Sequence[Series]) -> list[float]:
    return [value for one in series for value in one.values if value is not None]


def _has_zero(series: Sequence[Series]) -> bool:
    return any(value <= 0 for value in _values(series))


def _linear(series: Sequence[Series]) -> dict[str, float]:
    """Where a scale that has a zero is linear: below the least value that is none."""
    if not _has_zero(series):
        return {}
    return {"linthresh": min((value for value in _values(series) if value > 0), default=1.0)}
