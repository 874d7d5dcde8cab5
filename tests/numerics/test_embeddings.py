"""Equal and nearest embedding rows, against a comparison of all rows."""

import numpy as np
import pytest
import torch

from numerics.pairs.embeddings import duplicate_rows, nearest_rows
from numerics.pairs.suspects import suspect_rows


def table() -> torch.Tensor:
    rows = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    rows[7] = rows[250]
    rows[99] = rows[250]
    rows[3] = rows[4] + 1e-4
    rows[20, 0], rows[21] = 0.0, rows[20]
    rows[21, 0] = -0.0
    return rows


def test_every_group_of_equal_rows_is_found() -> None:
    found = duplicate_rows(table())
    assert found.groups == ((7, 99, 250), (20, 21))
    assert (found.rows, found.unique_rows) == (300, 297)


def test_the_nearest_pair_is_of_distinct_rows() -> None:
    rows = table()
    found = nearest_rows(rows)
    assert found is not None
    exact = rows.double().numpy()
    distances = np.linalg.norm(exact[:, None] - exact[None], axis=2)
    distances[distances == 0] = np.inf
    assert (found.first, found.second) == (3, 4)
    np.testing.assert_allclose(found.distance, distances.min(), rtol=1e-12)


def test_bfloat16_is_widened_and_one_row_has_no_neighbour() -> None:
    rows = torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.bfloat16)
    assert duplicate_rows(rows).groups == ((0, 1),)
    assert nearest_rows(rows) is None


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_rows_are_suspected_whatever_their_size(size: float) -> None:
    """The squares of such entries are 0 or infinite in float32; a row is zero where its entries are."""
    rows = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    rows[7], rows[8], rows[9] = 0, rows[20] * 1e-3, rows[20] * 1.001e-3
    found = suspect_rows(rows * size)
    assert (found.zero, found.suspect) == ((7,), (8, 9))
    assert found.norm / size == pytest.approx(suspect_rows(rows).norm, rel=1e-5)
    assert found.distance is not None and found.distance / size == pytest.approx(suspect_rows(rows).distance, rel=1e-3)
