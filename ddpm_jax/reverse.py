"""One step of the reverse process p(x_s | x_t) = N(mean, variance) of a model.

The mean is the posterior mean of Eq. 7 with the model's x_0 in place of the true one
(Sec. 3.2 of Ho et al. 2020); the losses and the samplers share it. Steps from t to
t - 1 take their `Posterior` from a schedule (`posterior_at`), longer ones from a grid
(`samplers.ancestral.posterior`).

The variance is a name, "fixed_large" or "fixed_small", or a function `(params, x_t, t)
-> log variance [B, ...]`. With "learned" the model returns it behind its prediction;
with "learned_range" what is there says where between beta~ and beta it lies.
"""

from collections.abc import Callable
from typing import NamedTuple
from typing import Unpack

import jax
import jax.numpy as jnp

from ddpm_jax.denoiser import LEARNED
from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.denoiser import Variance
from ddpm_jax.denoiser import check_model
from ddpm_jax.denoiser import x0_and_eps
from ddpm_jax.diffusion import at
from ddpm_jax.schedules import Schedule


class Posterior(NamedTuple):
    """q(x_s | x_t, x_0): Eqs. 6 and 7. Shapes are those of a `Level`."""

    mean_x_0: jax.Array  # coefficient of x_0 in the mean
    mean_x_t: jax.Array  # coefficient of x_t in the mean
    variance: jax.Array  # beta~ of the step; 0 where it ends at x_0
    log_small: jax.Array  # log beta~
    log_large: jax.Array  # log beta
    log_beta: jax.Array  # also where another is taken for log_large


VARIANCES: dict[str, Callable[[Posterior], jax.Array]] = {
    "fixed_large": lambda q: q.log_large,  # sigma^2 = beta
    "fixed_small": lambda q: q.log_small,  # sigma^2 = beta~
}
"""The fixed log variances: Sec. 3.2 of Ho et al. (2020)."""


class ReverseStep(NamedTuple):
    """p(x_s | x_t), and the x_0 [B, ...] that it is aimed at."""

    mean: jax.Array
    log_variance: jax.Array
    x_0: jax.Array
    deviation: jax.Array  # 0 where the step ends at x_0


def reverse_step(
    params: object,
    x_t: jax.Array,
    t: jax.Array,
    guess: jax.Array | None = None,
    *,
    schedule: Schedule,
    **model: Unpack[ModelOptions],
) -> ReverseStep:
    """Returns mean and variance of p(x_{t-1} | x_t), and predicted x_0: Eq. 11.

    x_t is [B, ...]; t is [B] int in 0..T-1. The options of the model are those of
    `ModelOptions`. With clip_x0 the predicted x_0 is clipped to [-1, 1] before the mean
    is formed, as the paper's code does when it samples. A model with self_condition is
    shown the guess [B, ...] of x_0, if one is given.

    Raises:
      ValueError: unless one of eps_fn and x0_fn is given, and variance is known.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> zero = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> step = reverse_step(
      ...     {}, jnp.ones((1, 2)), jnp.array([0]), x0_fn=zero, schedule=schedule)
      >>> step.mean.tolist()
      [[0.0, 0.0]]
    """
    check_model(schedule.ends_in_noise, **model)
    check_variance(model)
    level, q = level_at(schedule, t, x_t), posterior_at(schedule, t, x_t)
    return step_by(params, x_t, level, q, guess, **model)


def step_by(
    params: object,
    x_t: jax.Array,
    level: Level,
    q: Posterior,
    guess: jax.Array | None = None,
    **model: Unpack[ModelOptions],
) -> ReverseStep:
    """A reverse step of any length, from the level of x_t along a posterior: Eq. 11.

    Of a model that `check_model` and `check_variance` have seen.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> x_t, t = jnp.ones((1, 2)), jnp.array([0])
      >>> level, q = level_at(schedule, t, x_t), posterior_at(schedule, t, x_t)
      >>> half = lambda params, x_t, t: 0.5 * x_t
      >>> step = step_by({}, x_t, level, q, x0_fn=half)
      >>> step.mean.tolist(), step.deviation.tolist()
      ([[0.5, 0.5]], [[0.0]])
    """
    x_0, _, rest = x0_and_eps(params, x_t, level, guess, **model)
    variance = variance_of(model)
    if callable(variance):
        log_variance = variance(params, x_t, jnp.full(x_t.shape[:1], level.t))
    elif variance == "learned":
        log_variance = rest
    elif variance == "learned_range":
        log_variance = between(q.log_small, q.log_beta, rest)
    else:
        log_variance = VARIANCES[variance](q)
    deviation = jnp.where(q.variance > 0, jnp.exp(0.5 * log_variance), 0.0)
    mean = q.mean_x_0 * x_0 + q.mean_x_t * x_t
    return ReverseStep(mean, log_variance, x_0, deviation)


def level_at(schedule: Schedule, t: jax.Array, x: jax.Array) -> Level:
    """The level of images x [B, ...] at t [B] int in 0..T-1.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> print(level_at(schedule, jnp.array([999]), jnp.ones((1, 2))).alpha.round(4))
      [[0.0064]]
    """
    return Level(
        t,
        alpha=at(schedule.sqrt_alphas_cumprod, t, x),
        sigma=at(schedule.sqrt_one_minus_alphas_cumprod, t, x),
    )


def posterior_at(schedule: Schedule, t: jax.Array, x: jax.Array) -> Posterior:
    """The posterior of images x [B, ...] in the step from t [B] to t - 1.

    At t = 0, where beta~ is 0, the next beta~ takes the place of both variances' logs,
    so that the decoder of Eq. 13 has one.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> q = posterior_at(schedule, jnp.array([999]), jnp.zeros((1, 3)))
      >>> print(jnp.exp(VARIANCES["fixed_large"](q)).round(4))
      [[0.02]]
    """
    return Posterior(
        mean_x_0=at(schedule.posterior_mean_x_0, t, x),
        mean_x_t=at(schedule.posterior_mean_x_t, t, x),
        variance=at(schedule.posterior_variance, t, x),
        log_small=at(schedule.log_variance_small, t, x),
        log_large=at(schedule.log_variance_large, t, x),
        log_beta=jnp.log(at(schedule.betas, t, x)),
    )


def between(small: jax.Array, large: jax.Array, position: jax.Array) -> jax.Array:
    """What lies at a position from small (-1) to large (1), on a straight line.

    Of log beta~ and log beta it is Eq. 15 of Nichol and Dhariwal (2021), whose v in
    0..1 is (position + 1) / 2. Nothing keeps position within -1..1.

    Example:
      >>> between(jnp.array(0.0), jnp.array(4.0), jnp.array([-1.0, 0.0, 0.5])).tolist()
      [0.0, 2.0, 3.0]
    """
    share = (position + 1) / 2
    return share * large + (1 - share) * small


def variance_of(model: ModelOptions) -> Variance:
    """The variance that options name, or the paper's.

    Example:
      >>> variance_of({})
      'fixed_large'
    """
    return model.get("variance", "fixed_large")


def check_variance(model: ModelOptions) -> None:
    """Raises ValueError unless a model's variance is known.

    Example:
      >>> check_variance({"variance": "learned_range"})
    """
    variance, names = variance_of(model), (*VARIANCES, *LEARNED)
    if not callable(variance) and variance not in names:
        raise ValueError(
            f"variance is {variance!r}; it must be one of {', '.join(names)}, or a "
            "function (params, x_t, t) -> log variance"
        )
