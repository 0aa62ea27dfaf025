"""Schedules that end in pure noise: Lin et al. (2024), Sec. 3.1.

The usual betas leave a trace of x_0 in the last x_t (alpha_bar = 4e-5 with the linear
ones), which a model learns to read: the mean brightness of an image, say. Sampling
starts from noise without it. `rescale_zero_snr` removes the trace.
"""

import numpy as np


def rescale_zero_snr(betas: np.ndarray) -> np.ndarray:
    """Betas [T] of the same shape with alpha_bar = 0 at the end: Algorithm 1.

    sqrt(alpha_bar) is shifted so that its last value is 0, and scaled so that its first
    stays. Where alpha_bar ends at 0 already, so do all others.

    Raises:
      ValueError: if T is 1, as the first step can't be the last.

    Example:
      >>> betas = rescale_zero_snr(np.array([0.1, 0.2, 0.3]))
      >>> np.cumprod(1 - betas).round(4)
      array([0.9   , 0.3033, 0.    ])
    """
    if betas.shape[0] < 2:
        raise ValueError(
            "a schedule of 1 step can't be rescaled; give at least 2 steps"
        )
    root = np.sqrt(np.cumprod(1 - betas))
    alpha_bar = (root - root[-1]) ** 2  # but for a factor, which cancels in the ratios
    return np.append(betas[:1], 1 - alpha_bar[1:] / alpha_bar[:-1])
