"""What the cache keeps and cannot be, is made anew: probes with other tensors, a calibration without its numbers."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from sipit.cache import keep_json, keep_tensors, kept_json, kept_tensors
from sipit.cli import run
from sipit.inversion.probes import keep_probes, kept_probes, probes_key, trained_probes
from sipit.inversion.token_rows import token_rows
from sipit.models.network import Network
from sipit.privacy.calibration import calibrate
from tests.sipit.cases import rest_slow, tiny


@pytest.mark.parametrize(
    "part", rest_slow("later.sizes", "trained", of=["later.sizes", "first.scale", "later.halves", "trained"])
)
@pytest.mark.parametrize("damage", [
    lambda tensor: tensor[..., :-1], lambda tensor: tensor * torch.nan, lambda _: None,
    lambda tensor: tensor.to(torch.complex64), lambda tensor: tensor.bfloat16(), lambda tensor: tensor.flatten()[0],
    lambda tensor: tensor.to(torch.float8_e4m3fn),
])  # fmt: skip
def test_probes(empty_cache, part, damage):
    network = Network(tiny("gpt2"), 1)
    key, rows_at = probes_key(network.model, network.place), partial(token_rows, network.model)
    keep_probes(key, trained_probes(network, positions=4))
    assert kept_probes(key, rows_at) is not None
    tensors = kept_tensors(key)
    changed = damage(tensors.pop(part))
    keep_tensors(key, tensors | ({} if changed is None else {part: changed.clone()}))
    assert kept_probes(key, rows_at) is None


def test_probes_for_rows_of_no_kind_or_another_shape(empty_cache):
    network = Network(tiny("gpt2"), 1)
    key, rows_at = probes_key(network.model, network.place), partial(token_rows, network.model)
    keep_probes(key, replace(trained_probes(network, positions=4), rows_of=7))
    assert kept_probes(key, rows_at) is None
    keep_probes(key, trained_probes(network, positions=4))
    assert kept_probes(key, rows_at) is not None and kept_probes(key, lambda layer: rows_at(layer)[:-1]) is None


@pytest.mark.parametrize(
    "kept",
    [
        {}, {"maxima": [], "ways": [], "spreads": []}, {"maxima": "x", "ways": 3, "spreads": [1]},
        {"maxima": [1.0], "ways": [], "spreads": [[[None]]]}, {"maxima": [1.0], "ways": [1], "spreads": [[[1.0]] * 3]},
    ],
)  # fmt: skip
def test_a_calibration(empty_cache, kept):
    model = tiny("gpt2")
    first = calibrate(model, range(model.layers + 1), torch.float32)
    (path,) = empty_cache.rglob("maxima/*.json")
    key = str(path.relative_to(empty_cache))
    keep_json(key, kept)
    assert calibrate(model, range(model.layers + 1), torch.float32).maxima == first.maxima
    assert kept_json(key) != kept


@pytest.mark.slow
def test_a_damaged_copy_of_weights_is_no_reason_to_reject(empty_cache, tmp_path, capsys):
    prompts, record = tmp_path / "prompts.txt", tmp_path / "record.json"
    prompts.write_text("ab\nba\n")
    make = ["certify", "tiny-llama", "--prompts", str(prompts), "--layer", "1", "-o", str(record)]
    assert run(make) == run(["verify", str(record)]) == 0
    (copy,) = empty_cache.glob("weights/*.safetensors")
    whole = copy.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-9], b""):
        copy.write_bytes(damaged)
        capsys.readouterr()
        assert run(["verify", str(record)]) == 2
        assert "not on this machine" in capsys.readouterr().err
        assert run(make) == run(["verify", str(record)]) == 0  # and makes the copy anew
