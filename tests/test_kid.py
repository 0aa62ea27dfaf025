"""KID: unbiased, against the sums written out, and what it refuses."""

import itertools

import numpy as np
import pytest

from ddpm_jax.metrics.kid import kernel_distance
from ddpm_jax.metrics.kid import squared_mmd

RNG = np.random.default_rng(0)


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    return (x @ y / len(x) + 1) ** 3


def test_it_is_the_sum_over_pairs() -> None:
    x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(5, 3))
    within = [
        np.mean([kernel(a, b) for a, b in itertools.permutations(z, 2)]) for z in (x, y)
    ]
    across = np.mean([kernel(a, b) for a, b in itertools.product(x, y)])
    assert squared_mmd(x, y) == pytest.approx(sum(within) - 2 * across, rel=1e-12)


def test_its_mean_is_exact_for_any_number_of_samples() -> None:
    # Of x in {0, 1} with shares p and q, E k(x, x') = 1 + 7 p^2, so that MMD^2 is
    # 7 (p - q)^2. All draws of 3 and 2 are gone through, weighed by their chance.
    for p, q in ((0.3, 0.3), (0.2, 0.7)):
        total = 0.0
        for draw in itertools.product((0.0, 1.0), repeat=5):
            ones = np.array(draw)
            chance = np.where(ones, [p] * 3 + [q] * 2, [1 - p] * 3 + [1 - q] * 2).prod()
            total += chance * squared_mmd(ones[:3, None], ones[3:, None])
        assert total == pytest.approx(7 * (p - q) ** 2, abs=1e-12)


def test_subsets_of_all_rows_are_the_whole() -> None:
    x, y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3)) + 1
    mean, std = kernel_distance(x, y, num_subsets=3, subset_size=20)
    assert mean == pytest.approx(squared_mmd(x, y), rel=1e-12)
    assert std < 1e-12


def test_the_seed_chooses_the_subsets() -> None:
    x, y = RNG.normal(size=(2, 40, 3))
    one, again, other = (
        kernel_distance(x, y, num_subsets=4, subset_size=10, seed=s) for s in (0, 0, 1)
    )
    assert one == again != other


def test_subsets_larger_than_the_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="subsets of 1000 .* 20 and 30 .* use 2 to 20"):
        kernel_distance(np.zeros((20, 3)), np.zeros((30, 3)))
