"""Nearest neighbours against a sort of all distances."""

import numpy as np
import pytest

from ddpm_jax.neighbours import central
from ddpm_jax.neighbours import nearest
from ddpm_jax.neighbours import squares

RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, 256, (57, 12)).astype(np.uint8)
QUERIES = RNG.integers(0, 256, (5, 12)).astype(np.uint8)


@pytest.mark.parametrize("size", [1, 10, 57, 100])
@pytest.mark.parametrize("k", [1, 4])
def test_they_are_those_of_a_sort_whatever_the_blocks_are(size: int, k: int) -> None:
    blocks = (ROWS[start : start + size] for start in range(0, len(ROWS), size))
    found = nearest(QUERIES, blocks, k)
    gaps = QUERIES[:, None].astype(float) - ROWS[None]
    distance = np.sqrt((gaps**2).sum(-1))
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found.rows, order)
    expected = np.take_along_axis(distance, order, axis=1)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-9)


def test_a_copy_is_found_at_distance_0_and_the_lower_of_two_first() -> None:
    rows = np.concatenate([ROWS, ROWS[7:8]])
    found = nearest(ROWS[7:8], [rows[:20], rows[20:]], 2)
    assert found.rows.tolist() == [[7, 57]]
    assert found.distance.max() == 0.0


def test_equal_rows_are_at_no_distance_whatever_rounding_does() -> None:
    rows = RNG.normal(size=(50, 200)) * 1e3
    assert (np.diag(squares(rows, rows.copy())) == 0).all()
    # And near ones at theirs.
    near = squares(rows, rows + 1e-2)
    np.testing.assert_allclose(np.diag(near), 200 * 1e-4, rtol=1e-3)


def test_the_middle_of_an_image_alone_counts() -> None:
    images = RNG.integers(0, 256, (3, 8, 6, 2)).astype(np.uint8)
    middle = central(images, 0.5)
    np.testing.assert_array_equal(middle, images[:, 2:6, 1:4])
    np.testing.assert_array_equal(central(images, 1.0), images)
    assert central(images, 0.01).shape == (3, 1, 1, 2)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: nearest(QUERIES, [ROWS], 58), "there are 57 rows and 58 neighbours"),
        (lambda: nearest(QUERIES, [ROWS], 0), "k is 0; give at least 1"),
        (lambda: nearest(QUERIES, [ROWS[:, :3]], 1), r"rows of \(3,\) features can't"),
        (lambda: central(np.zeros((1, 4, 4, 1)), 0.0), "the share is 0.0; give a"),
    ],
)
def test_what_cannot_be_is_refused(call, sentence: str) -> None:  # noqa: ANN001
    with pytest.raises(ValueError, match=sentence):
        call()
