"""Names, headers and ids in files of states that no program would write: refused, or names like others."""

import json
import re
import zipfile
from contextlib import suppress
from itertools import product

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import sipit
from proofs.errors import InvalidInput
from sipit.states.layered import read_layers
from sipit.states.readers.containers import Container, Stored, natural
from sipit.states.readers.vllm import vllm_cache
from tests.sipit.cases import tiny
from tests.sipit.foreign_files import sglang, streams

LONG = st.sampled_from(["9" * 5000, "a.1" + "0" * 5000])
NAMES = st.text(st.sampled_from("0129²①٣a.-"), min_size=1, max_size=8) | LONG


@given(NAMES, NAMES)
def test_names_are_ordered_by_the_numbers_in_them_whatever_digits_they_have(one, other):
    assert (natural(one) < natural(other)) == (natural(other) > natural(one))
    assert natural(f"{one}_7{other}") < natural(f"{one}_0010{other}")


NUMBERED = ["p{}", "prompt0.{}", "blocks.{}.hook_resid_post", "blocks.{}.attn.hook_v", "l_out-{}", "layers.{}.output",
            "model.layers[{}].output.0", "{}"]  # fmt: skip


@pytest.mark.parametrize("digits", ["²", "①", "٣", "9" * 5000], ids=["raised", "circled", "arabic", "long"])
@pytest.mark.parametrize("name", NUMBERED)
def test_digits_that_are_no_number_of_a_layer_are_told_in_a_sentence(tmp_path, name, digits):
    """A name is a name, or refused in a sentence; never a number that Python cannot make."""
    model, path = tiny("llama"), tmp_path / "s.safetensors"
    save_file({name.format(digits): streams(model)[0][1].contiguous()}, path)
    for read in (lambda: read_states_of(path, model), lambda: read_layers(path)):
        with suppress(InvalidInput):
            read()


def read_states_of(path, model):
    return sipit.read_states(path, layer=1, model=model)


def test_a_file_of_a_cache_with_a_number_of_thousands_of_digits_is_refused(tmp_path):
    # No file has a name that long; but the name of one may be made anywhere.
    held = Stored("kv_cache", "F32", (2, 7, 64), lambda: torch.ones(2, 7, 64))
    with pytest.raises(InvalidInput, match="attention module"):
        vllm_cache([Container(tmp_path / f"layers.{'9' * 5000}.safetensors", (held,), {})])


@pytest.mark.parametrize("size", [True, False, 1.0, "7", None, -1, 2**70])
def test_sizes_in_a_header_of_numpy_are_whole_numbers(tmp_path, size):
    shapes = [(size, 64), (64, size), (size,)]
    for shape, ending in product(shapes, ("npy", "npz")):
        header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(256)
        path = tmp_path / f"s.{ending}"
        if ending == "npy":
            path.write_bytes(array)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.npy", array)
        with pytest.raises(InvalidInput):
            sipit.read_states(path, layer=1)


@pytest.mark.parametrize("token", [True, 1.5, "7", float("inf"), None, 10**30])
def test_ids_beside_an_answer_of_sglang_are_whole_numbers_or_none(tmp_path, token):
    path = tmp_path / "s.json"
    sglang(path, tiny("llama"))
    answers = json.loads(path.read_text())
    answer = answers[0] if isinstance(answers, list) else answers
    answer["meta_info"]["input_token_logprobs"][0][1] = token
    path.write_text(json.dumps(answers))
    known = sipit.read_states(path).source.token_ids
    assert known is None or known[0][0] == token == 10**30


@pytest.mark.parametrize("told", ["prompt_tokens", "input_token_logprobs", "both"])
def test_rows_that_a_radix_cache_left_out_are_missed(tmp_path, told):
    """The first rows are missing, so that ids from the first on would be those of other rows."""
    path = tmp_path / "s.json"
    sglang(path, tiny("llama"))
    answer = json.loads(path.read_text())
    answer["meta_info"]["hidden_states"][0] = answer["meta_info"]["hidden_states"][0][2:]
    for name in {"prompt_tokens", "input_token_logprobs"} - {told} if told != "both" else ():
        del answer["meta_info"][name]
    path.write_text(json.dumps(answer))
    with pytest.raises(InvalidInput, match="radix cache"):
        sipit.read_states(path)


def test_ids_of_a_part_of_a_prompt_are_left_away(tmp_path):
    path = tmp_path / "s.json"
    sglang(path, tiny("llama"))
    answer = json.loads(path.read_text())
    answer["meta_info"]["input_token_logprobs"] = answer["meta_info"]["input_token_logprobs"][2:]  # logprob_start_len
    answer["output_ids"] += [5, 6]  # so that there are as many as rows
    path.write_text(json.dumps(answer))
    assert sipit.read_states(path).source.token_ids is None


ODD = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("names", [("p0", "p1", "p2"), ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")])
@pytest.mark.parametrize("which", [0, 1])
def test_a_tensor_of_no_numbers_that_are_read_is_not_passed_over(tmp_path, kind, names, which):
    """Without it the prompts behind it would have the numbers of others, and its place would be none of the file's."""
    rows = {name: torch.ones(3 + number, 64) for number, name in enumerate(names)}
    rows[names[which]] = rows[names[which]].to(ODD[kind])
    save_file(rows, tmp_path / "s.safetensors")
    with pytest.raises(InvalidInput, match=rf"{re.escape(names[which])}', {kind}.*; widen it to F32"):
        sipit.read_states(tmp_path / "s.safetensors", layer=1)


def test_a_packed_tensor_of_gguf_is_not_passed_over(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "s.gguf", "llama")
    writer.add_tensor("a", np.ones((3, 64), dtype=np.float32))
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("b", gguf.quantize(np.ones((3, 64), dtype=np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InvalidInput, match="'b', Q8_0"):
        sipit.read_states(tmp_path / "s.gguf", layer=1)
