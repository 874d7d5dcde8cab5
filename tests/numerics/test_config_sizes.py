"""Configs with sizes that are none, or that ask for unnamed outputs: refused in a sentence, or captured rightly."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from numerics.graphs.capture import capture_graph
from numerics.networks.configuration import expect_sizes, read_config
from numerics.networks.shrinking import small_copy
from numerics.networks.text_class import context_of
from proofs import InvalidInput, Unsupported
from proofs.structure.dependence import causal
from sipit.models.digest import canonical_config
from sipit.models.stored_class import read_whole_config
from tests.sipit.cases import rest_slow

DECODER = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")
SIZES = {
    "llama": DECODER, "mistral": DECODER, "qwen3": DECODER, "gpt2": ("n_embd", "n_inner", "n_head", "n_positions"),
    "mamba": ("hidden_size", "state_size", "conv_kernel", "expand", "time_step_rank"),
}  # fmt: skip
SMALL = {
    "hidden_size": 32, "num_heads": 4, "vocab_size": 64, "max_position_embeddings": 64, "window_size": 3,
    "num_hidden_layers": 1, "n_layer": 1,
}  # fmt: skip
BESIDE = ({}, {"head_dim": 8}, {"num_key_value_heads": 2})


@pytest.mark.parametrize("size", [0, pytest.param(-1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "family", [one if one in ("mistral", "mamba") else pytest.param(one, marks=pytest.mark.slow) for one in SIZES]
)
def test_no_size_below_one_is_captured_for_another(family: str, size: int, tmp_path: Path) -> None:
    """It is refused in a sentence, or the library reads it as a size that it names itself."""
    plain = AutoConfig.for_model(family).to_dict() | SMALL
    path = tmp_path / "config.json"
    for name in ("vocab_size", "num_hidden_layers", *SIZES[family]):
        for beside in BESIDE:
            config = plain | {"num_attention_heads": 4, "intermediate_size": 48, "n_embd": 32} | beside | {name: size}
            path.write_text(json.dumps(config))
            try:
                graph = capture_graph(path, length=3)
            except (InvalidInput, Unsupported) as refusal:
                assert "\n" not in str(refusal) and str(refusal).startswith("Expected ")
                continue
            assert causal(graph) and all(0 not in node.type.shape for node in graph.nodes), (name, beside)


@pytest.mark.parametrize("family", rest_slow("llama", of=["gpt2", "llama", "mamba"]))
def test_a_config_without_named_outputs_is_the_network_that_it_is_with_them(family: str) -> None:
    config, unnamed = (small_copy(AutoConfig.for_model(family)) for _ in range(2))
    unnamed.return_dict = False
    graphs = [capture_graph(one, length=3) for one in (config, unnamed)]
    assert graphs[0].nodes == graphs[1].nodes and unnamed.return_dict is False


@pytest.mark.parametrize("family", ["mamba2", "bamba"])
def test_infinities_are_read_as_the_library_writes_them(family: str, tmp_path: Path) -> None:
    config = small_copy(AutoConfig.for_model(family))
    config.save_pretrained(tmp_path)
    assert "Infinity" in (tmp_path / "config.json").read_text()
    assert read_config(tmp_path).time_step_limit == config.time_step_limit


def test_a_number_without_a_name_is_no_size(tmp_path: Path) -> None:
    data = {"model_type": "llama", "rms_norm_eps": {"__float__": "NaN"}}
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(InvalidInput, match="finite numbers in a config, but got rms_norm_eps=nan"):
        read_config(tmp_path)


@pytest.mark.parametrize(("kind", "name"), [
    ("llama", "max_position_embeddings"), ("gpt2", "n_positions"), ("mpt", "max_seq_len"), ("dbrx", "max_seq_len"),
    ("whisper", "max_target_positions"), ("xglm", "max_position_embeddings"), ("mamba", None), ("bloom", None),
])  # fmt: skip
def test_the_context_is_found_by_what_its_class_calls_it(kind: str, name: str | None) -> None:
    config = AutoConfig.for_model(kind, **({} if name is None else {name: 77}))
    assert context_of(config) == (None if name is None else 77)


MANY = [10**7, 10**10, 10**4000]
LISTS = {
    "labels": ("llama", "num_labels", lambda size: size),
    "blocks": ("qwen2", "num_hidden_layers", lambda size: size),
    "kinds": ("gpt_neo", "attention_types", lambda size: [[["global"], size]]),
    "kinds, a part of them at a time": ("gpt_neo", "attention_types", lambda size: [[["global"] * 1000, 1000]] * 20),
    "blocks that predict": ("step3p7", "num_nextn_predict_layers", lambda size: size),
    "blocks of the text": ("gemma3", "text_config", lambda size: {"num_hidden_layers": size}),
    "labels of what it sees": ("gemma3", "vision_config", lambda size: {"num_labels": size}),
    "experts in every block but the first": ("cohere2_moe", "first_k_dense_replace", lambda size: size * 2),
}


def made(*_: object, **__: object) -> None:
    raise AssertionError("a class was asked")


@pytest.mark.parametrize("size", MANY, ids=["7", "10", "4000"])
@pytest.mark.parametrize("kind", LISTS)
def test_no_class_makes_a_list_that_is_as_long_as_a_stranger_says(tmp_path, monkeypatch, kind, size):
    """Neither where a configuration is looked at alone nor where a model is loaded."""
    family, name, value = LISTS[kind]
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": family, name: value(size)}))
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", made)
    for read in (read_config, lambda path: read_whole_config(str(path.parent))):
        with pytest.raises(InvalidInput, match=r"of at most .* give a smaller config"):
            read(path)


def test_a_number_in_a_gguf_file_is_looked_at_first(tmp_path):
    import gguf

    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(10**7)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InvalidInput, match="num_hidden_layers of at most"):
        read_whole_config(str(path))


@pytest.mark.slow
def test_what_a_class_has_by_itself_is_no_such_size():
    for family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        data: dict[str, Any] = {}
        with suppress(StrictDataclassError, ValueError, TypeError, AttributeError):  # some need to be told their parts
            data = AutoConfig.for_model(family).to_dict()
        expect_sizes(data)


def test_a_configuration_alone_is_of_the_class_that_loading_makes(tmp_path):
    """One of Mistral with kinds of layers is another class."""
    kinds = ["sliding_attention", "full_attention"]
    base = AutoConfig.for_model("mistral").to_dict() | SMALL | {"sliding_window": 4, "num_hidden_layers": 2}
    for data in (base, base | {"layer_types": kinds}):
        (tmp_path / "config.json").write_text(json.dumps(data))
        alone, loaded = read_config(tmp_path), read_whole_config(str(tmp_path))
        assert type(alone) is type(loaded) and canonical_config(alone) == canonical_config(loaded)
        assert alone.name_or_path == ""


def test_a_configuration_that_names_another_file_is_refused(tmp_path):
    data = AutoConfig.for_model("llama").to_dict() | SMALL
    (tmp_path / "config.json").write_text(json.dumps(data | {"configuration_files": ["config.4.0.0.json"]}))
    (tmp_path / "config.4.0.0.json").write_text(json.dumps(data | {"num_hidden_layers": 2}))
    for read in (read_config, lambda path: read_whole_config(str(path))):
        with pytest.raises(InvalidInput, match="configuration_files"):
            read(tmp_path)
