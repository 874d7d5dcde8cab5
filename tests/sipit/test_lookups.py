"""A lookup beyond a table is an exception on every device, also on those that would not survive it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, RobertaConfig

from sipit.models import structure
from sipit.models.lookups import LookupsWithin, looked_up_safely

LOOKUPS = {
    "embedding": lambda table, places: nn.functional.embedding(places, table),
    "index": lambda table, places: table[places],
    "index of an axis": lambda table, places: table.T[:, places],
    "index of two axes": lambda table, places: table[places, torch.zeros_like(places)],
    "index behind a mask": lambda table, places: table[None][torch.ones(1, dtype=torch.bool)][0][places],
    "index_select": lambda table, places: table.index_select(0, places),
    "gather": lambda table, places: table.gather(0, places[:, None]),
    "take_along_dim": lambda table, places: table.take_along_dim(places[:, None], 0),
    "scatter": lambda table, places: table.scatter(0, places[:, None], 1.0),
    "index_put": lambda table, places: table.clone().index_put_((places,), torch.tensor(1.0)),
    "index_add": lambda table, places: table.index_add(0, places, torch.ones(len(places), table.shape[1])),
}


class Dies(TorchDispatchMode):
    """A device that an embedding beyond its table stops for good."""

    stopped = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is torch.ops.aten.embedding:
            self.stopped |= not 0 <= int(args[1].min()) <= int(args[1].max()) < len(args[0])
        if self.stopped:
            raise RuntimeError("device-side assert triggered")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", LOOKUPS)
@given(places=st.lists(st.integers(-7, 7), min_size=1, max_size=4), rows=st.integers(1, 6))
def test_what_lies_within_is_looked_up_and_what_lies_beyond_is_raised_before(name, places, rows):
    table, at = torch.randn(rows, 3), torch.tensor(places)

    def answer():
        try:
            return LOOKUPS[name](table, at)
        except (IndexError, RuntimeError):
            return None

    plain = answer()
    with LookupsWithin():
        if plain is None:
            with pytest.raises(IndexError, match="of a table with"):
                LOOKUPS[name](table, at)
        else:
            assert torch.equal(LOOKUPS[name](table, at), plain)


def roberta():
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = RobertaConfig(vocab_size=64, max_position_embeddings=40, is_decoder=True, **shape)
    return AutoModelForCausalLM.from_config(config).eval()


def test_a_body_is_tried_without_stopping_the_device(monkeypatch):
    module = roberta()
    plain = structure.find_decoder(module).abilities
    with Dies() as device, pytest.raises(RuntimeError, match="device-side assert"):
        structure.find_decoder(module)
    assert device.stopped  # the trial hands positions to the argument for the kind of token
    monkeypatch.setattr(structure, "looked_up_safely", lambda _: LookupsWithin())
    with Dies() as device:
        found = structure.find_decoder(module).abilities
    assert not device.stopped and found.as_dict() == plain.as_dict()


def test_a_processor_needs_none_of_this():
    assert not isinstance(looked_up_safely(torch.device("cpu")), LookupsWithin)
    assert isinstance(looked_up_safely(torch.device("cuda")), LookupsWithin)
