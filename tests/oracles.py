"""Independent, slow answers to hold the package against: float64 NumPy, from the paper.

Nothing here imports ddpm_jax, except that the closed-form models take its Schedule.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp
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


def log_alpha_bar(schedule: Schedule, t: np.ndarray) -> np.ndarray:
    """Log alpha_bar at any t in -1..T-1, on straight lines between whole t: float64."""
    steps = np.log1p(-np.asarray(schedule.betas, np.float64))
    nodes = np.append(0.0, np.cumsum(steps))
    return np.interp(t, np.arange(len(nodes)) - 1.0, nodes)


class Mixture(NamedTuple):
    """K normals in each of D independent dimensions: [D, K] each, weights sum to 1."""

    weights: np.ndarray
    means: np.ndarray
    stds: np.ndarray

    def marginal(self, x, log_ab, xp=np):  # noqa: ANN001, ANN201
        """Of x_t [..., D]: x_t - alpha m_k, its variances, and p(k | x_t), [..., D, K].

        Component k of x_t is N(alpha m_k, alpha^2 s_k^2 + sigma^2).
        """
        alpha, noise = xp.exp(0.5 * log_ab), -xp.expm1(log_ab)
        gap = x[..., None] - alpha * self.means
        variance = alpha**2 * self.stds**2 + noise
        log_p = xp.log(self.weights) - 0.5 * gap**2 / variance - 0.5 * xp.log(variance)
        top = log_p.max(-1, keepdims=True)
        # Its gradient cancels, and XLA without optimisations gets it wrong.
        top = jax.lax.stop_gradient(top) if xp is jnp else top
        share = xp.exp(log_p - top)
        return gap, variance, share / share.sum(-1, keepdims=True)

    def eps(self, x, log_ab, xp=np):  # noqa: ANN001, ANN201
        """E[eps | x_t], the mean over k of sigma (x_t - alpha m_k) / v_k."""
        gap, variance, share = self.marginal(x, log_ab, xp)
        return xp.sqrt(-xp.expm1(log_ab)) * (share * gap / variance).sum(-1)


def mixture_eps(data: Mixture, schedule: Schedule):  # noqa: ANN201
    """The optimal eps_fn of a mixture: for x_t [B, D], and t that may lie between."""

    def eps_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jax.vmap(lambda x, t: data.eps(x, log_ab_at(schedule, t), jnp))(x_t, t)

    return eps_fn


def log_ab_at(schedule: Schedule, t: jax.Array) -> jax.Array:
    """`log_alpha_bar` in JAX, for a model that is asked while JAX traces."""
    whole = np.arange(-1.0, schedule.num_timesteps)
    return jnp.interp(t, whole, log_alpha_bar(schedule, whole))


def mixture_flow(
    data: Mixture, schedule: Schedule, x_t: np.ndarray, t: float, s: float
) -> np.ndarray:
    """The probability-flow ODE from t to s, by a method of order 8 to 12 digits.

    In y = x / alpha and u = log(sigma / alpha) it is dy / du = exp(u) eps.
    """
    log_ab = log_alpha_bar(schedule, np.array([t, s]))
    u, alpha = 0.5 * (np.log(-np.expm1(log_ab)) - log_ab), np.exp(0.5 * log_ab)

    def slope(u: float, y: np.ndarray) -> np.ndarray:
        log_ab = -np.log1p(np.exp(2 * u))
        x = np.exp(0.5 * log_ab) * y.reshape(x_t.shape)
        return np.exp(u) * data.eps(x, log_ab).ravel()

    start = x_t.ravel() / alpha[0]
    answer = solve_ivp(slope, u, start, method="DOP853", rtol=1e-12, atol=1e-13)
    return alpha[1] * answer.y[:, -1].reshape(x_t.shape)


def gaussian_flow(
    mean: float, std: float, schedule: Schedule, x_t: np.ndarray, t: float, s: float
) -> np.ndarray:
    """The same in closed form where the data is N(mean, std^2).

    The flow keeps the quantile: (x - alpha mean) / sqrt(alpha^2 std^2 + sigma^2).
    """
    log_ab = log_alpha_bar(schedule, np.array([t, s]))
    deviation = np.sqrt(np.exp(log_ab) * std**2 - np.expm1(log_ab))
    centre = np.exp(0.5 * log_ab) * mean
    return centre[1] + deviation[1] * (x_t - centre[0]) / deviation[0]


def respaced_moments(
    alpha_bars: np.ndarray, mean: float, std: float, eta: float, large: float = 0.0
) -> tuple[float, float]:
    """Mean and variance of x after a chain through alpha_bars [S + 1], exact eps.

    DDIM's chain: x_s = sqrt(ab_s) x_0 + sqrt(1 - ab_s - v) eps + sqrt(v) z, which with
    eta = 1 is the ancestral one, as E[x_0 | x_t] and eps are linear in x_t; large = 1
    adds beta in place of beta~, and a share in 0..1 what is so far between their logs.
    """
    m, v = 0.0, 1.0
    for ab, next_ab in itertools.pairwise(alpha_bars):
        beta = 1 - ab / next_ab
        variance = eta**2 * beta * (1 - next_ab) / (1 - ab)
        marginal = ab * std**2 + 1 - ab
        # eps = e (x - sqrt(ab) mean), x_0 = mean + z (x - sqrt(ab) mean).
        e, z = np.sqrt(1 - ab) / marginal, np.sqrt(ab) * std**2 / marginal
        gain = np.sqrt(next_ab) * z + np.sqrt(1 - next_ab - variance) * e
        added = beta**large * variance ** (1 - large) if next_ab < 1 else 0.0
        m = np.sqrt(next_ab) * mean + gain * (m - np.sqrt(ab) * mean)
        v = gain**2 * v + added
    return m, v
