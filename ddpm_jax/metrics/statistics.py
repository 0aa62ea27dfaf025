"""Mean and covariance of features, seen a batch at a time, in float64.

What is kept of n features x [D] is their count, their mean, and their scatter, the sum
of (x - mean)(x - mean)^T. Two such parts merge to that of both, after Chan, Golub and
LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
(1979), with delta = mean_2 - mean_1:

    mean    = mean_1 + delta n_2 / n
    scatter = scatter_1 + scatter_2 + delta delta^T n_1 n_2 / n

So 50,000 samples need the memory of one batch, and machines can share the work. Sums
of x x^T would do with less, and lose every digit where the mean is large.
"""

import os
import zipfile
import zlib
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddpm_jax import processes
from ddpm_jax.files import replacing
from ddpm_jax.metrics.frechet import check_gaussian


class Moments(NamedTuple):
    """What is kept of the features of images seen so far."""

    num_images: int
    mean: np.ndarray  # float64 [D]
    scatter: np.ndarray  # float64 [D, D]


class Statistics(NamedTuple):
    """A Gaussian that stands for a set of images, and where it comes from."""

    mu: np.ndarray  # float64 [D]
    sigma: np.ndarray  # float64 [D, D]
    num_images: int | None = None  # None: the file does not say
    extractor: str | None = None  # whose features; None: the file does not say


def moments_of(features: np.ndarray) -> Moments:
    """The moments of features [n, D] of any float type.

    Raises:
      ValueError: if they are not [n, D] with n > 0, or not all finite.

    Example:
      >>> moments_of(np.array([[1.0], [3.0]]))
      Moments(num_images=2, mean=array([2.]), scatter=array([[2.]]))
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not len(features):
        raise ValueError(f"features must be [n, D] with n > 0, got {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("there are features that are not finite numbers")
    mean = features.mean(axis=0)
    centred = features - mean
    return Moments(len(features), mean, centred.T @ centred)


def merge(first: Moments, second: Moments) -> Moments:
    """The moments of two parts together.

    Example:
      >>> x = np.arange(10.0)[:, None] ** 2
      >>> parts = merge(moments_of(x[:3]), moments_of(x[3:]))
      >>> bool(np.isclose(parts.scatter, moments_of(x).scatter).all())
      True
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"features of {len(first.mean)} and of {len(second.mean)} numbers cannot "
            "be taken together"
        )
    n_1, n_2 = first.num_images, second.num_images
    delta = second.mean - first.mean
    shift = np.outer(delta, delta) * (n_1 * n_2 / (n_1 + n_2))
    mean = first.mean + delta * (n_2 / (n_1 + n_2))
    return Moments(n_1 + n_2, mean, first.scatter + second.scatter + shift)


def stream(batches: Iterable[np.ndarray]) -> Moments:
    """The moments of all batches, of which one at a time is in memory."""
    return reduce(merge, map(moments_of, batches))


def merge_processes(own: Moments) -> Moments:
    """The moments of the parts of all processes together, the same in each of them.

    Example:
      >>> merge_processes(moments_of(np.ones((3, 1)))).num_images
      3
    """
    parts = zip(*(processes.gather(np.asarray(field)) for field in own), strict=True)
    return reduce(merge, (Moments(int(n), mean, rest) for n, mean, rest in parts))


def statistics_of(moments: Moments, extractor: str | None = None) -> Statistics:
    """Mean and unbiased covariance, as np.cov has it.

    Example:
      >>> x = np.array([[0.0, 1.0], [2.0, 5.0], [4.0, 0.0]])
      >>> bool(np.allclose(statistics_of(moments_of(x)).sigma, np.cov(x.T)))
      True
    """
    if moments.num_images < 2:
        raise ValueError("a covariance needs at least 2 images")
    sigma = moments.scatter / (moments.num_images - 1)
    return Statistics(moments.mean, sigma, moments.num_images, extractor)


def save_statistics(path: str | os.PathLike[str], statistics: Statistics) -> Path:
    """Writes an .npz of mu and sigma, as the other tools of FID read it.

    The number of images and the name of the extractor go in beside them.
    """
    path = Path(path)
    known = {k: v for k, v in statistics._asdict().items() if v is not None}
    with replacing(path) as file:
        np.savez(file, **known)
    return path


def load_statistics(path: str | os.PathLike[str]) -> Statistics:
    """Reads an .npz of mu and sigma, ours or another tool's.

    Raises:
      FileNotFoundError, ValueError: one sentence, if it is not there or no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in Statistics._fields if name in file}
    except (ValueError, EOFError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged or no .npz file: {error}") from None
    if not {"mu", "sigma"} <= set(arrays):
        raise ValueError(f"{path} holds no mu and sigma; give reference statistics")
    mu, sigma = arrays["mu"], arrays["sigma"]
    if mu.dtype.kind not in "fiu" or sigma.dtype.kind not in "fiu":
        raise ValueError(
            f"{path} holds mu of {mu.dtype} and sigma of {sigma.dtype}; they must be "
            "real numbers"
        )
    if mu.ndim != 1 or not mu.size or sigma.shape != (*mu.shape, *mu.shape):
        raise ValueError(
            f"{path} holds mu {mu.shape} and sigma {sigma.shape}; they must be [D] and "
            "[D, D]"
        )
    mu, sigma = mu.astype(np.float64), sigma.astype(np.float64)
    try:
        check_gaussian(mu, sigma)
    except ValueError as error:
        raise ValueError(f"{path} holds no reference statistics: {error}") from None
    count, extractor = arrays.get("num_images"), arrays.get("extractor")
    if count is not None and (count.shape or count.dtype.kind not in "iu"):
        raise ValueError(f"{path} holds num_images {count!s:.40}; it must be one int")
    return Statistics(
        mu,
        sigma,
        None if count is None else int(count),
        None if extractor is None else str(extractor),
    )
