"""Files of states as other programs write them: of a plain run of the model, in the layout that each documents."""

import json

import numpy as np
import torch
from safetensors.torch import save_file

import sipit

IDS = [104, 7, 33, 250, 9, 180, 61]


def streams(model, ids=IDS):
    """The residual stream at every layer, (L+1, T, d), and the state behind the final norm (T, d)."""
    blocks = [sipit.capture(model, [ids], layer=layer)[0] for layer in range(model.layers + 1)]
    return torch.stack(blocks), sipit.capture(model, [ids], layer="final")[0]


def hidden_states(model, ids=IDS):
    """`hidden_states` of `transformers`, stacked: (L+1, N, T, d)."""
    with torch.inference_mode():
        return torch.stack(model.module(torch.tensor([ids]), output_hidden_states=True).hidden_states)


def vllm(path, model, layers=None):
    rows = streams(model)[0].transpose(0, 1)
    chosen = rows if layers is None else rows[:, layers]
    save_file({"hidden_states": chosen.contiguous(), "token_ids": torch.tensor(IDS)}, path)


def lens(path, model, *, centred=False):
    rows = streams(model)[0]
    rows = rows - rows.mean(-1, keepdim=True) if centred else rows
    hooks = {f"blocks.{n}.hook_resid_post": rows[n + 1][None].contiguous() for n in range(model.layers)}
    save_file({"blocks.0.hook_resid_pre": rows[0][None].contiguous(), "hook_scale": torch.ones(1, 7, 1), **hooks}, path)


def modules(path, model):
    names = {id(module): name for name, module in model.module.named_modules()}
    rows = streams(model)[0]
    save_file(
        {f"{names[id(block)]}.output.0": rows[n + 1].clone() for n, block in enumerate(model.decoder.blocks)}, path
    )


def llama_cpp(path, model):
    rows, final = streams(model)
    save_file({**{f"l_out-{n}": rows[n + 1].clone() for n in range(model.layers)}, "result_norm": final.clone()}, path)


def gguf(path, model):
    from gguf import GGUFWriter

    writer = GGUFWriter(str(path), "llama")
    for layer, rows in enumerate(streams(model)[0][1:]):
        writer.add_tensor(f"l_out-{layer}", rows.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sglang(path, model, *, ids=True):
    final = streams(model)[1]
    meta = {"hidden_states": [final[:5].tolist(), final[5].tolist(), final[6].tolist()], "prompt_tokens": 5}
    if ids:
        meta["input_token_logprobs"] = [[None, token, None] for token in IDS[:5]]
    path.write_text(json.dumps({"text": "?", "output_ids": [*IDS[5:], 3], "meta_info": meta}))


WRITTEN = {
    "vllm": ("s.safetensors", vllm, 1, True),
    "lens": ("s.safetensors", lens, 1, None),
    "modules": ("s.safetensors", modules, 1, None),
    "llama.cpp": ("s.safetensors", llama_cpp, 1, None),
    "gguf": ("s.gguf", gguf, 1, None),
    "sglang": ("s.json", sglang, "final", True),
    "stack": ("s.safetensors", lambda p, m: save_file({"h": hidden_states(m)[:, 0].contiguous()}, p), 1, None),
    "batch": ("s.safetensors", lambda p, m: save_file({"h": hidden_states(m)}, p), 1, None),
    "npy": ("s.npy", lambda p, m: np.save(p, streams(m)[0][1].numpy()), 1, None),
    "npz": ("s.npz", lambda p, m: np.savez(p, a=streams(m)[0][1].numpy(), ids=np.array(IDS)), 1, True),
}
