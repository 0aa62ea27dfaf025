"""The Frechet distance: closed forms, symmetries, and covariances that are singular."""

import numpy as np
import pytest

from ddpm_jax.metrics.frechet import frechet_distance

RNG = np.random.default_rng(0)


def gaussian(dim: int, rank: int, decades: float = 2) -> tuple[np.ndarray, np.ndarray]:
    """A mean, and A with the covariance A A^T of some rank, of many scales."""
    scales = np.logspace(0, -decades, dim)[:, None]
    return RNG.normal(size=dim), RNG.normal(size=(dim, rank)) * scales


def rotation(dim: int) -> np.ndarray:
    return np.linalg.qr(RNG.normal(size=(dim, dim)))[0]


def test_commuting_covariances_have_the_closed_form() -> None:
    q = rotation(5)
    mu_1, mu_2 = RNG.normal(size=(2, 5))
    var_1, var_2 = RNG.uniform(0.1, 3, size=(2, 5))
    got = frechet_distance(mu_1, q * var_1 @ q.T, mu_2, q * var_2 @ q.T)
    exact = ((mu_1 - mu_2) ** 2).sum() + ((var_1**0.5 - var_2**0.5) ** 2).sum()
    assert got == pytest.approx(exact, rel=1e-13)


def test_two_by_two_covariances_have_the_closed_form() -> None:
    # tr M^(1/2) = (tr M + 2 det(M)^(1/2))^(1/2) for a 2 x 2 M.
    a, b = RNG.normal(size=(2, 2, 2))
    product = a @ a.T @ b @ b.T
    root = (np.trace(product) + 2 * np.linalg.det(product) ** 0.5) ** 0.5
    exact = np.trace(a @ a.T) + np.trace(b @ b.T) - 2 * root
    got = frechet_distance(np.zeros(2), a @ a.T, np.zeros(2), b @ b.T)
    assert got == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("rank", [3, 39, 80])
def test_covariances_of_any_rank_and_many_scales_keep_their_digits(rank: int) -> None:
    (mu_1, a), (mu_2, b) = gaussian(40, rank, 4), gaussian(40, rank, 4)
    root = np.linalg.svd(a.T @ b, compute_uv=False).sum()
    exact = ((mu_1 - mu_2) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * root
    q = rotation(40)
    a, b = q @ a, q @ b
    got = frechet_distance(q @ mu_1, a @ a.T, q @ mu_2, b @ b.T)
    assert got == pytest.approx(exact, rel=1e-12)


def test_it_is_symmetric_and_zero_of_equals_alone() -> None:
    (mu_1, a), (mu_2, b) = gaussian(6, 4), gaussian(6, 4)
    one, two = (mu_1, a @ a.T), (mu_2, b @ b.T)
    assert frechet_distance(*one, *two) == pytest.approx(frechet_distance(*two, *one))
    assert 0 <= frechet_distance(*one, *one) < 1e-12
    assert frechet_distance(*one, mu_1, 1.01 * one[1]) > 1e-6
    mu, east, north = np.zeros(2), np.diag([1.0, 0]), np.diag([0, 1.0])
    assert frechet_distance(mu, east, mu, north) == 2


def test_other_shapes_and_covariances_that_are_none_are_refused() -> None:
    mu, sigma = np.zeros(3), np.eye(3)
    with pytest.raises(ValueError, match="features of one extractor"):
        frechet_distance(mu, sigma, np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match="features of one extractor"):
        frechet_distance(mu, np.zeros((3, 2)), mu, sigma)
    with pytest.raises(ValueError, match="not symmetric"):
        frechet_distance(mu, np.triu(np.ones((3, 3))), mu, sigma)
    with pytest.raises(ValueError, match="variances below 0"):
        frechet_distance(mu, sigma, mu, -sigma)
    with pytest.raises(ValueError, match="eigenvalues below 0"):
        frechet_distance(mu, 2 * np.ones((3, 3)) - sigma, mu, sigma)
    for wrong in ((mu, np.full((3, 3), np.nan)), (np.full(3, np.inf), sigma)):
        with pytest.raises(ValueError, match="not finite"):
            frechet_distance(*wrong, mu, sigma)
