"""Precision and recall: equal sets, disjoint sets, parts of sets, and blocks."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ddpm_jax.metrics import precision_recall as module
from ddpm_jax.metrics.precision_recall import precision_recall

X = np.random.default_rng(0).normal(size=(60, 5))


def slow(features: np.ndarray, reference: np.ndarray, k: int) -> list[float]:
    """The definition, point by point."""
    shares = []
    for points, centres in ((features, reference), (reference, features)):
        radii = [sorted(np.linalg.norm(centres - c, axis=1))[k] for c in centres]
        inside = [
            any(
                np.linalg.norm(point - centre) <= radius
                for centre, radius in zip(centres, radii, strict=True)
            )
            for point in points
        ]
        shares.append(float(np.mean(inside)))
    return shares


def test_equal_sets_cover_each_other() -> None:
    assert precision_recall(X, X) == (1, 1)
    assert precision_recall(X + 1e6, X[::-1] + 1e6) == (1, 1)


def test_disjoint_sets_do_not_touch() -> None:
    assert precision_recall(X, X + 100) == (0, 0)


def test_a_part_of_the_images_is_precise_and_covers_less() -> None:
    two = np.concatenate([X, X + 100])
    assert precision_recall(X, two) == (1, 0.5)
    assert precision_recall(two, X) == (0.5, 1)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_it_is_the_definition(k: int) -> None:
    y = X[:37] * 1.3 + 0.4
    assert precision_recall(X, y, k=k) == pytest.approx(slow(X, y, k))


def test_copies_have_distance_zero_at_any_place() -> None:
    # Balls of radius 0: each holds the copies of its own centre only.
    far = np.random.default_rng(1).normal(size=(10, 200)) * 1e3
    x = np.repeat(far, 4, axis=0)
    assert precision_recall(x, x + 1e-2) == (0, 0)
    for rows in (7, 23, 40):
        assert precision_recall(x[:rows], x)[0] == 1


@pytest.mark.parametrize("block", [1, 3, 7, 59])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    y = X[:37] * 1.3 + 0.4
    whole = precision_recall(X, y)
    assert 0 < whole[0] < 1
    monkeypatch.setattr(module, "BLOCK", block)
    assert precision_recall(X, y) == whole


def test_progress_is_shown_of_each_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def progress(tiles: Sequence[Any]) -> Iterator[Any]:
        seen.append(len(tiles))
        return iter(tiles)

    monkeypatch.setattr(module, "BLOCK", 20)
    precision_recall(X, X[:50], progress=progress)
    assert seen == [6, 6, 9]  # of 3 and 3 blocks: two triangles and a square


def test_features_that_are_not_finite_are_refused() -> None:
    wrong = np.where(X == X[0, 0], np.nan, X)
    for pair in ((wrong, X), (X, wrong)):
        with pytest.raises(ValueError, match="not finite"):
            precision_recall(*pair)


def test_fewer_points_than_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="k = 3 must be 1 to 2, of 3"):
        precision_recall(X[:3], X)
