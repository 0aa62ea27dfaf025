"""Where the times of a short chain lie between all noise and none.

A spacing is a function `(table, num_steps) -> falling times [S]` in 0..T-1, where the
table is log alpha_bar [T] of a schedule. Some place their times by t, others by
lambda = log(alpha / sigma), half the logarithm of the signal-to-noise ratio
alpha_bar / (1 - alpha_bar) (Lu et al. 2022). All is float64 NumPy.
"""

from collections.abc import Callable

import numpy as np


def half_log_snr(log_alpha_bar: np.ndarray) -> np.ndarray:
    """lambda = log(alpha / sigma) of log alpha_bar.

    Example:
      >>> half_log_snr(np.log([0.5, 0.8])).round(6)
      array([0.      , 0.693147])
    """
    with np.errstate(divide="ignore"):
        log_noise = np.log(-np.expm1(log_alpha_bar))
    ratio: np.ndarray = 0.5 * (log_alpha_bar - log_noise)
    return ratio


def log_alpha_bar_at(table: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Interpolates log alpha_bar [T] at any times in -1..T-1, where -1 is no noise.

    Example:
      >>> log_alpha_bar_at(np.array([-1.0, -3.0]), np.array([1, 0.5, 0, -1]))
      array([-3., -2., -1.,  0.])
    """
    nodes = np.append(0.0, table)
    below = np.floor(times).astype(int) + 1
    above, share = np.minimum(below + 1, table.size), times + 1 - below
    with np.errstate(invalid="ignore"):  # 0 * -inf, where alpha_bar ends at 0
        between = (1 - share) * nodes[below] + share * nodes[above]
    found: np.ndarray = np.where(share == 0, nodes[below], between)
    return found


def times_of(table: np.ndarray, half_log_snrs: np.ndarray) -> np.ndarray:
    """The times in 0..T-1 at which lambda has these values: `half_log_snr` inverted.

    Example:
      >>> table = np.log([0.9, 0.5, 0.1])
      >>> times_of(table, half_log_snr(table)).round(6).tolist()
      [0.0, 1.0, 2.0]
    """
    log_alpha_bar = -np.logaddexp(0.0, -2.0 * half_log_snrs)
    found: np.ndarray = np.interp(-log_alpha_bar, -table, np.arange(table.size))
    return found


def uniform_times(table: np.ndarray, num_steps: int) -> np.ndarray:
    """Times [S] that are evenly spaced from T-1 to 0; with S = T, every step.

    Example:
      >>> uniform_times(np.zeros(1000), 4)
      array([999., 666., 333.,   0.])
    """
    if num_steps == 1:
        return np.array([table.size - 1.0])
    # Upwards, as diffusers' linspace has them: the other way the last digits differ.
    return np.linspace(0, table.size - 1, num_steps)[::-1]


def quadratic_times(table: np.ndarray, num_steps: int) -> np.ndarray:
    """Times [S] that are closer where there is little noise: squares, T-1 to 0.

    Song et al. (2021), App. D.2, choose such times for CIFAR-10.

    Example:
      >>> quadratic_times(np.zeros(1000), 4)
      array([999., 444., 111.,   0.])
    """
    return (table.size - 1) * np.linspace(1, 0, num_steps) ** 2


def trailing_times(table: np.ndarray, num_steps: int) -> np.ndarray:
    """Times [S] that are the last of S equal parts: Lin et al. (2024), Table 2.

    Example:
      >>> trailing_times(np.zeros(1000), 4)
      array([999., 749., 499., 249.])
    """
    return table.size * (1 - np.arange(num_steps) / num_steps) - 1


def leading_times(table: np.ndarray, num_steps: int) -> np.ndarray:
    """Times [S] that are the first of S parts of T // S steps: DDIM's own, and 0 last.

    The largest stays below T-1, so a chain starts from less noise than it is given:
    by little with few of T steps, by much where T // S is 1, and with S = 1 at t = 0.

    Example:
      >>> leading_times(np.zeros(1000), 4)
      array([750., 500., 250.,   0.])
    """
    return table.size // num_steps * np.arange(num_steps - 1.0, -1, -1)


def log_snr_times(table: np.ndarray, num_steps: int) -> np.ndarray:
    """Times [S] at which lambda rises evenly: Lu et al. (2022).

    Example:
      >>> table = np.log(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
      >>> log_snr_times(table, 4).round(1).tolist()
      [999.0, 602.8, 72.8, 0.0]
    """
    ratio = half_log_snr(table)
    return times_of(table, np.linspace(ratio[-1], ratio[0], num_steps))


def karras_times(
    table: np.ndarray, num_steps: int, rho: float = 7.0, sigma_max: float = 80.0
) -> np.ndarray:
    """Times [S] at which (sigma / alpha)^(1 / rho) falls evenly: Karras (2022), Eq. 5.

    It falls from sigma_max, or from the largest that the schedule has if that is less.
    Cosine betas end at 20,000: few steps from there would all be spent on nothing but
    noise. Where alpha_bar = 0 there is no ratio, and a grid starts before.

    Raises:
      ValueError: if alpha_bar = 0 at every t.

    Example:
      >>> table = np.log(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
      >>> karras_times(table, 4).round(1).tolist()
      [929.6, 695.0, 217.3, 0.0]
    """
    table = table[np.isfinite(table)]
    if not table.size:
        raise ValueError("spacing 'karras' needs a t with alpha_bar > 0; use uniform")
    ratio = np.exp(-half_log_snr(table))
    first, last = np.minimum(ratio[[-1, 0]], sigma_max) ** (1 / rho)
    roots = np.linspace(first, last, num_steps)
    return times_of(table, -rho * np.log(roots))


SPACINGS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "uniform": uniform_times,
    "quadratic": quadratic_times,
    "trailing": trailing_times,
    "leading": leading_times,
    "log_snr": log_snr_times,
    "karras": karras_times,
}
"""Spacings by name: (log alpha_bar [T], S) -> falling times [S] in 0..T-1."""
