"""`sipit certify` and `sipit verify` end to end, and enclosures of whole captured networks against Arb."""

import json

import flint
import numpy as np
import pytest
import torch

import sipit
from numerics.graphs.capture import capture_graph
from proofs import InvalidInput, Unsupported, Verdict, certify_separation
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.fixed_point import FixedPoint
from proofs.enclosures.continuations import Continuations
from proofs.operations.interpreter import evaluate
from sipit.claims.certify import certify
from sipit.claims.kept_enclosures import KeptTrails
from sipit.claims.weights import weights_of
from sipit.cli import run
from sipit.models.copies import in_dtype
from tests.sipit.cases import tiny

PROMPTS = [[1, 2, 3], [1, 2, 4], [5, 2, 3], [1, 2, 3]]
FEW = ("llama", "gemma3", "bloom")
ENCLOSED = (
    "gpt2", "gpt-neo", "gpt-neox", "opt", "bloom", "llama", "mistral", "qwen2", "qwen3", "phi3", "gemma3", "olmo2",
    "falcon", "stablelm", "mixtral", "mamba",
)  # fmt: skip


def outside(graph, weights, tokens, *, bits, high):
    """How many entries of a run in many more bits are not certainly inside their enclosure, and how many there are."""
    inputs = {"tokens": np.array([tokens])}
    found = evaluate(graph, {**inputs, **weights}, FixedPoint(bits))
    with Balls(high) as balls:
        exact = {
            name: np.frompyfunc(flint.arb, 1, 1)(w.astype(np.float64).astype(object)) for name, w in weights.items()
        }
        true = evaluate(graph, {**inputs, **exact}, balls)
        gaps = zip(true.ravel(), found.mantissa.ravel(), found.radius.ravel(), strict=True)
        bad = sum(not abs(t - flint.arb((m, -bits))) <= flint.arb(float(r)) * flint.arb((1, -bits)) for t, m, r in gaps)
    return bad, found.mantissa.size


def contained(family, prompts):
    model = tiny(family)
    graph = capture_graph(model.module.config, None, "eager", length=len(prompts[0]))
    weights, _ = weights_of(model, [graph])
    counts = [outside(graph, weights, tokens, bits=120, high=240) for tokens in prompts]
    assert sum(bad for bad, _ in counts) == 0
    return sum(size for _, size in counts)


def test_states_lie_in_their_enclosures():
    assert contained("llama", [[1, 2, 3]]) == 3 * 64


@pytest.mark.slow
@pytest.mark.parametrize("family", ENCLOSED)
def test_states_of_every_family_lie_in_their_enclosures(family):
    random = np.random.default_rng(0)
    assert contained(family, random.integers(0, 256, (3, 5)).tolist()) == 3 * 5 * 64


@pytest.mark.slow
def test_states_of_width_256_lie_in_their_enclosures():
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2,
    )  # fmt: skip
    module = transformers.LlamaForCausalLM(config)
    graph = capture_graph(config, None, "eager", length=8)
    weights = {name: module.state_dict()[name].numpy() for name, _ in graph.parameters()}
    random = np.random.default_rng(1)
    checked = [outside(graph, weights, row, bits=160, high=260) for row in random.integers(0, 64, (3, 8)).tolist()]
    assert sum(bad for bad, _ in checked) == 0
    assert sum(size for _, size in checked) == 3 * 8 * 256


@pytest.fixture(scope="module")
def record():
    return certify(tiny("gpt2"), PROMPTS, layer=2)


def test_the_record_keeps_its_contract(record):
    result = record.result
    assert record.verdict is Verdict.COLLISION
    assert (result["pairs"], result["certified"], result["layer"]) == (6, 5, 2)
    assert result["uncertified"] == [
        {"first": 0, "second": 3, "family": "same prompt", "reason": "equal over the reals"}
    ]
    assert 0 < float(result["minimum_lower_bound"]) <= result["minimum_distance_float64"] * (1 + 1e-12)
    assert result["bits"] >= 64
    json.dumps(record.to_json(), allow_nan=False)


def test_noise_is_bounded_in_every_arithmetic_and_ordered(record):
    layers = record.result["noise_budget"]["layers"]
    assert [entry["layer"] for entry in layers] == [1, 2]
    for entry in layers:
        noise = entry["noise"]
        assert 0 < noise["float64, cast-free"] < noise["float32"] < noise["bfloat16"] < entry["largest_state"]


@pytest.mark.parametrize("family", ["gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in FEW)])
def test_a_record_is_written_and_verified(family, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"token_ids": row}) + "\n" for row in PROMPTS[:3]))
    record = tmp_path / "record.json"
    assert run(["certify", f"tiny-{family}", "--prompts", str(prompts), "--no-noise", "-o", str(record)]) == 0
    assert run(["verify", str(record)]) == 0
    data = json.loads(record.read_text())
    data["result"]["minimum_lower_bound"] = "9.9e+9"
    record.write_text(json.dumps(data))
    assert run(["verify", str(record)]) == 1


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_embeddings_alone_are_certified_and_verified(family, tmp_path):
    record = certify(tiny(family), [[1, 2], [3, 2], [1, 4]], layer=0)
    reasons = [(pair["first"], pair["second"], pair["family"]) for pair in record.result["uncertified"]]
    assert reasons == [(0, 1, "window reach")]  # the last token is all that there is to see
    file = tmp_path / "record.json"
    file.write_text(record.dumps())
    assert run(["verify", str(file)]) == 0


def test_weights_of_another_model_are_rejected(tmp_path, record):
    file = tmp_path / "record.json"
    file.write_text(record.dumps())
    other = tmp_path / "other"
    in_dtype(tiny("gpt2", "bfloat16"), torch.float32).module.save_pretrained(other)
    assert run(["verify", str(file), "--model", str(other)]) == 1
    assert run(["verify", str(file), "--model", str(tmp_path)]) == 2


@pytest.mark.parametrize(("stored", "computed"), [(torch.float32, "bfloat16"), (torch.float64, "float32")])
def test_weights_that_were_rounded_when_they_were_loaded_are_found_again(stored, computed, tmp_path, monkeypatch):
    """From the cache, and without it from the folder, in the type that the record names."""
    folder, prompts, file = (tmp_path / name for name in ("model", "prompts.txt", "record.json"))
    drawn = sipit.load_model("tiny-gpt2", dtype="float64")
    with torch.no_grad():
        for value in drawn.module.parameters():
            value.mul_(1 + 1e-10)  # no float32 holds it
    drawn.module.to(stored).save_pretrained(folder)
    drawn.tokenizer.save_pretrained(folder)
    prompts.write_text("one\ntwo\n")
    line = ["certify", folder, "--prompts", prompts, "--layer", 1, "--no-noise", "--dtype", computed, "-o", file]
    assert run([str(one) for one in line]) == 0
    assert run(["verify", str(file)]) == 0
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "empty"))
    assert run(["verify", str(file), "--model", str(folder)]) == 0
    (folder / "config.json").unlink()
    assert run(["verify", str(file), "--model", str(folder)]) == 1


def test_a_model_of_another_class_is_told_from_hidden_values(tmp_path, record, capsys):
    file = tmp_path / "record.json"
    file.write_text(record.dumps())
    assert run(["verify", str(file), "--model", "tiny-llama"]) == 2
    assert "but tiny-llama has none; name the model that the graph is of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "drawn", [pytest.param(["--seed", "5"], marks=pytest.mark.slow), ["--seed", "5", "--dtype", "bfloat16"]]
)
def test_weights_that_were_drawn_are_drawn_again_as_they_were(drawn, tmp_path, monkeypatch, capsys):
    """Where no cache has them, what the record says of itself finds them, and their digest decides."""
    prompts, file = tmp_path / "prompts.txt", tmp_path / "record.json"
    prompts.write_text("one\ntwo\n")
    line = ["certify", "tiny-gpt2", "--prompts", str(prompts), "--layer", "1", "--no-noise", "-o", str(file)]
    assert run([*line, *drawn]) == 0
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "empty"))
    assert run(["verify", str(file), "--model", "tiny-gpt2"]) == 0
    for wrong in ({"seed": 6}, {"seed": 2**70}, {"seed": [5]}, {"dtype": ["bfloat16"]}, {"dtype": "int7"}, {}):
        data = json.loads(file.read_text())
        kept = {name: data["provenance"][name] for name in ("seed", "dtype")}
        data["provenance"] = {**data["provenance"], **wrong}
        (tmp_path / "other.json").write_text(json.dumps(data))
        found = run(["verify", str(tmp_path / "other.json"), "--model", "tiny-gpt2"])
        names = {"seed": 0, "dtype": "float32"}  # what is taken where nothing can be read
        read = {**kept, **({} if wrong == {} else wrong if wrong == {"seed": 6} else {n: names[n] for n in wrong})}
        assert found == (0 if read == kept else 1), wrong
    capsys.readouterr()


@pytest.mark.parametrize(
    "options", [["--layer", "9"], ["--layer", "final"], ["--bits", "many"], ["--bits", "5"], ["--prompts", "none.txt"]]
)
def test_bad_options_end_with_one_sentence(options, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\n")
    output = tmp_path / "record.json"
    assert run(["certify", "tiny-gpt2", "--prompts", str(prompts), "-o", str(output), *options]) == 2
    assert capsys.readouterr().err.strip().startswith("sipit: Expected")
    assert not output.exists()


def test_prompts_too_long_for_memory_are_refused_with_what_fits(monkeypatch):
    monkeypatch.setattr("sipit.claims.certify.available_memory", lambda: 40e6)
    with pytest.raises(InvalidInput, match=r"at most [0-9]+ tokens fit"):
        certify(tiny("gpt2"), [[1] * 100, [2] * 100])


def test_the_whole_vocabulary_after_a_prefix_and_the_token_of_an_observed_state(tmp_path, capsys):
    prompts, states, record = tmp_path / "p.jsonl", tmp_path / "s.safetensors", tmp_path / "r.json"
    prompts.write_text('{"token_ids": [7, 300, 41]}')
    assert run(["capture", "tiny-gpt2", "--prompts", str(prompts), "--layer", "1", "-o", str(states)]) == 0
    prompts.write_text('{"token_ids": [7, 300]}')
    line = ["certify", "tiny-gpt2", "--prompts", str(prompts), "--layer", "1", "--no-noise", "-o", str(record)]
    assert run([*line, "--vocabulary", "60", "--states", str(states), "--noise", "1e-3"]) == 0
    result = json.loads(record.read_text())["result"]
    assert (result["pairs"], result["certified"]) == (60 * 59 // 2, 60 * 59 // 2)
    assert (result["matches"], result["unique"]) == ([41], True)
    assert run(["verify", str(record)]) == 0
    assert run([*line, "--vocabulary", "1"]) == 2
    assert run([*line, "--vocabulary", "9", "--states", str(states), "--noise", "much"]) == 2
    prompts.write_text(json.dumps({"token_ids": [7] * tiny("gpt2").limit}))
    for options in ([], ["--bits", "60"]):
        assert run([*line, "--vocabulary", "9", *options]) == 2
        assert "shorten it" in capsys.readouterr().err


@pytest.mark.slow
def test_the_margin_over_the_whole_vocabulary_is_certified_and_verified(tmp_path, capsys):
    prompts, record = tmp_path / "p.jsonl", tmp_path / "r.json"
    prompts.write_text('{"token_ids": [7, 300]}')
    line = ["certify", "tiny-gpt2", "--prompts", str(prompts), "--layer", "1", "-o", str(record)]
    assert run([*line, "--vocabulary", "all"]) == 0
    assert "the closest of the tokens" in capsys.readouterr().out
    data = json.loads(record.read_text())
    result = data["result"]
    assert (result["pairs"], result["certified"], result["layer"]) == (512 * 511 // 2, 512 * 511 // 2, 1)
    assert (result["tokens"], result["prefix"], result["duplicates"]) == (512, [7, 300], [])
    assert 0 < float(result["minimum_lower_bound"]) < float(result["others_at_least"])
    assert float(result["minimum_lower_bound"]) <= result["minimum_distance_float64"] * (1 + 1e-12)
    assert record.stat().st_size < 1e6
    assert run(["verify", str(record), "--steps", "3"]) == 0
    assert "float64" in capsys.readouterr().out
    assert run(["report", str(record), "-o", str(tmp_path / "r.html")]) == 0
    for name, value in (("tokens", 511), ("others_at_least", "99.0"), ("minimum_lower_bound", "9.9e+9")):
        record.write_text(json.dumps({**data, "result": {**result, name: value}}))
        assert run(["verify", str(record), "--steps", "1"]) == 1
    assert run([*line, "--vocabulary", "1"]) == 2
    assert run([*line, "--vocabulary", "most"]) == 2
    prompts.write_text('{"token_ids": [7]}\n{"token_ids": [8]}')
    assert run([*line, "--vocabulary", "all"]) == 2


def test_choices_that_differ_from_token_to_token_are_refused_in_one_sentence(tmp_path, capsys):
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"token_ids": [7, 300]}')
    assert run(["certify", "tiny-mixtral", "--prompts", str(prompts), "--vocabulary", "all"]) == 2
    assert capsys.readouterr().err.strip().endswith("the network ranks or rounds what varies with them.")


def states_outside(family, prefix, tokens, *, layer=None):
    """How many entries of the last states in Arb are not inside their float64 enclosures, and how many there are."""
    model = tiny(family)
    graph = capture_graph(model.module.config, layer, "eager", length=len(prefix) + 1)
    weights, _ = weights_of(model, [graph])
    mid, radius = Continuations.of(graph, weights, prefix).states(tokens)
    bad = 0
    with Balls(240) as balls:
        exact = {
            name: np.frompyfunc(flint.arb, 1, 1)(w.astype(np.float64).astype(object)) for name, w in weights.items()
        }
        for place, token in enumerate(tokens):
            true = evaluate(graph, {"tokens": np.array([[*prefix, token]]), **exact}, balls)[0, -1]
            rows = zip(true.tolist(), mid[place].tolist(), radius[place].tolist(), strict=True)
            bad += sum(not abs(t - flint.arb(m)) <= flint.arb(r) for t, m, r in rows)
    return bad, mid.size


@pytest.mark.parametrize("family", ["llama"])
def test_states_after_a_prefix_lie_in_their_enclosures(family):
    assert states_outside(family, [1, 300], [2, 77, 511], layer=1) == (0, 3 * 64)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in ENCLOSED if name != "mixtral"])
def test_states_of_every_family_after_a_prefix_lie_in_their_enclosures(family):
    random = np.random.default_rng(0)
    tokens = random.choice(512, 6, replace=False).tolist()
    assert states_outside(family, random.integers(0, 512, 4).tolist(), tokens) == (0, 6 * 64)


def test_hidden_weights_are_refused():
    import copy
    from dataclasses import replace

    model = tiny("gpt2")
    module = copy.deepcopy(model.module)
    weight = module.transformer.h[0].mlp.c_fc.weight
    weight.requires_grad_(False)
    module.transformer.h[0].mlp.c_fc.weight = torch.nn.Parameter(weight.to(torch.int8), requires_grad=False)
    with pytest.raises(Unsupported, match="dequantise"):
        certify(replace(model, module=module), PROMPTS)


def test_an_interrupted_run_resumes(monkeypatch):
    monkeypatch.setattr("sipit.claims.kept_enclosures.WORTH", 0.0)
    model = tiny("llama")
    graph = capture_graph(model.module.config, 1, "eager", length=3)
    weights, _ = weights_of(model, [graph])
    trails = KeptTrails("test", [graph])
    made = []

    def stop(trail):
        trails.keep(trail)
        made.append(trail.tokens)
        if len(made) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        certify_separation(graph, weights, PROMPTS, keep=stop)
    kept = trails.read(PROMPTS)
    assert set(kept) == set(made)
    again = []
    resumed = certify_separation(graph, weights, PROMPTS, kept=kept, keep=lambda trail: again.append(trail.tokens))
    assert again == [(5, 2, 3)]
    assert resumed.to_json() == certify_separation(graph, weights, PROMPTS).to_json()
    trails.forget()
    assert trails.read(PROMPTS) == {}


@pytest.mark.slow
def test_processes_give_the_same_certificate():
    model = tiny("gpt2")
    graph = capture_graph(model.module.config, 1, "eager", length=3)
    weights, _ = weights_of(model, [graph])
    one, two = (certify_separation(graph, weights, PROMPTS[:3], bits=90, workers=n) for n in (1, 2))
    assert one.to_json() == two.to_json()


@pytest.mark.slow
def test_prompts_that_there_is_no_room_to_tell_equal_stay_open(tmp_path, capsys, monkeypatch):
    """Repeated tokens have one state here: shown to be equal, or else undecided, and never misuse."""
    prompts, record = tmp_path / "prompts.jsonl", tmp_path / "record.json"
    prompts.write_text('{"token_ids": [3]}\n{"token_ids": [3, 3]}\n{"token_ids": [4, 3]}\n')
    line = ["certify", "tiny-llama", "--prompts", str(prompts), "--layer", "1", "--no-noise", "-o", str(record)]
    assert run(line) == 1
    told = json.loads(record.read_text())["result"]
    assert (told["uncertified"][0]["family"], told["collisions_undecided"]) == ("repeated tokens", None)
    monkeypatch.setattr("proofs.kernel.value_numbering.table.LARGEST_TABLE", 100)
    assert run(line) == 3
    assert "whether open pairs are equal was not told: the values of the network" in capsys.readouterr().out
    told = json.loads(record.read_text())["result"]
    assert told["uncertified"] == [{"first": 0, "second": 1, "reason": "enclosures meet"}]
    assert "more than 4194304 entries" in told["collisions_undecided"]
    assert run(["verify", str(record)]) == 0
