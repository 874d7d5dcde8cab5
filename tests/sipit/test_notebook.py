"""Results in a notebook: the chapter of the page without its page, rows that are flat, figures that are drawn."""

import json
import sys
from types import SimpleNamespace

import pytest

import sipit
from proofs.errors import MissingResource
from proofs.evidence import Evidence, Record
from proofs.showing import Shown
from sipit.claims.check import check_model
from sipit.report.notebook import rows_of
from sipit.report.page import document_of
from tests.sipit.cases import tiny
from tests.sipit.report_pages import Page
from tests.sipit.report_records import stored_records

RECORDS = stored_records()


@pytest.fixture(scope="module")
def inversion():
    model = tiny("gpt2")
    return sipit.invert(model, sipit.capture(model, ["Hi you"], layer=1))[0]


def test_every_record_shows_its_chapter_and_reaches_nothing_outside():
    shown = [record._repr_html_() for record in [*RECORDS, RECORDS[0]]]
    ids = [one["id"] for text in shown for _, one in Page(text).elements if "id" in one]
    assert len(ids) == len({*ids})
    for record, text in zip(RECORDS, shown, strict=False):
        page = Page(text)
        assert document_of([record]).headline in page.text
        assert not {tag for tag, _ in page.elements} & {"html", "head", "body", "script", "iframe", "link", "meta"}
        style = text[text.index("<style>") : text.index("</style>")]
        assert ":root" not in style and "\nbody" not in style and style.count("{") == style.count("}")


def test_rows_are_flat_and_one_for_every_token():
    for record in RECORDS:
        rows = rows_of(record)
        assert rows and not any(isinstance(value, dict) for row in rows for value in row.values())
    record = next(one for one in RECORDS if one.command == "invert" and "prompts" in one.result)
    tokens = [token for prompt in record.result["prompts"] for token in prompt["tokens"]]
    assert [row["token_id"] for row in rows_of(record)] == [token["token_id"] for token in tokens]


def test_a_table_is_made_by_pandas_where_it_is(monkeypatch, inversion):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    assert "".join(row["text"] for row in inversion.to_dataframe()) == inversion.text == "Hi you"
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingResource, match=r"pip install 'sipit\[notebook\]'"):
        inversion.to_dataframe()


@pytest.mark.parametrize("name", ["invert", "compare", "quantization", "leak", "train", "check"])
def test_a_figure_is_drawn(tmp_path, name):
    figure = next(one for one in RECORDS if one.command == name).plot()
    figure.savefig(tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").stat().st_size > 1000
    assert figure.axes[0].get_title()


def test_an_inversion_and_a_comparison_show_themselves(inversion):
    model = tiny("gpt2")
    found = sipit.compare_runs(model, model, [[1, 2, 3]])
    for one, headline in ((inversion, "The prompt was recovered"), (found, "The two runs differ by rounding")):
        assert headline in Page(one._repr_html_()).text
        assert one.plot().axes[0].lines or one.plot().axes[0].images
        assert Record.from_json(json.loads(one.to_record().dumps())) == one.to_record()
    assert rows_of(found.to_record())[0]["layer"] == 0


def test_every_result_is_evidence_and_shows_itself(inversion):
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3]], layer=1)
    found = {
        "Nothing speaks against": sipit.audit_states(model, states, [[1, 2, 3]]),
        "": sipit.measure_leak(model, [[1, 2, 3], [4, 5, 6]], defences="bits", strengths=8, candidates=4),
    }
    for headline, one in found.items():
        assert isinstance(one, Evidence) and isinstance(one, Shown)
        record = one.to_record()
        assert record.verdict is one.verdict and record.result == one.to_json()
        assert Record.from_json(json.loads(record.dumps())) == record
        assert headline in Page(one._repr_html_()).text
        assert rows_of(record)
    assert isinstance(inversion, Evidence) and isinstance(sipit.compare_runs(model, model, [[1, 2, 3]]), Evidence)


def test_a_check_shows_itself(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 32, "n_positions": 16}'
    )
    record = check_model(str(tmp_path / "config.json"))
    assert "Every hypothesis that was checked is proved" in Page(record._repr_html_()).text
    assert rows_of(record)[0]["regularity"] == "analytic"


def test_without_a_page_nothing_is_shown(monkeypatch):
    monkeypatch.setattr("proofs.showing._homes", [])
    assert RECORDS[0]._repr_html_() is None
    with pytest.raises(MissingResource, match="import sipit"):
        RECORDS[0].plot()
