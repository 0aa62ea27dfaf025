"""Independent, slow answers to hold the package against: float64 NumPy, from the paper.

Nothing here imports ddpm_jax, except that the closed-form models take its Schedule.
"""

import jax
import numpy as np
from scipy.special import log_ndtr
from scipy.special import ndtr

from ddpm_jax.schedules import Schedule


def gaussian_eps(mean: float, std: float, schedule: Schedule):  # noqa: ANN201
    """The optimal eps_fn where every dimension of the data is N(mean, std^2).

    eps = (x_t - sqrt(ab) x_0) / sqrt(1 - ab), and x_0, x_t are jointly Gaussian, so
    E[eps | x_t] = sqrt(1 - ab) (x_t - sqrt(ab) mean) / (ab std^2 + 1 - ab).
    """

    def eps_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        at_t = (-1,) + (1,) * (x_t.ndim - 1)
        signal = schedule.sqrt_alphas_cumprod[t].reshape(at_t)
        noise = schedule.sqrt_one_minus_alphas_cumprod[t].reshape(at_t)
        marginal = signal**2 * std**2 + noise**2
        return noise * (x_t - signal * mean) / marginal

    return eps_fn


def gaussian_chain_moments(
    betas: np.ndarray, mean: float, std: float, sigma: np.ndarray
) -> tuple[float, float]:
    """Mean and variance of the x_0 of a chain with `gaussian_eps`: a recursion."""
    alpha_bar = np.cumprod(1 - betas)
    m, v = 0.0, 1.0  # of x_T
    for t in reversed(range(len(betas))):
        marginal = alpha_bar[t] * std**2 + 1 - alpha_bar[t]
        # Eq. 11: mu = (x - beta / sqrt(1 - ab) eps) / sqrt(alpha), which is a x + b.
        gain = betas[t] / marginal
        a = (1 - gain) / np.sqrt(1 - betas[t])
        b = gain * np.sqrt(alpha_bar[t]) * mean / np.sqrt(1 - betas[t])
        m, v = a * m + b, a * a * v + (sigma[t] ** 2 if t > 0 else 0.0)
    return m, v


def posterior(
    betas: np.ndarray, t: int, x_0: np.ndarray, x_t: np.ndarray
) -> tuple[np.ndarray, float]:
    """q(x_{t-1} | x_t, x_0) by Bayes' rule: the product of two Gaussians in x_{t-1}."""
    prior_mean = np.sqrt(np.prod(1 - betas[:t])) * x_0
    prior_variance = 1 - np.prod(1 - betas[:t])
    if prior_variance == 0:
        return x_0, 0.0
    # Likelihood of x_{t-1}: N(x_t; sqrt(alpha) x_{t-1}, beta).
    precision = 1 / prior_variance + (1 - betas[t]) / betas[t]
    mean = prior_mean / prior_variance + np.sqrt(1 - betas[t]) * x_t / betas[t]
    return mean / precision, 1 / precision


def bound_term(
    betas: np.ndarray,
    t: int,
    x_0: np.ndarray,
    x_t: np.ndarray,
    model_mean: np.ndarray,
    model_log_variance: np.ndarray,
) -> float:
    """L_t of Eq. 5 in bits per dimension, for one image: Eqs. 7 and 13, by pixels."""
    total = 0.0
    for i in np.ndindex(x_0.shape):
        mean, log_variance = model_mean[i], model_log_variance[i]
        if t > 0:
            q_mean, q_variance = posterior(betas, t, x_0[i], x_t[i])
            p_variance = np.exp(log_variance)
            total += 0.5 * (
                np.log(p_variance / q_variance)
                + (q_variance + (q_mean - mean) ** 2) / p_variance
                - 1
            )
        else:
            total -= pixel_log_probability(x_0[i], mean, np.exp(0.5 * log_variance))
    return total / x_0.size / np.log(2)


def pixel_log_probability(x: float, mean: float, std: float) -> float:
    """Eq. 13: log of the normal's mass over the bin of pixel x, in float64."""
    upper = np.inf if x > 0.999 else (x + 1 / 255 - mean) / std
    lower = -np.inf if x < -0.999 else (x - 1 / 255 - mean) / std
    if lower > 0:  # the upper tail, mirrored to where CDFs do not round to 1
        lower, upper = -upper, -lower
    if lower > -5:
        return float(np.log(ndtr(upper) - ndtr(lower)))
    gap = log_ndtr(lower) - log_ndtr(upper)
    return float(log_ndtr(upper) + np.log1p(-np.exp(gap)))
