"""What the terms of the bound say of a set of images: Sec. 4.3 of Ho et al. (2020).

The decoder's term L_0 is the distortion of a lossless code, in bits; the others are its
rate, sent from t = T - 1 down. Who has received them up to x_t predicts x_0 from it,
and errs by some RMSE: the progressive lossy code of Figure 5 and Table 4.

Terms are [N, D, T], of N images and D draws of the noise. All is float64 NumPy; means
over images have standard errors, which hold the noise of the draws as well.
"""

from typing import NamedTuple

import numpy as np

PIXEL = 127.5  # of [-1, 1] in the scale of 0..255


class Estimate(NamedTuple):
    """A mean over images and its standard error, NaN for a single image."""

    mean: np.ndarray
    error: np.ndarray


class Bound(NamedTuple):
    """The bound of a set of images in parts; scalars, in bits/dim but for rmse."""

    total: Estimate  # prior + rate without it + distortion
    prior: Estimate  # L_T
    rate: Estimate  # L_1 + ... + L_T
    distortion: Estimate  # L_0
    rmse: Estimate  # of x_0 predicted at t = 0, in the scale of 0..255
    noise_error: float  # what the draws alone add to total's error; NaN for one draw


def estimate(values: np.ndarray) -> Estimate:
    """The mean over images of values [N, ...], and its standard error.

    Example:
      >>> print(*estimate(np.array([1.0, 3.0])))
      2.0 1.0
    """
    values = np.asarray(values, np.float64)
    count, mean = len(values), values.mean(axis=0)
    spread = values.std(axis=0, ddof=1) if count > 1 else mean * np.nan
    return Estimate(mean, spread / np.sqrt(count))


def rmse_of(mse: np.ndarray) -> Estimate:
    """The root of the mean of squared errors [N, ...], in the scale of 0..255.

    Example:
      >>> print(rmse_of(np.array([0.25, 0.25])).mean)
      63.75
    """
    mean, error = estimate(mse)
    root = np.sqrt(mean)
    return Estimate(PIXEL * root, PIXEL * error / np.maximum(2 * root, 1e-30))


def summarise(prior: np.ndarray, terms: np.ndarray, mse: np.ndarray) -> Bound:
    """The bound of N images, in parts.

    prior is [N], terms and mse are [N, D, T].

    Example:
      >>> bound = summarise(np.full(2, 0.5), np.ones((2, 1, 10)), np.ones((2, 1, 10)))
      >>> print(bound.total.mean, bound.rate.mean, bound.distortion.mean)
      10.5 9.5 1.0
    """
    prior, terms, mse = (np.asarray(x, np.float64) for x in (prior, terms, mse))
    images, draws, _ = terms.shape
    by_draw = terms.sum(axis=2)
    noise = by_draw.var(axis=1, ddof=1).sum() / draws if draws > 1 else np.nan
    return Bound(
        total=estimate(prior + by_draw.mean(axis=1)),
        prior=estimate(prior),
        rate=estimate(prior + terms[..., 1:].sum(axis=2).mean(axis=1)),
        distortion=estimate(terms[..., 0].mean(axis=1)),
        rmse=rmse_of(mse[..., 0].mean(axis=1)),
        noise_error=float(np.sqrt(noise) / images),
    )


def term_table(
    prior: np.ndarray, terms: np.ndarray, mse: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns [T + 1]: L_t and its error for t = 0..T, and the RMSE of x_0 at t < T.

    Example:
      >>> table = term_table(np.full(2, 0.5), np.ones((2, 1, 3)), np.ones((2, 1, 3)))
      >>> table["t"].tolist(), table["bits_per_dim"].tolist()
      ([0, 1, 2, 3], [1.0, 1.0, 1.0, 0.5])
    """
    bits = estimate(np.column_stack([terms.mean(axis=1, dtype=np.float64), prior]))
    rmse = rmse_of(mse.mean(axis=1, dtype=np.float64))
    return {
        "t": np.arange(terms.shape[2] + 1),
        "bits_per_dim": bits.mean,
        "standard_error": bits.error,
        # Of the prior, where nothing has been received, there is none.
        "rmse": np.append(rmse.mean, np.nan),
        "rmse_standard_error": np.append(rmse.error, np.nan),
    }


def rate_distortion(
    prior: np.ndarray, terms: np.ndarray, mse: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns [T] of Figure 5 and Table 4, from x_{T-1} (reverse time 1) to x_0 (T).

    rate_bits_per_dim is what has been sent when x_t is known, L_T + ... + L_{t+1};
    rmse is that of the x_0 predicted from it, in the scale of 0..255.

    Example:
      >>> curve = rate_distortion(np.full(2, 0.5), np.ones((2, 1, 3)),
      ...                         np.full((2, 1, 3), 0.25))
      >>> curve["rate_bits_per_dim"].tolist(), curve["rmse"].tolist()
      ([0.5, 1.5, 2.5], [63.75, 63.75, 63.75])
    """
    mean = terms.mean(axis=1, dtype=np.float64)
    sent = np.column_stack([prior, mean[:, :0:-1]]).cumsum(axis=1)
    rate, rmse = estimate(sent), rmse_of(mse.mean(axis=1, dtype=np.float64)[:, ::-1])
    num_timesteps = terms.shape[2]
    return {
        "reverse_time": np.arange(1, num_timesteps + 1),
        "t": np.arange(num_timesteps)[::-1],
        "rate_bits_per_dim": rate.mean,
        "rate_standard_error": rate.error,
        "rmse": rmse.mean,
        "rmse_standard_error": rmse.error,
    }
