"""Streaming statistics: those of the whole, however it is cut, at any mean."""

from pathlib import Path

import numpy as np
import pytest

from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import load_statistics
from ddpm_jax.metrics.statistics import merge
from ddpm_jax.metrics.statistics import moments_of
from ddpm_jax.metrics.statistics import save_statistics
from ddpm_jax.metrics.statistics import statistics_of
from ddpm_jax.metrics.statistics import stream

X = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([1, 2, 0.1, 5])


@pytest.mark.parametrize("mean", [0.0, 1e6])
@pytest.mark.parametrize("cuts", [(), (1,), (7, 8, 40), tuple(range(1, 50))])
def test_the_stream_has_the_statistics_of_the_whole(
    mean: float, cuts: tuple[int, ...]
) -> None:
    moments = stream(np.split(X + mean, cuts))
    statistics = statistics_of(moments)
    assert moments.num_images == statistics.num_images == 50
    np.testing.assert_allclose(statistics.mu, X.mean(0) + mean, rtol=1e-13, atol=1e-14)
    # The rounding of x itself is 1e-10 of its deviation, at a mean of 1e6.
    np.testing.assert_allclose(statistics.sigma, np.cov(X.T), rtol=1e-8, atol=1e-9)


def test_parts_merge_in_any_order_and_grouping() -> None:
    a, b, c = map(moments_of, np.split(X, (9, 30)))
    for whole in (merge(merge(a, b), c), merge(a, merge(b, c)), merge(merge(c, a), b)):
        for got, exact in zip(whole, moments_of(X), strict=True):
            np.testing.assert_allclose(got, exact, rtol=1e-12, atol=1e-12)


def test_sums_are_float64_whatever_the_features_are() -> None:
    x = (X + 1000).astype(np.float32)
    got = statistics_of(stream(np.split(x, 10)))
    assert got.mu.dtype == got.sigma.dtype == np.float64
    np.testing.assert_allclose(got.sigma, np.cov(x.astype(np.float64).T), rtol=1e-9)


def test_features_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[n, D\]"):
        moments_of(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="not finite"):
        moments_of(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="at least 2 images"):
        statistics_of(moments_of(X[:1]))
    with pytest.raises(ValueError, match="of 4 and of 3 numbers"):
        merge(moments_of(X), moments_of(X[:, :3]))


def test_a_file_of_statistics_is_the_one_that_other_tools_use(tmp_path: Path) -> None:
    statistics = statistics_of(moments_of(X), extractor="pixels8")
    path = save_statistics(tmp_path / "stats.npz", statistics)
    for got, exact in zip(load_statistics(path), statistics, strict=True):
        np.testing.assert_array_equal(got, exact)
    with np.load(path) as file:  # as pytorch-fid reads it
        mu, sigma = file["mu"][:], file["sigma"][:]
    np.savez(tmp_path / "theirs.npz", mu=mu, sigma=sigma)  # and as it writes it
    theirs = load_statistics(tmp_path / "theirs.npz")
    np.testing.assert_array_equal(theirs.sigma, statistics.sigma)
    assert theirs.num_images is theirs.extractor is None


def test_files_that_hold_no_statistics_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_statistics(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="damaged or no .npz"):
        load_statistics(path)
    np.savez(path, arr_0=X)
    with pytest.raises(ValueError, match="holds no mu and sigma"):
        load_statistics(path)
    np.savez(path, mu=X[0], sigma=X)
    with pytest.raises(ValueError, match=r"they must be \[D\] and \[D, D\]"):
        load_statistics(path)
    np.savez(path, mu=np.array([{}]), sigma=X)
    with pytest.raises(ValueError, match="damaged or no .npz"):
        load_statistics(path)
    mu, sigma = X[0], np.eye(4)
    for arrays, message in (
        ({"mu": mu * np.nan, "sigma": sigma}, "not finite"),
        ({"mu": mu, "sigma": np.triu(np.ones((4, 4)))}, "not symmetric"),
        ({"mu": mu, "sigma": -sigma}, "variances below 0"),
        ({"mu": mu.astype(str), "sigma": sigma}, "must be real numbers"),
        ({"mu": mu * 1j, "sigma": sigma}, "must be real numbers"),
        ({"mu": mu[:0], "sigma": sigma[:0, :0]}, r"they must be \[D\] and"),
        ({"mu": mu, "sigma": sigma, "num_images": [3, 4]}, "must be one int"),
        ({"mu": mu, "sigma": sigma, "num_images": "many"}, "must be one int"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=message):
            load_statistics(path)
    save_statistics(path, Statistics(X[0], np.eye(4)))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="damaged or no .npz"):
        load_statistics(path)
