"""One capture of a network for every number system: from a config, a folder or a module to `proofs.Graph`.

The model is built on the meta device, so that a config of 70 billion parameters costs no memory; `torch.export`
records what it does to one prompt of a fixed length, and `numerics.graphs.lowering` turns that into operations with a
meaning. Nothing is cut but what lies behind the layer asked for: every block is visited.
"""

# pyright: reportPrivateUsage=false
# torch has no public way to replace a parameter or a buffer by a fake one.

import contextlib
from collections.abc import Generator
from typing import Any, Literal

import torch

from numerics.graphs.buffers import Buffers, buffer_values, held_buffers
from numerics.graphs.decomposition import decompose
from numerics.graphs.lowering import lower
from numerics.graphs.runs import UpTo, Whole
from numerics.graphs.vocabulary import guessed_vocabulary, with_read_vocabulary
from numerics.networks.configuration import read_config
from numerics.networks.library import asked_of_a_class, unlogged
from numerics.networks.text_class import new_text_model, text_blocks
from proofs.arguments import one_of, switch, whole
from proofs.errors import InvalidInput, Unsupported
from proofs.network.graph import Graph

LONGEST = 2**20  # tokens of a prompt


def capture_graph(
    source: Any,
    layer: int | None = None,
    attention: Literal["eager", "sdpa"] = "eager",
    *,
    length: int = 8,
    distinct: bool = False,
    stored: bool = False,
) -> Graph:
    """The network from token ids and parameters to the residual stream after `layer` blocks.

    Args:
        source: a path to a config.json or to a folder with one, a transformers config, or a torch module that maps
            ids of shape (1, length) to states; a transformers model is cut like its config, in the mode it is in.
        layer: blocks passed; None for all of them, 0 for the embeddings alone. A module without a transformers config
            is captured whole, and this is only noted.
        attention: the attention implementation to capture.
        length: number of tokens of the prompt; the graph, and what is proved of it, is for this length.
        distinct: of a config keep only the shortest run of first blocks in which every kind of block occurs; `about`
            says so.
        stored: of a config, whether the graph is about one checkpoint: all buffers that it holds are parameters then,
            of which those that the class computes are constants else. A module without one has those it has.

    Raises:
        InvalidInput: no such config, not JSON, not a decoder, absurd sizes, or a layer it does not have.
        Unsupported: the architecture needs code outside the library, or cannot be traced.
    """
    length, distinct = whole("tokens", length, least=1, most=LONGEST, example=8), switch("distinct", distinct)
    stored = switch("stored", stored)
    one_of("an attention", attention, ("eager", "sdpa"))
    layer = None if layer is None else whole("the layer", layer, least=0)
    if isinstance(source, torch.nn.Module) and not _of_the_library(source):
        about = {"module": type(source).__name__, "length": length}
        run, buffers, guess = Whole(source), Buffers(buffer_values(source)), guessed_vocabulary(source)
        graph = _export(run, source, buffers, length, layer=layer or 0, vocabulary=guess, about=about)
        return with_read_vocabulary(graph)
    model = source if isinstance(source, torch.nn.Module) else build(read_config(source), attention)
    blocks = find_blocks(model)
    full = len(blocks)
    if distinct and model is not source:
        blocks = cut_to_distinct(model, blocks)
    chosen = len(blocks) if layer is None else layer
    if not 0 <= chosen <= len(blocks):
        raise InvalidInput(f"Expected a layer from 0 to {len(blocks)}, but got layer={layer}; choose one of them.")
    config: Any = model.config
    text = config.get_text_config()
    about = {
        "architecture": type(model).__name__,
        "model_type": config.model_type,
        "layers": full,
        "captured_layers": len(blocks),
        "width": getattr(text, "hidden_size", None),
        "vocabulary": text.vocab_size,
        "attention": str(getattr(config, "_attn_implementation", None)),
        "length": length,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    buffers, run = Buffers.of_class(model, stored=stored), UpTo(model, blocks, chosen)
    graph = _export(run, model, buffers, length, layer=chosen, vocabulary=text.vocab_size, about=about)
    shape = graph.nodes[graph.output].type.shape
    if len(shape) < 3 or (len(shape) == 3 and shape[0] != 1):  # of several streams a class may put the number first
        raise Unsupported(f"Expected states of shape (1, {length}, width), but got {shape}; give another class.")
    return graph


def _of_the_library(module: torch.nn.Module) -> bool:
    """Whether a module has a config of the library; one of its own, whatever it is called, says nothing of blocks."""
    import transformers

    return isinstance(getattr(module, "config", None), transformers.PretrainedConfig)


def build(config: Any, attention: str = "eager", *, device: str = "meta") -> torch.nn.Module:
    """The causal language model of a config, in evaluation mode; on the meta device it holds no numbers.

    Raises:
        Unsupported: the class cannot be built from this config, or not with this attention implementation; or a size
            of 0 leaves a weight no entries.
    """
    import copy

    config = copy.deepcopy(config)
    config.use_cache = False
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        part._experts_implementation = "batched_mm"  # the loop over experts depends on data and cannot be traced
        part.return_dict = True  # their own code reads the fields of what a body hands on
    expected = f"Expected a config that builds with attention={attention!r}, but {config.model_type!r} does not"
    with (
        asked_of_a_class(Unsupported, expected, "name another attention, or correct the config"),
        torch.device(device),
        unlogged(),
    ):
        model = new_text_model(config, attn_implementation=attention, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if not parameter.numel():  # what a size of 0 leaves is no such network, and libraries fail at it here and there
            raise Unsupported(
                f"Expected a config whose weights all have entries, but {name} of {config.model_type!r} has shape "
                f"{tuple(parameter.shape)}; correct the size that is 0."
            )
    return model.eval()


def expect_computed(module: torch.nn.Module, config: Any) -> None:
    """Compares the buffers of a checkpoint with those that its class computes, which a graph of the class has.

    Raises:
        Unsupported: it holds other ones, so that what is proved of the class says nothing of it.
    """
    if next(held_buffers(module), None) is None:
        return
    others = Buffers.of_class(build(config), stored=False).others_in(module)
    if others:
        raise Unsupported(
            f"Expected the buffers that {type(module).__name__} computes, but the weights hold other values for "
            f"{others[0]}; give the config alone, and what is proved is about its class."
        )


def find_blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks of a decoder: the module list that holds as many as the config says, the one with most parameters.

    Raises:
        Unsupported: there is no such list.
    """
    config: Any = model.config
    text = config.get_text_config()
    wanted = {getattr(text, name, None) for name in ("num_hidden_layers", "n_layer", "num_layers", "n_layers")}
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m)]
    fitting = [m for m in lists if len(m) in wanted] or lists
    if not fitting:
        raise Unsupported(
            f"Expected a stack of blocks, but {type(model).__name__} has no list of modules; give a model that has "
            "one, or a module without a transformers config, which is captured whole."
        )
    return list(text_blocks(text, max(fitting, key=lambda m: sum(p.numel() for p in m.parameters()))))


def cut_to_distinct(model: torch.nn.Module, blocks: list[torch.nn.Module]) -> list[torch.nn.Module]:
    """Cuts the stack, in place, to the shortest run of first blocks that holds every kind of block.

    Two blocks are of one kind if they print alike and agree in every number and name that their modules hold, but for
    those that count the blocks.
    """
    kinds = [_kind_of_block(block, number) for number, block in enumerate(blocks)]
    last = max(kinds.index(kind) for kind in set(kinds)) + 1
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == len(blocks):
            del module[last:]
    return blocks[:last]


def _kind_of_block(block: torch.nn.Module, number: int) -> str:
    held = [
        (path, name, value)
        for path, module in block.named_modules()
        for name, value in sorted(vars(module).items())
        if isinstance(value, int | float | str | None) and not (value in (number, number + 1) and "idx" in name)
    ]
    return repr(block) + repr([item for item in held if "layer_i" not in item[1] and "layer_number" not in item[1]])


def _export(
    wrapper: torch.nn.Module,
    model: torch.nn.Module,
    buffers: Buffers,
    length: int,
    *,
    layer: int,
    vocabulary: int,
    about: dict[str, Any],
) -> Graph:
    wrapper.training = model.training
    expected = f"Expected a network that can be traced, but {type(model).__name__} cannot"
    with (
        asked_of_a_class(Unsupported, expected, "give one that torch.export takes"),
        torch.no_grad(),
        unlogged(),
        _weightless(model, buffers.values),
    ):
        ids = torch.zeros(1, length, dtype=torch.long)
        program = decompose(torch.export.export(wrapper, (ids,), strict=False))
    builder, output = lower(program, buffers, vocabulary=vocabulary)
    return builder.finish(output, layer=layer, about=about)


@contextlib.contextmanager
def _weightless(model: torch.nn.Module, buffers: dict[str, torch.Tensor | None]) -> Generator[None]:
    """Within, a model on the meta device seems to be on the CPU, where its code can make constants of its own."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    if not any(p.is_meta for p in model.parameters()):
        yield
        return
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    modules = dict(model.named_modules())
    before = {path: (dict(m._parameters), dict(m._buffers)) for path, m in modules.items()}
    parameters: dict[int, torch.nn.Parameter] = {}  # tied ones stay tied
    try:
        with mode:
            for path, module in modules.items():
                for name, p in module._parameters.items():
                    if p is not None:
                        fake = parameters.get(id(p))
                        fake = torch.nn.Parameter(torch.empty(p.shape), requires_grad=False) if fake is None else fake
                        module._parameters[name] = parameters[id(p)] = fake
                for name, b in module._buffers.items():
                    if b is not None:
                        known = buffers.get(f"{path}.{name}" if path else name)
                        module._buffers[name] = (
                            torch.empty_like(b, device="cpu") if known is None else mode.from_tensor(known)
                        )
            yield
    finally:
        for path, module in modules.items():
            module._parameters.update(before[path][0])
            module._buffers.update(before[path][1])
