"""Near twins among many rows that lie close together, or along another: found, tested, and never named wrongly."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from sipit.models.near_rows import NearRows
from tests.sipit.cases import altered, assert_never_wrong, inverted, rest_slow


def unit(like, generator):
    """A random vector as long as one."""
    drawn = torch.randn(like.shape, generator=generator)
    return (drawn / drawn.norm() * like.norm()).to(like)


def distances(rows, token):
    """Of every row and its direction, centred, from those of a token, whichever is less where directions are near."""
    exact = rows.double()
    several = exact - exact.mean(1, keepdim=True)
    along = several / several.norm(dim=1, keepdim=True)
    turned = (along - along[token]).norm(dim=1)
    apart = (exact - exact[token]).norm(dim=1) / exact[token].norm()
    return torch.where(turned <= 0.1, torch.minimum(apart, turned), apart)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 9999), spread=st.sampled_from([1e-4, 1e-3, 1e-2, 1.0]), count=st.integers(0, 12),
    factor=st.sampled_from([1.0, 3.0, 100.0]), dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)  # fmt: skip
def test_the_nearest_among_close_rows_are_found(seed, spread, count, factor, dtype):
    """Rounding of products decides nothing, and a multiple of a row is near it."""
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(48, generator=generator)
    rows = middle + spread * torch.stack([unit(middle, generator) for _ in range(90)])
    rows[7] = factor * rows[3] + 1e-7 * rows[5]
    rows = rows.to(dtype)
    near, apart = NearRows(rows, torch.arange(90)), distances(rows, 3)
    (found,) = near.of(torch.tensor([3]), count)
    apart[3] = torch.inf
    assert len({*found.tolist()}) == count
    assert torch.allclose(apart[found], apart.sort().values[:count], rtol=1e-6, atol=1e-12)
    assert torch.equal(near.of(torch.tensor([5, 3]), count)[1], found)


def test_rows_of_one_class_and_rows_of_zeros_are_no_rivals_and_no_fault():
    rows = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [1.0, 1.0], [-1.0, -2.0]])
    near = NearRows(rows, torch.tensor([0, 0, 2, 3, 4]))
    assert near.of(torch.tensor([0]), 9)[0].tolist()[0] == 3
    assert {*near.of(torch.tensor([2]), 9)[0].tolist()} == {0, 1, 3, 4}
    assert near.of(torch.tensor([0, 1]), 2)[1].tolist() == near.of(torch.tensor([1]), 2)[0].tolist()


def clustered(spread, apart):
    """Rows of which 170 lie close together, and twins among them."""

    def change(module, ids, pairs, generator):
        rows = module.get_input_embeddings().weight
        middle = rows[ids[0]].clone()
        for token in ids[:170]:
            rows[token] = middle + spread * unit(middle, generator)
        for one, other in pairs:
            rows[other] = rows[one] + apart * unit(middle, generator)

    return change


def scaled(size, factor):
    """Rows that are multiples of others."""

    def change(module, _ids, pairs, _generator):
        rows = module.get_input_embeddings().weight
        for one, other in pairs:
            rows[one] *= size
            rows[other] = factor * rows[one]

    return change


@pytest.mark.parametrize("rivals", rest_slow(None, of=[None, 16]))
@pytest.mark.parametrize(
    ("family", "layer", "change", "dtype"),
    [
        ("qwen3", 2, clustered(1e-3, 1e-6), "float32"),
        pytest.param("bloom", 2, scaled(100, 5), "float32", marks=pytest.mark.slow),
        pytest.param("bloom", 1, scaled(1, 2), "float16", marks=pytest.mark.slow),
        pytest.param("mixtral", 1, clustered(3e-3, 1e-6), "float32", marks=pytest.mark.slow),
        pytest.param("mistral", 2, clustered(3e-3, 1e-6), "float32", marks=pytest.mark.slow),
        pytest.param("olmo2", 1, clustered(3e-4, 1e-7), "float32", marks=pytest.mark.slow),
        pytest.param("bloom", 1, scaled(10, 1.5), "bfloat16", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_near_twins_are_never_named_wrongly(family, layer, change, dtype, rivals):
    chance = random.Random(f"{family} {layer}")
    ids = chance.sample(range(512), 200)
    pairs = [(ids[2 * k], ids[2 * k + 1]) for k in range(10)]
    generator = torch.Generator().manual_seed(1)
    model = altered(family, lambda module: change(module, ids, pairs, generator), dtype=getattr(torch, dtype))
    hot = [token for pair in pairs for token in pair]
    prompts = [
        [
            chance.choice(hot) if chance.random() < 0.5 else chance.randrange(512)
            for _ in range(chance.choice([1, 2, 3, 5, 9]))
        ]
        for _ in range(20)
    ]
    found = inverted(model, sipit.capture(model, prompts, layer=layer), rivals=rivals)
    for inversion, prompt in zip(found, prompts, strict=True):
        assert_never_wrong(model, inversion, prompt)
