"""What the terms of the bound say of a set of images: Sec. 4.3 of Ho et al. (2020).

The decoder's term L_0 is the distortion of a lossless code, in bits; the others are its
rate, sent from t = T - 1 down. Who has received them up to x_t predicts x_0 from it,
and errs by some RMSE: the progressive lossy code of Figure 5 and Table 4.

Terms are [N, T], of N images. All is float64 NumPy; means over images have standard
errors, which hold the noise of the draws as well. A set of any size is summed a part at
a time: `moments_of_terms` of each part, and `merge_terms`.
"""

from typing import NamedTuple

import numpy as np

PIXEL = 127.5  # of [-1, 1] in the scale of 0..255


class Estimate(NamedTuple):
    """A mean over images and its standard error, NaN for a single image."""

    mean: np.ndarray
    error: np.ndarray


class Moments(NamedTuple):
    """What is kept of values [N, ...] of N images."""

    num_images: int
    mean: np.ndarray  # [...]
    squares: np.ndarray  # [...]: the sum of squared deviations from the mean


class TermMoments(NamedTuple):
    """What is kept of the terms of N images."""

    bits: Moments  # [T + 1]: L_0, ..., L_T
    sent: Moments  # [T + 1]: L_T + ... + L_t for t = T, ..., 0: the last is the bound
    mse: Moments  # [T]
    noise: Moments  # []: of the variance that the draws add to an image's bound


class Bound(NamedTuple):
    """The bound of a set of images in parts; scalars, in bits/dim but for rmse."""

    total: Estimate  # prior + rate without it + distortion
    prior: Estimate  # L_T
    rate: Estimate  # L_1 + ... + L_T
    distortion: Estimate  # L_0
    rmse: Estimate  # of x_0 predicted at t = 0, in the scale of 0..255
    noise_error: float  # what the draws alone add to total's error; NaN for one draw


def moments_of(values: np.ndarray) -> Moments:
    """The moments of values [N, ...]."""
    values = np.asarray(values, np.float64)
    mean = values.mean(axis=0)
    return Moments(len(values), mean, np.square(values - mean).sum(axis=0))


def merge(first: Moments, second: Moments) -> Moments:
    """The moments of two sets of images together, after Chan, Golub and LeVeque (1979).

    Example:
      >>> x = np.array([1.0, 3.0, 8.0])
      >>> print(*merge(moments_of(x[:1]), moments_of(x[1:])))
      3 4.0 26.0
    """
    n_1, n_2 = first.num_images, second.num_images
    delta = second.mean - first.mean
    return Moments(
        n_1 + n_2,
        first.mean + delta * (n_2 / (n_1 + n_2)),
        first.squares + second.squares + delta**2 * (n_1 * n_2 / (n_1 + n_2)),
    )


def estimate_of(moments: Moments) -> Estimate:
    """The mean over images and its standard error."""
    count, mean, squares = moments
    if count == 1:
        return Estimate(mean, mean * np.nan)
    return Estimate(mean, np.sqrt(squares / (count - 1) / count))


def estimate(values: np.ndarray) -> Estimate:
    """The mean over images of values [N, ...], and its standard error.

    Example:
      >>> print(*estimate(np.array([1.0, 3.0])))
      2.0 1.0
    """
    return estimate_of(moments_of(values))


def rmse_of(mse: Moments) -> Estimate:
    """The root of the mean of squared errors, in the scale of 0..255.

    Example:
      >>> print(rmse_of(moments_of(np.array([0.25, 0.25]))).mean)
      63.75
    """
    mean, error = estimate_of(mse)
    root = np.sqrt(mean)
    return Estimate(PIXEL * root, PIXEL * error / np.maximum(2 * root, 1e-30))


def moments_of_terms(
    prior: np.ndarray, terms: np.ndarray, mse: np.ndarray, noise: np.ndarray
) -> TermMoments:
    """What is kept of N images: prior [N], terms and mse [N, T], the mean over draws.

    noise [N] is the variance of the sum of an image's terms by the draws; NaN if
    unknown.
    """
    bits = np.column_stack([terms, prior]).astype(np.float64)
    sent = bits[:, ::-1].cumsum(axis=1)
    return TermMoments(*map(moments_of, (bits, sent, mse, noise)))


def merge_terms(first: TermMoments, second: TermMoments) -> TermMoments:
    """What is kept of two sets of images together."""
    return TermMoments(*map(merge, first, second))


def summarise(moments: TermMoments) -> Bound:
    """The bound of a set of images, in parts.

    Example:
      >>> of_images = np.full(2, 0.5), np.ones((2, 10)), np.ones((2, 10)), np.zeros(2)
      >>> bound = summarise(moments_of_terms(*of_images))
      >>> print(bound.total.mean, bound.rate.mean, bound.distortion.mean)
      10.5 9.5 1.0
    """
    bits, sent = estimate_of(moments.bits), estimate_of(moments.sent)
    rmse, noise = rmse_of(moments.mse), moments.noise
    return Bound(
        total=_at(sent, -1),
        prior=_at(bits, -1),
        rate=_at(sent, -2),
        distortion=_at(bits, 0),
        rmse=_at(rmse, 0),
        noise_error=float(np.sqrt(noise.mean / noise.num_images)),
    )


def term_table(moments: TermMoments) -> dict[str, np.ndarray]:
    """Columns [T + 1]: L_t and its error for t = 0..T, and the RMSE of x_0 at t < T.

    Example:
      >>> of_images = np.full(2, 0.5), np.ones((2, 3)), np.ones((2, 3)), np.zeros(2)
      >>> table = term_table(moments_of_terms(*of_images))
      >>> table["t"].tolist(), table["bits_per_dim"].tolist()
      ([0, 1, 2, 3], [1.0, 1.0, 1.0, 0.5])
    """
    bits, rmse = estimate_of(moments.bits), rmse_of(moments.mse)
    return {
        "t": np.arange(len(bits.mean)),
        "bits_per_dim": bits.mean,
        "standard_error": bits.error,
        # Of the prior, where nothing has been received, there is none.
        "rmse": np.append(rmse.mean, np.nan),
        "rmse_standard_error": np.append(rmse.error, np.nan),
    }


def rate_distortion(moments: TermMoments) -> dict[str, np.ndarray]:
    """Columns [T] of Figure 5 and Table 4, from x_{T-1} (reverse time 1) to x_0 (T).

    rate_bits_per_dim is what has been sent when x_t is known, L_T + ... + L_{t+1};
    rmse is that of the x_0 predicted from it, in the scale of 0..255.

    Example:
      >>> mse = np.full((2, 3), 0.25)
      >>> of_images = np.full(2, 0.5), np.ones((2, 3)), mse, np.zeros(2)
      >>> curve = rate_distortion(moments_of_terms(*of_images))
      >>> curve["rate_bits_per_dim"].tolist(), curve["rmse"].tolist()
      ([0.5, 1.5, 2.5], [63.75, 63.75, 63.75])
    """
    rate, rmse = estimate_of(moments.sent), rmse_of(moments.mse)
    num_timesteps = len(rmse.mean)
    return {
        "reverse_time": np.arange(1, num_timesteps + 1),
        "t": np.arange(num_timesteps)[::-1],
        "rate_bits_per_dim": rate.mean[:-1],
        "rate_standard_error": rate.error[:-1],
        "rmse": rmse.mean[::-1],
        "rmse_standard_error": rmse.error[::-1],
    }


def _at(estimates: Estimate, index: int) -> Estimate:
    return Estimate(estimates.mean[index], estimates.error[index])
