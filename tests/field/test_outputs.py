"""What a command writes never takes the place of what it reads, or of a part of a model."""

import shutil
import struct

import pytest
import torch

import sipit
from sipit.prompts.corpora import check_no_text
from tests.field.places import IDS, assert_refused, called, model_folder, plain_states, prompts_file
from tests.sipit.cases import tiny
from tests.sipit.foreign_files import sglang


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "model"
    return folder, model_folder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json"])
def test_no_part_of_a_model_is_written_over(whole, tmp_path, name):
    folder = shutil.copytree(whole[0], tmp_path / "model")
    before = (folder / name).read_bytes()
    prompts = prompts_file(tmp_path)
    if name.endswith(".json"):
        said = called("invert", folder, "--prompts", prompts, "-o", folder / name)
    else:
        said = called("capture", folder, "--prompts", prompts, "-o", folder / name)
    assert_refused(said, name, "choose another name")
    assert (folder / name).read_bytes() == before


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "adapter_model.safetensors"])
def test_nor_is_one_added_that_the_library_would_read(whole, tmp_path, name):
    folder = shutil.copytree(whole[0], tmp_path / "model")
    said = called("capture", folder, "--prompts", prompts_file(tmp_path), "-o", folder / name)
    assert_refused(said, name, "choose another name")
    said = called("check", folder, "--layer", 1, "-o", folder / "adapter_config.json")
    assert_refused(said, "adapter_config.json", "choose another name")
    assert {file.name for file in folder.iterdir()} == {file.name for file in whole[0].iterdir()}


def test_weights_that_a_folder_links_to_are_not_written_over(whole, tmp_path):
    folder, store = shutil.copytree(whole[0], tmp_path / "model"), tmp_path / "store.safetensors"
    (folder / "model.safetensors").rename(store)
    (folder / "model.safetensors").symlink_to(store)
    before = store.read_bytes()
    said = called("capture", folder, "--prompts", prompts_file(tmp_path), "-o", store)
    assert_refused(said, "store.safetensors", "choose another name")
    assert store.read_bytes() == before


def test_states_beside_a_model_are_written_again(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "model")
    for _ in range(2):
        out = folder / "states.safetensors"
        assert called("capture", folder, "--prompts", prompts_file(tmp_path), "-o", out)[0] == 0
    for _ in range(2):
        assert called("invert", folder, "--states", out, "-o", folder / "record.json")[0] == 0


@pytest.mark.parametrize("how", [("-o", "{}"), ("-o{}",), ("--output={}",), ("--output", "{}")])
def test_what_is_read_is_not_written_over(tmp_path, how):
    config = tmp_path / "mine.json"
    config.write_text("{}")
    (tmp_path / "link.json").symlink_to(config)
    for name in (config, tmp_path / "link.json"):
        assert_refused(called("verify", config, *[part.format(name) for part in how]), str(name), "choose another name")
    assert config.read_text() == "{}"


@pytest.fixture
def answers(tmp_path):
    """A folder of answers of SGLang, beside which records may stand."""
    folder = tmp_path / "answers"
    folder.mkdir()
    for name in ("p0", "p1"):
        sglang(folder / f"{name}.json", tiny("llama"))
    return folder


READERS = [("invert", "tiny-llama", "--states", "{}", "--layer", "final"),
           ("audit", "tiny-llama", "--states", "{}", "--layer", "final", "--prompts", "{}/../ids.jsonl"),
           ("compare", "{}", "{}")]  # fmt: skip


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
@pytest.mark.parametrize("linked", [False, True])
def test_what_a_folder_holds_is_not_written_over(answers, tmp_path, command, linked):
    prompts_file(tmp_path)
    out, before = answers / "p0.json", (answers / "p0.json").read_bytes()
    if linked:
        (tmp_path / "link").symlink_to(answers)
        out = tmp_path / "link" / "p0.json"
    said = called(*[part.format(answers) for part in command], "-o", out)
    assert_refused(said, "p0.json is read", "choose another name")
    assert (answers / "p0.json").read_bytes() == before


def test_a_folder_with_settings_behind_it_is_read_as_well(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "model")
    (folder / "emoji.json").write_text("{}")
    said = called("compare", f"{folder}@dtype=bfloat16", folder, "-o", folder / "emoji.json")
    assert_refused(said, "emoji.json is read", "choose another name")
    said = called("compare", f"{folder}@dtype=bfloat16", "tiny-llama", "-o", folder / "emoji.json")
    assert_refused(said, "emoji.json is read", "choose another name")


def test_a_record_beside_the_states_is_written_again(answers):
    for name in ("record.json", "record.json", "page.md", "page.md"):
        said = called("invert", "tiny-llama", "--states", answers, "--layer", "final", "-o", answers / name)
        assert said[0] == 0, said


def test_shards_and_settings_of_a_model_have_any_names(whole, tmp_path):
    """An index names shards as it likes, and tokenizers have files of their own."""
    folder = shutil.copytree(whole[0], tmp_path / "model")
    shutil.copy(folder / "model.safetensors", folder / "consolidated.00.safetensors")
    (folder / "emoji.json").write_text("{}")
    prompts = prompts_file(tmp_path)
    for command, name in (("capture", "consolidated.00.safetensors"), ("invert", "emoji.json")):
        before = (folder / name).read_bytes()
        assert_refused(called(command, folder, "--prompts", prompts, "-o", folder / name), name, "choose another name")
        assert (folder / name).read_bytes() == before


@pytest.mark.parametrize("name", ["a.md", "deeper/b.md", "new.md", "deeper/new.md", "../linked.md"])
def test_a_page_is_no_text_of_a_search(tmp_path, name):
    folder = tmp_path / "texts"
    (folder / "deeper").mkdir(parents=True)
    for text in (folder / "a.md", folder / "deeper" / "b.md", tmp_path / "linked.md"):
        text.write_text("mine")
    (folder / "deeper" / "link.md").symlink_to(tmp_path / "linked.md")
    assert_refused(called("collide", "tiny-gpt2", "--prompts", folder, "-o", folder / name), name, "choose another")
    check_no_text(tmp_path / "beside.md", str(folder))
    check_no_text(folder / "record.json", str(folder))


def test_states_of_half_precision_in_a_gguf_file(whole, tmp_path):
    from gguf import GGMLQuantizationType, GGUFWriter

    folder, module = whole
    writer = GGUFWriter(str(tmp_path / "s.gguf"), "llama")
    rows = plain_states(module).bfloat16()
    writer.add_tensor("l_out-0", rows.view(torch.uint8).numpy(), raw_dtype=GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (states,) = sipit.read_states(tmp_path / "s.gguf", layer=1, model=sipit.load_model(folder))
    assert torch.equal(states, rows)


def test_two_arrays_of_one_name_are_refused(whole, tmp_path):
    import zipfile

    rows = plain_states(whole[1]).numpy()
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {rows.shape}, }}".ljust(117).encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + rows.tobytes()
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for _ in range(2):
            archive.writestr("a.npy", content)
    said = called("invert", whole[0], "--states", tmp_path / "s.npz", "--layer", 1)
    assert_refused(said, "two of one")


def test_what_cannot_be_kept_ends_no_search(monkeypatch, tmp_path):
    from safetensors import SafetensorError

    def too_long(*_):
        raise SafetensorError("header too large")

    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path))
    monkeypatch.setattr("safetensors.torch.save", too_long)
    model = tiny("llama")
    (found,) = sipit.invert(model, sipit.capture(model, [IDS], layer=1))
    assert found.token_ids == IDS
