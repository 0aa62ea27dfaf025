r"""The diffusion process of Ho et al. (2020), Sec. 2: no model, no randomness.

The forward process adds noise, q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0,
(1 - alpha_bar_t) I) (Eq. 4), so that with unit noise eps

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.

Given x_t, each of x_0, eps, the posterior mean and the velocity

    v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0

(Salimans and Ho 2022) determines the others; the functions below convert. Arrays are
[B, ...]; t is [B] int in 0..T-1.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.schedules import Schedule


def at(table: jax.Array, t: jax.Array | np.ndarray, x: jax.Array) -> jax.Array:
    """Gathers table [T] at t [B], shaped [B, 1, ...] to multiply x [B, ...].

    Raises:
      ValueError: if t is not int [B], or, where its values are known (not while
        tracing), is outside 0..T-1.

    Example:
      >>> at(jnp.arange(3.0), jnp.array([2, 0]), jnp.ones((2, 4))).tolist()
      [[2.0], [0.0]]
    """
    t = _check_timesteps(t, table.shape[0], x.shape[0])
    return table[t].reshape((-1,) + (1,) * (x.ndim - 1))


def _check_timesteps(
    t: jax.Array | np.ndarray, num_timesteps: int, batch: int
) -> jax.Array:
    if t.shape != (batch,) or not jnp.issubdtype(t.dtype, jnp.integer):
        raise ValueError(
            f"t is {t.dtype} of shape {t.shape}; give integers of shape ({batch},), "
            "one for each image"
        )
    if not isinstance(t, jax.core.Tracer):
        values = np.asarray(t)
        wrong = values[(values < 0) | (values >= num_timesteps)]
        if wrong.size:
            raise ValueError(
                f"t is {wrong[0]}; it must lie in 0..{num_timesteps - 1}, where 0 is "
                "one step of noise"
            )
    return jnp.asarray(t)


def q_sample(
    schedule: Schedule, x_0: jax.Array, t: jax.Array, eps: jax.Array
) -> jax.Array:
    """Draws x_t given x_0 and unit noise: Eq. 4 of Ho et al. (2020).

    x_0, eps are [B, ...]; t is [B] int in 0..T-1, else ValueError.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> x_0, eps = jnp.ones((1, 2)), jnp.zeros((1, 2))
      >>> q_sample(schedule, x_0, jnp.array([999]), eps).round(4).tolist()
      [[0.006399999838322401, 0.006399999838322401]]
    """
    signal = at(schedule.sqrt_alphas_cumprod, t, x_0)
    noise = at(schedule.sqrt_one_minus_alphas_cumprod, t, x_0)
    return signal * x_0 + noise * eps


def q_posterior(
    schedule: Schedule, x_0: jax.Array, x_t: jax.Array, t: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean [B, ...] and variance [B, 1, ...] of q(x_{t-1} | x_t, x_0): Eqs. 6 and 7.

    At t = 0 the mean is x_0 and the variance 0.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> x_0, x_t = jnp.full((1, 2), 0.5), jnp.ones((1, 2))
      >>> mean, variance = q_posterior(schedule, x_0, x_t, jnp.array([0]))
      >>> mean.tolist(), variance.tolist()
      ([[0.5, 0.5]], [[0.0]])
    """
    mean = (
        at(schedule.posterior_mean_x_0, t, x_0) * x_0
        + at(schedule.posterior_mean_x_t, t, x_0) * x_t
    )
    return mean, at(schedule.posterior_variance, t, x_0)


def predict_x0(
    schedule: Schedule, x_t: jax.Array, t: jax.Array, eps: jax.Array
) -> jax.Array:
    """The x_0 that noise eps turned into x_t: Eq. 15 of Ho et al. (2020).

    Where alpha_bar_t = 0, x_t holds nothing of x_0 and the answer is NaN.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> x_0, eps, t = jnp.ones((1, 2)), jnp.full((1, 2), 0.3), jnp.array([500])
      >>> x_t = q_sample(schedule, x_0, t, eps)
      >>> predict_x0(schedule, x_t, t, eps).round(5).tolist()
      [[1.0, 1.0]]
    """
    signal = at(schedule.sqrt_alphas_cumprod, t, x_t)
    noise = at(schedule.sqrt_one_minus_alphas_cumprod, t, x_t)
    # Plain division would give +-inf there, which clipping turns into a quiet +-1.
    return (x_t - noise * eps) / jnp.where(signal > 0, signal, jnp.nan)


def predict_eps(
    schedule: Schedule, x_t: jax.Array, t: jax.Array, x_0: jax.Array
) -> jax.Array:
    """The noise that turned x_0 into x_t: Eq. 4 solved; the inverse of `predict_x0`.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> x_0, eps, t = jnp.ones((1, 2)), jnp.full((1, 2), 0.5), jnp.array([500])
      >>> x_t = q_sample(schedule, x_0, t, eps)
      >>> predict_eps(schedule, x_t, t, x_0).round(5).tolist()
      [[0.5, 0.5]]
    """
    signal = at(schedule.sqrt_alphas_cumprod, t, x_t)
    noise = at(schedule.sqrt_one_minus_alphas_cumprod, t, x_t)
    return (x_t - signal * x_0) / noise


def predict_x0_from_mean(
    schedule: Schedule, x_t: jax.Array, t: jax.Array, mean: jax.Array
) -> jax.Array:
    """The x_0 whose posterior q(x_{t-1} | x_t, x_0) has this mean: Eq. 7 solved.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> x_0, x_t, t = jnp.ones((1, 2)), jnp.full((1, 2), 0.3), jnp.array([9])
      >>> mean, _ = q_posterior(schedule, x_0, x_t, t)
      >>> predict_x0_from_mean(schedule, x_t, t, mean).round(4).tolist()
      [[1.0, 1.0]]
    """
    coefficient = at(schedule.posterior_mean_x_0, t, x_t)
    return (mean - at(schedule.posterior_mean_x_t, t, x_t) * x_t) / coefficient


def predict_v(
    schedule: Schedule, x_0: jax.Array, t: jax.Array, eps: jax.Array
) -> jax.Array:
    """The velocity of x_0 and eps: Sec. 4 of Salimans and Ho (2022).

    With alpha_bar_t = cos^2 a it is dx_t / da; where alpha_bar_t = 0 it is -x_0.

    Example:
      >>> from ddpm_jax.schedules import jsd_beta_schedule, make_schedule
      >>> schedule = make_schedule(jsd_beta_schedule(4))
      >>> x_0, eps = jnp.full((1, 2), 0.5), jnp.ones((1, 2))
      >>> predict_v(schedule, x_0, jnp.array([3]), eps).tolist()
      [[-0.5, -0.5]]
    """
    signal = at(schedule.sqrt_alphas_cumprod, t, x_0)
    noise = at(schedule.sqrt_one_minus_alphas_cumprod, t, x_0)
    return signal * eps - noise * x_0


def predict_x0_from_v(
    schedule: Schedule, x_t: jax.Array, t: jax.Array, v: jax.Array
) -> jax.Array:
    """The x_0 that x_t and the velocity determine: App. D of Salimans and Ho (2022).

    It divides by nothing, so that it is defined at every t.

    Example:
      >>> from ddpm_jax.schedules import jsd_beta_schedule, make_schedule
      >>> schedule = make_schedule(jsd_beta_schedule(4))
      >>> x_t, v = jnp.ones((1, 2)), jnp.full((1, 2), -0.5)
      >>> predict_x0_from_v(schedule, x_t, jnp.array([3]), v).tolist()
      [[0.5, 0.5]]
    """
    signal = at(schedule.sqrt_alphas_cumprod, t, x_t)
    noise = at(schedule.sqrt_one_minus_alphas_cumprod, t, x_t)
    return signal * x_t - noise * v


def predict_eps_from_v(
    schedule: Schedule, x_t: jax.Array, t: jax.Array, v: jax.Array
) -> jax.Array:
    """The noise that x_t and the velocity determine; defined at every t.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule, t = make_schedule(linear_beta_schedule(1000)), jnp.array([300])
      >>> x_0, eps = jnp.full((1, 2), 0.5), jnp.full((1, 2), 0.25)
      >>> x_t, v = q_sample(schedule, x_0, t, eps), predict_v(schedule, x_0, t, eps)
      >>> print(predict_eps_from_v(schedule, x_t, t, v).round(4))
      [[0.25 0.25]]
    """
    signal = at(schedule.sqrt_alphas_cumprod, t, x_t)
    noise = at(schedule.sqrt_one_minus_alphas_cumprod, t, x_t)
    return noise * x_t + signal * v
