"""Corpora: files, folders, the built-in text and chance become distinct prompts."""

import json
import sys
from itertools import accumulate

import numpy as np
import pytest

from proofs import InvalidInput
from proofs.errors import MissingResource
from sipit.models.tiny import BOS
from sipit.prompts.builtin_text import sections
from sipit.prompts.corpora import read_corpus, whole_prompts
from sipit.prompts.docstrings import builtin_documents
from tests.sipit.cases import tiny


def ids_of(corpus):
    return [corpus.prompts.token_ids(prompt) for prompt in range(len(corpus))]


def test_lines_of_a_file_are_prompts_and_keep_their_numbers(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("three\nab\nthree\nz\n")
    corpus = read_corpus(tiny("qwen2"), str(path))
    assert ids_of(corpus) == [[122], [97, 98], [*b"three"]]
    assert corpus.numbers.tolist() == [3, 1, 0] and corpus.drawn == 4 and not corpus.independent


def test_ids_of_a_file_are_taken_as_given(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"token_ids": ids}) for ids in ([5, 6], [7])))
    assert ids_of(read_corpus(tiny("llama"), str(path))) == [[7], [5, 6]]


def test_text_is_cut_into_windows_of_which_every_prefix_is_a_prompt(tmp_path):
    (tmp_path / "b.txt").write_text("abcde")
    (tmp_path / "a.md").write_text("ab")
    (tmp_path / "c.bin").write_text("nothing")
    assert ids_of(read_corpus(tiny("qwen2"), str(tmp_path), window=3)) == [
        [*text.encode()] for text in ("a", "ab", "abc", "d", "de")
    ]
    # The BOS that the tokenizer puts in front stands in front of every window, and counts.
    assert ids_of(read_corpus(tiny("llama"), str(tmp_path), window=3)) == [
        [256, *text.encode()] for text in ("", "a", "ab", "c", "cd", "e")
    ]


def test_the_built_in_text_is_the_documentation_of_python():
    documents = builtin_documents()
    assert next(documents) == "\n".join(sections())
    first, second = next(documents), next(documents)
    assert "Record of phased-in incompatible language changes" in first and second != first
    assert any(total > 10**6 for total in accumulate(map(len, documents))) and "antigravity" not in sys.modules
    corpus = read_corpus(tiny("qwen2"), "builtin", limit=1000)
    assert len(corpus) == 1000 == len({tuple(ids) for ids in ids_of(corpus)}) and corpus.drawn is None
    assert bytes(corpus.prompts.windows[0]).decode() == sections()[0][:32]


def test_random_prompts_are_independent_and_repeatable():
    corpus = read_corpus(tiny("qwen2"), "random:3", limit=50, seed=4)
    again = read_corpus(tiny("qwen2"), "random:3", limit=50, seed=4)
    assert corpus.independent and corpus.drawn == 50 and corpus.prompts.digest == again.prompts.digest
    assert {len(ids) for ids in ids_of(corpus)} == {3}


def test_a_limit_ends_the_reading():
    drawn = iter([[1], [1], [2, 2], [3], [4]])
    corpus = whole_prompts("some", drawn, limit=3)
    assert ids_of(corpus) == [[1], [3], [2, 2]] and corpus.drawn == 4 and np.array_equal(corpus.numbers, [0, 3, 2])


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere", {}, "there is no nowhere"),
        ("random:x", {"limit": 5}, "random:LENGTH together with a limit"),
        ("random:3", {}, "random:LENGTH together with a limit"),
        ("builtin", {"limit": 1}, "a limit of at least 2"),
        ("builtin", {"window": 0}, "a window of at least 1"),
    ],
)
def test_what_is_no_corpus_is_refused(source, options, message):
    with pytest.raises(InvalidInput, match=message):
        read_corpus(tiny("qwen2"), source, **options)


def test_too_few_prompts_are_refused(tmp_path):
    (tmp_path / "one.txt").write_text("same\nsame\n")
    with pytest.raises(InvalidInput, match="at least two different prompts"):
        read_corpus(tiny("qwen2"), str(tmp_path / "one.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="Expected text files"):
        read_corpus(tiny("qwen2"), str(tmp_path / "empty"))


def test_a_stream_names_the_package_that_reads_it(monkeypatch):
    monkeypatch.setattr("sipit.prompts.corpora.find_spec", lambda name: None)
    with pytest.raises(MissingResource, match="pip install datasets"):
        read_corpus(tiny("qwen2"), "datasets:anything", limit=5)


def test_a_stream_is_read_until_the_limit(monkeypatch):
    import types

    rows = ({"text": f"row {number}"} for number in range(10**9))
    module = types.SimpleNamespace(load_dataset=lambda name, split, streaming: rows)
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr("sipit.prompts.corpora.find_spec", lambda name: object())
    corpus = read_corpus(tiny("qwen2"), "datasets:some", limit=20)
    assert len(corpus) == 20 and bytes(corpus.prompts.windows[0]) == b"row 0"


@pytest.mark.parametrize("special", [True, False])
def test_text_has_special_tokens_unless_it_is_told_to_have_none(special, tmp_path):
    model, prompts = tiny("llama"), ["one", "two"]
    file, folder = tmp_path / "p.txt", tmp_path / "texts"
    folder.mkdir()
    for path in (file, folder / "t.txt"):
        path.write_text("\n".join(prompts))
    for source in (file, folder):
        found = ids_of(read_corpus(model, str(source), special_tokens=special))
        assert all((ids[0] == BOS) is special for ids in found)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_of_a_folder_are_decoded_as_prompt_files_are(encoding, tmp_path):
    (tmp_path / "t.md").write_bytes("Grüße\r\nzwei".encode(encoding))
    windows = read_corpus(tiny("qwen2"), str(tmp_path)).prompts.windows
    assert bytes(token for window in windows for token in window).decode() == "Grüße\nzwei"


def test_no_text_of_a_folder_is_replaced(tmp_path):
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(InvalidInput, match=r"text file in UTF-8, but .*latin\.txt is not; convert it"):
        read_corpus(tiny("qwen2"), str(tmp_path))
