"""The figures of `compare` and `audit` show what lies beyond wherever it stands, at its own layers and positions."""

import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.privacy.audit import Answer, _map
from sipit.privacy.compared import DRAWN, Comparison, Place
from sipit.report.chart import draw
from sipit.report.document import Figure, HeatMap, LogCurves
from sipit.report.drawing import draw_figure
from sipit.report.page import chapters_of

POSITIONS = st.integers(1, 300)


def figures(record: Record) -> list[Figure]:
    return [block for chapter in chapters_of(record) for block in chapter.blocks if isinstance(block, Figure)]


def said_beyond(figure: Figure) -> int:
    return int(re.search(r", (\d+) lie beyond what rounding explains", figure.description)[1])


def compared(distances: torch.Tensor, layers: tuple[int, ...]) -> Record:
    bad = [(at, place) for at, row in enumerate(distances.tolist()) for place, value in enumerate(row) if value > 1]
    first = Place(layers[bad[0][0]], bad[0][1], 0, 2.0, 1.0) if bad else None
    return Comparison(
        kind=Verdict.NOT_ROUNDING if bad else Verdict.ROUNDING, reason="they differ", layers=layers,
        distances=(distances,), expected=(torch.ones_like(distances),), first=first, unit=1e-7, rate=0.01,
        calibration=None, replay=None,
    ).to_record()  # fmt: skip


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5).map(sorted), POSITIONS, st.data())
def test_a_map_shows_what_lies_beyond_at_every_position(steps: list[int], positions: int, data: st.DataObject):
    """It ended after 64 positions: "0 lie beyond" stood under a headline that named position 100."""
    layers = tuple(at + sum(steps[: at + 1]) for at in range(len(steps)))
    places = st.tuples(st.integers(0, len(layers) - 1), st.integers(0, positions - 1))
    bad = data.draw(st.sets(places, max_size=3))
    distances = torch.full((len(layers), positions), 0.5)
    for place in bad:
        distances[place] = 2.0
    (figure, *_) = figures(compared(distances, layers))
    chart = figure.chart
    assert isinstance(chart, HeatMap) and max(map(len, chart.values)) <= DRAWN
    hot = {(row, at) for row, values in enumerate(chart.values) for at, value in enumerate(values) if value == 2.0}
    assert hot == {(row, at // chart.each) for row, at in bad} and said_beyond(figure) == len(hot)
    assert len(chart.values[0]) == -(-positions // chart.each)


@given(st.lists(POSITIONS, min_size=1, max_size=40), st.data())
def test_a_map_of_an_audit_shows_the_worst_prompts_whole(lengths: list[int], data: st.DataObject):
    bad = data.draw(st.sets(st.integers(0, len(lengths) - 1), max_size=5))
    at = {number: data.draw(st.integers(0, lengths[number] - 1)) for number in bad}
    answers = [
        Answer("inconsistent" if n in at else "consistent", 2.0, 1.0, rows, rows, at.get(n),
               ratios=tuple(2.0 if row == at.get(n) else 0.5 for row in range(rows)))
        for n, rows in enumerate(lengths)
    ]  # fmt: skip
    result = {"prompts": [{"answer": one.answer} for one in answers], "map": _map(answers)}
    (figure,) = figures(Record("audit", Verdict.REFUTED if bad else Verdict.HELD, result))
    chart = figure.chart
    assert isinstance(chart, HeatMap) and said_beyond(figure) == len(bad)
    for name, row in zip(chart.rows, chart.values, strict=True):
        expected = [at[int(name)] // chart.each] if int(name) in at else []
        assert [place for place, value in enumerate(row) if value == 2.0] == expected
    assert ("prompts with the largest scores" in figure.description) == (len(lengths) > len(chart.rows))


def test_an_earlier_record_says_where_its_map_ends():
    drawn: dict[str, Any] = {"prompt": 0, "ratios": [[0.5] * 64] * 3}
    for entry, cut in ((drawn, True), (drawn | {"positions_a_cell": 1}, False)):
        (figure, *_) = figures(Record("compare", Verdict.ROUNDING, {"map": entry}))
        assert ("no more than the first 64 positions" in figure.description) is cut


@pytest.mark.parametrize("each", [1, 5])
def test_a_cell_stands_at_its_positions(each: int):
    figure = Figure("t", "d", HeatMap("position", ("0", "1"), ((0.5,) * 20, (2.0,) * 12), each))
    drawn = draw(figure.chart, name="f", title="t", description="d")
    ticks = list(map(int, re.findall(r'<text class="x"[^>]*>(\d+)<', drawn)))
    assert ticks == [each * at for at in range(0, 20, 4)]
    assert draw_figure(figure).axes[0].get_xlim() == (-0.5, 20 * each - 0.5)


@given(st.lists(st.integers(0, 60), min_size=3, max_size=6, unique=True).map(sorted))
def test_layers_are_drawn_where_they_are(layers: list[int]):
    """Layers 0, 15 and 30 stood at 0, 1 and 2; and 1, 15 and 30 had no chart."""
    (_, figure) = figures(compared(torch.full((len(layers), 3), 0.5), tuple(layers)))
    assert isinstance(figure.chart, LogCurves) and list(figure.chart.at) == layers
    drawn = draw(figure.chart, name="f", title="t", description="d")
    assert set(map(int, re.findall(r'<text class="x"[^>]*>(\d+)<', drawn))) <= {*layers}
    across = [float(x) for x in re.findall(r'<circle class="s0" cx="([\d.]+)%"', drawn)]
    assert across == pytest.approx([2 + 96 * (at - layers[0]) / (layers[-1] - layers[0]) for at in layers], rel=1e-3)
