"""Whatever numpy, torch or a list can mean is taken so; everything else is `InvalidInput`."""

from pathlib import Path

import numpy as np
import pytest
import torch

import sipit
from proofs.errors import InvalidInput
from sipit.inversion.outcome import Outcome
from tests.sipit.cases import tiny

IDS = [97, 98, 99]


@pytest.fixture(scope="module")
def rows():
    return sipit.capture(tiny("gpt2"), [IDS], layer=1)[0]


ROWS = {
    "numpy": lambda rows: (rows.numpy(),),
    "numpy, read-only": lambda rows: (np.frombuffer(rows.numpy().tobytes(), np.float32).reshape(rows.shape),),
    "numpy, backwards": lambda rows: (rows.numpy()[::-1].copy()[::-1],),
    "numpy, big-endian": lambda rows: (rows.numpy().astype(">f4"),),
    "double": lambda rows: [rows.numpy().astype(np.float64)],
    "long double": lambda rows: [rows.numpy().astype(np.longdouble)],
    "lists": lambda rows: [rows.tolist()],
    "a table alone": lambda rows: rows,
    "a stack alone": lambda rows: rows[None].numpy(),
    "by name": lambda rows: {"0": rows},
    "sparse": lambda rows: (rows.to_sparse(),),
    "with a gradient": lambda rows: (rows.clone().requires_grad_(),),
    "transposed twice": lambda rows: (rows.T.contiguous().T,),
    "a mask that hides nothing": lambda rows: (np.ma.array(rows.numpy()),),
    "nested, jagged": lambda rows: torch.nested.nested_tensor([rows], layout=torch.jagged),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_are_taken_as_they_are_meant(rows, kind):
    (inversion,) = sipit.invert(tiny("gpt2"), sipit.States(ROWS[kind](rows), layer=np.int64(1)))
    assert (inversion.outcome, inversion.token_ids) == (Outcome.RECOVERED, IDS)


NO_ROWS = {
    "whole numbers": lambda rows: (rows.int(),),
    "eight bits": lambda rows: (rows.to(torch.float8_e4m3fn),),
    "truth values": lambda rows: (rows > 0,),
    "complex": lambda rows: (rows.to(torch.complex64),),
    "meta": lambda rows: (rows.to("meta"),),
    "one row": lambda rows: (rows[0],),
    "a batch among others": lambda rows: (rows[None],),
    "words": lambda rows: (["a", "b"],),
    "ragged": lambda rows: ([[1.0, 2.0], [1.0]],),
    "nothing in it": lambda rows: (None,),
    "nothing": lambda rows: None,
    "a name": lambda rows: "rows",
    "a number": lambda rows: 3.0,
    "none": lambda rows: (),
    "empty": lambda rows: (rows[:0],),
    "rows that a mask hides": lambda rows: (np.ma.array(rows.numpy(), mask=np.arange(3)[:, None] == 2 * np.ones(64)),),
    "a stack that a mask hides": lambda rows: np.ma.masked_less(rows[None].numpy(), 0),
    "a set": lambda rows: {rows},
}


@pytest.mark.parametrize("kind", NO_ROWS)
def test_what_are_no_rows_is_refused(rows, kind):
    with pytest.raises(InvalidInput):
        sipit.invert(tiny("gpt2"), sipit.States(NO_ROWS[kind](rows), layer=1))


PROMPTS = {
    "a batch of one": torch.tensor([IDS]), "one row": torch.tensor(IDS), "a list of tensors": [torch.tensor(IDS)],
    "numpy": np.array([IDS]), "small numpy": [np.array(IDS, dtype=np.uint8)], "ids alone": IDS,
    "a tuple": (tuple(IDS),),
    "numbers of numpy": [[np.int64(token) for token in IDS]], "numbers of torch": [[*torch.tensor(IDS)]],
    "a range": [range(97, 100)], "a generator": (ids for ids in [IDS]), "text": ["abc"],
    "texts of numpy": np.array(["abc"]),
    "masked": {"input_ids": torch.tensor([[256, *IDS]]), "attention_mask": torch.tensor([[0, 1, 1, 1]])},
}  # fmt: skip


@pytest.mark.parametrize("kind", PROMPTS)
def test_prompts_are_taken_as_they_are_meant(rows, kind):
    assert torch.equal(sipit.capture(tiny("gpt2"), PROMPTS[kind], layer=np.int32(1))[0], rows)


def test_what_a_tokenizer_returns_is_taken_without_its_padding():
    model = tiny("gpt2")
    together = model.tokenizer(["abc", "de"], return_tensors="pt", padding=True)
    found, alone = sipit.capture(model, together, layer=1), sipit.capture(model, ["abc", "de"], layer=1)
    assert len(found) == len(alone) and all(map(torch.equal, found, alone))


NO_PROMPTS = [
    None, 3, 1.5, b"abc", [b"abc"], [None], [[1.5]], [[None]], torch.tensor([[1.0]]), torch.tensor([[True]]), [], "abc",
    {"text": "abc"}, {"input_ids": [[1, 2]], "attention_mask": [[1]]}, [[[1], [2]]], [object()],
    {1, 2}, np.ma.array(IDS, mask=[0, 0, 1]),
]  # fmt: skip


@pytest.mark.parametrize("prompts", NO_PROMPTS)
def test_what_are_no_prompts_is_refused(prompts):
    with pytest.raises(InvalidInput):
        sipit.capture(tiny("gpt2"), prompts, layer=1)


def test_paths_are_paths_or_names(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("a.safetensors", Path("b.safetensors")):
        sipit.write_states(path, sipit.States((rows.numpy(),), layer=1))
        assert torch.equal(sipit.read_states(path, layer=np.int64(1))[0], rows)
    with pytest.raises(InvalidInput):
        sipit.read_states(None, layer=1)
    with pytest.raises(InvalidInput):
        sipit.write_states(3, sipit.States((rows,), layer=1))


CALLS = {
    "states alone": lambda model, rows: sipit.invert(model, [rows]),
    "a path": lambda model, rows: sipit.invert(model, Path("a.safetensors")),
    "a name": lambda model, rows: sipit.invert("tiny-gpt2", sipit.States(rows, layer=1)),
    "a name to capture": lambda model, rows: sipit.capture("tiny-gpt2", [IDS]),
    "a layer in words": lambda model, rows: sipit.capture(model, [IDS], layer="1"),
    "half a layer": lambda model, rows: sipit.capture(model, [IDS], layer=0.5),
    "a batch in words": lambda model, rows: sipit.capture(model, [IDS], batch="2"),
    "padding in the middle": lambda model, rows: sipit.capture(model, [IDS, [1]], batch=2, padding="middle"),
    "a tolerance in words": lambda model, rows: sipit.invert(model, sipit.States(rows, layer=1), tolerance="x"),
    "a budget in words": lambda model, rows: sipit.invert(model, sipit.States(rows, layer=1), budget="x"),
    "no budget": lambda model, rows: sipit.invert(model, sipit.States(rows, layer=1), budget=None),
    "no model": lambda model, rows: sipit.load_model(None),
    "a module": lambda model, rows: sipit.load_model(model.module),
    "a list of types": lambda model, rows: sipit.load_model("tiny-gpt2", dtype=["float32"]),
    "a type of numpy": lambda model, rows: sipit.load_model("tiny-gpt2", dtype=np.float32),
    "a seed in words": lambda model, rows: sipit.load_model("tiny-gpt2", seed="x"),
    "half a device": lambda model, rows: sipit.load_model("tiny-gpt2", device=0.5),
    "a path that is none": lambda model, rows: sipit.load_model(Path("nowhere")),
}


@pytest.mark.parametrize("kind", CALLS)
def test_what_a_call_cannot_mean_is_refused(rows, kind):
    with pytest.raises(InvalidInput, match=r"^Expected .*; "):
        CALLS[kind](tiny("gpt2"), rows)
