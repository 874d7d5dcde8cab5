"""Folders that people bring, made small: without a head, with an adapter, or multimodal."""

import copy
import json
from pathlib import Path

import peft
import torch
import transformers
from transformers import AutoModel, AutoModelForQuestionAnswering, AutoModelForSequenceClassification
from transformers import AutoModelForTokenClassification as AutoModelForTokens

import sipit
from sipit.models.structure import body_of
from sipit.models.tiny import tiny_config, tiny_module, tiny_tokenizer

PROMPT = [5, 6, 7, 300, 9]
HEADLESS = {
    "model": AutoModel,
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokens,
    "question": AutoModelForQuestionAnswering,
}
_TEXT = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 128, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_SEES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip
_IMAGE = {"image_token_id": 4, "video_token_id": 5, "vision_start_token_id": 6, "vision_end_token_id": 7}
_SECTIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}}


def has_class(family, kind):
    """Whether the library has a class of this kind for a family."""
    return type(tiny_config(family)) in HEADLESS[kind]._model_mapping


def drawn(make, *, seed=0):
    """A model that is made under a seed, and every parameter moved off the library's own initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return module.requires_grad_(False).eval()


def headless(family, kind, folder, *, config=None, seed=0):
    """Saves a model of a class without a language-model head, and hands it on."""
    module = drawn(lambda: HEADLESS[kind].from_config(config or tiny_config(family)), seed=seed)
    save(module, folder)
    return module


def save(module, folder, *, tokenizer="gpt2"):
    """Saves a module, and beside it a tokenizer by bytes (None: none); hands on the folder's name."""
    module.save_pretrained(folder)
    if tokenizer is not None:
        tiny_tokenizer(tokenizer).save_pretrained(folder)
    return str(folder)


def adapted(module, config, *, seed=1):
    """A `peft` model around a copy of a module, its own parameters moved off their start, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = peft.get_peft_model(copy.deepcopy(module), config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad and parameter.is_floating_point():
                    parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()


def save_adapter(model, folder, base):
    """Saves the adapter of a `peft` model; its configuration names the base as given."""
    model.save_pretrained(folder)
    rewrite(folder, base_model_name_or_path=None if base is None else str(base))
    return str(folder)


def rewrite(folder, **fields):
    """Changes fields of an adapter's configuration."""
    path = Path(folder) / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def lora_folder(folder, family="llama", *, base="../base", **options):
    """A base beside an adapter folder, both new: the `peft` model, and the name of the adapter folder."""
    module = tiny_module(family, seed=0)
    save(module, Path(folder) / "base", tokenizer=family)
    options = {"task_type": "CAUSAL_LM", "r": 4, "target_modules": ["q_proj", "v_proj"]} | options
    model = adapted(module, peft.LoraConfig(**options))
    return model, save_adapter(model, Path(folder) / "adapter", base)


def final_states(module, ids):
    """The states after the final norm of a prompt, by a plain forward of the text decoder inside a model."""
    with torch.inference_mode():
        return body_of(module)(input_ids=torch.tensor([ids]))[0][0]


def multimodal(kind):
    """A small multimodal model of the library, by the name of its kind."""
    return drawn(lambda: MULTIMODAL[kind]())


def _of(name, text, sees, **more):
    """A model whose class and configuration class begin alike."""
    config = getattr(transformers, f"{name}Config")(
        text_config={**_TEXT, **text}, vision_config=sees, image_token_index=4, **more
    )
    return getattr(transformers, f"{name}ForConditionalGeneration")(config)


MULTIMODAL = {
    "llava": lambda: _of("Llava", {"model_type": "llama"}, {**_SEES, "model_type": "clip_vision_model"}),
    "llava-next": lambda: _of("LlavaNext", {"model_type": "mistral"}, {**_SEES, "model_type": "clip_vision_model"}),
    "qwen2-vl": lambda: _of("Qwen2VL", _SECTIONS, {"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": 64,
                                                    "mlp_ratio": 2}, **_IMAGE),
    "qwen2.5-vl": lambda: _of("Qwen2_5_VL", _SECTIONS, {"depth": 2, "hidden_size": 32, "num_heads": 2,
                                                         "intermediate_size": 64, "out_hidden_size": 64}, **_IMAGE),
    "gemma3": lambda: _of("Gemma3", {"head_dim": 16, "sliding_window": 16}, _SEES, mm_tokens_per_image=4,
                          boi_token_index=8, eoi_token_index=9),
    "mllama": lambda: _of("Mllama", {"num_hidden_layers": 4, "cross_attention_layers": [1],
                                     "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
                          {**_SEES, "num_global_layers": 1, "attention_heads": 2, "vision_output_dim": 64,
                           "intermediate_layers_indices": [0]}),
    "idefics3": lambda: _of("Idefics3", {"model_type": "llama"}, _SEES, image_token_id=4, scale_factor=2),
    "internvl": lambda: _of("InternVL", {"model_type": "qwen2"}, _SEES, image_token_id=4),
}  # fmt: skip


def assert_same_network(model, theirs, *, differs_from=None):
    """Equal states up to rounding after the final norm, and others than those of the base."""
    states = sipit.capture(model, [PROMPT], layer="final")[0]
    torch.testing.assert_close(states, final_states(theirs, PROMPT), rtol=1e-4, atol=1e-4)
    if differs_from is not None:
        assert not torch.allclose(states, sipit.capture(differs_from, [PROMPT], layer="final")[0], rtol=1e-3, atol=1e-3)
