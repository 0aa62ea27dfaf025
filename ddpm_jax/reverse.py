"""One step of the reverse process p(x_{t-1} | x_t) = N(mean, variance) of a model.

The mean is the posterior mean of Eq. 7 with the model's x_0 in place of the true one
(Sec. 3.2 of Ho et al. 2020); the losses and the samplers share it.

A model is a function `eps_fn(params, x_t, t) -> eps [B, ...]`. `x0_fn`, of the same
form, may be given in its place: it predicts x_0, which is also defined where
alpha_bar_t = 0. The variance is a name, "fixed_large" or "fixed_small", or a function
`(params, x_t, t) -> log variance [B, ...]`. With "learned" the model returns both, on
2C channels, the log variance last: one call, so that it runs once, backwards as well.
With "learned_range" what is last says where between beta~ and beta the variance lies.

A model may be self-conditioned (Chen et al. 2022): its input then has 2C channels, x_t
and an earlier guess of x_0, or zeros where there is none.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddpm_jax.diffusion import at
from ddpm_jax.diffusion import predict_x0
from ddpm_jax.diffusion import q_posterior
from ddpm_jax.schedules import Schedule

ModelFn = Callable[[object, jax.Array, jax.Array], jax.Array]
"""(params, x_t [B, ...], t [B]) -> [B, ...]: noise, x_0 or a log variance."""

Variance = str | ModelFn
"""A name in VARIANCES or LEARNED, or a function that returns the log variance."""

VARIANCES = {
    "fixed_large": lambda schedule: schedule.log_variance_large,  # sigma^2 = beta
    "fixed_small": lambda schedule: schedule.log_variance_small,  # sigma^2 = beta~
}

LEARNED = ("learned", "learned_range")
"""The variances that a model of 2C channels returns beside its prediction."""


class ReverseStep(NamedTuple):
    """p(x_{t-1} | x_t), and the x_0 [B, ...] that it is aimed at."""

    mean: jax.Array
    log_variance: jax.Array
    x_0: jax.Array


def reverse_step(
    params: object,
    x_t: jax.Array,
    t: jax.Array,
    *,
    schedule: Schedule,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    variance: Variance = "fixed_large",
    clip_x0: bool = True,
    guess: jax.Array | None = None,
) -> ReverseStep:
    """Returns mean, log variance and predicted x_0 of p(x_{t-1} | x_t): Eq. 11.

    x_t is [B, ...]; t is [B] int in 0..T-1. With clip_x0 the predicted x_0 is clipped
    to [-1, 1] before the mean is formed, as the paper's code does when it samples. A
    self-conditioned model is shown the guess [B, ...] of x_0, if one is given.

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
    check_model(schedule, eps_fn, x0_fn)
    model = eps_fn or x0_fn
    assert model is not None
    seen = x_t if guess is None else jnp.concatenate([x_t, guess], axis=-1)
    answer = model(params, seen, t)
    if variance in LEARNED:
        answer, log_variance = jnp.split(answer, 2, axis=-1)
        if variance == "learned_range":
            log_variance = log_variance_in_range(schedule, t, log_variance)
    elif callable(variance):
        log_variance = variance(params, x_t, t)
    else:
        log_variance = fixed_log_variance(schedule, x_t, t, variance)
    x_0 = answer if eps_fn is None else predict_x0(schedule, x_t, t, answer)
    if clip_x0:
        x_0 = jnp.clip(x_0, -1, 1)
    mean, _ = q_posterior(schedule, x_0, x_t, t)
    return ReverseStep(mean, log_variance, x_0)


def log_variance_in_range(
    schedule: Schedule, t: jax.Array, position: jax.Array
) -> jax.Array:
    """The log variance [B, ...] from log beta~ (-1) to log beta (1): an interpolation.

    Eq. 15 of Nichol and Dhariwal (2021), whose v in 0..1 is (position + 1) / 2. Nothing
    keeps position within -1..1.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> t, position = jnp.array([1, 1]), jnp.array([[-1.0], [1.0]])
      >>> print(log_variance_in_range(schedule, t, position).round(3))
      [[-9.817]
       [-9.029]]
    """
    small = at(schedule.log_variance_small, t, position)
    # Not log_variance_large, which at t = 0 is beta~ itself and would leave no range.
    large = jnp.log(at(schedule.betas, t, position))
    return between(small, large, position)


def between(small: jax.Array, large: jax.Array, position: jax.Array) -> jax.Array:
    """What lies at a position from small (-1) to large (1), on a straight line.

    Example:
      >>> between(jnp.array(0.0), jnp.array(4.0), jnp.array([-1.0, 0.0, 0.5])).tolist()
      [0.0, 2.0, 3.0]
    """
    share = (position + 1) / 2
    return share * large + (1 - share) * small


def fixed_log_variance(
    schedule: Schedule, x_t: jax.Array, t: jax.Array, variance: str
) -> jax.Array:
    """The log variance [B, 1, ...] of a name: Sec. 3.2 of Ho et al. (2020).

    Raises:
      ValueError: if the name is not known.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> x_t, t = jnp.zeros((1, 3)), jnp.array([999])
      >>> print(jnp.exp(fixed_log_variance(schedule, x_t, t, "fixed_large")).round(4))
      [[0.02]]
    """
    if variance not in VARIANCES:
        raise ValueError(
            f"variance is {variance!r}; it must be one of "
            f"{', '.join((*VARIANCES, *LEARNED))}, or a function (params, x_t, t) -> "
            "log variance"
        )
    return at(VARIANCES[variance](schedule), t, x_t)


def check_model(
    schedule: Schedule, eps_fn: ModelFn | None, x0_fn: ModelFn | None
) -> None:
    """Raises ValueError unless one model function is given, and fits the schedule."""
    if (eps_fn is None) == (x0_fn is None):
        raise ValueError("give either eps_fn or x0_fn, and not both")
    if eps_fn is not None and schedule.ends_in_noise:
        raise ValueError(
            "this schedule ends at alpha_bar = 0, where x_t is pure noise and no eps "
            "tells what x_0 was; use a model that predicts x_0 (x0_fn) or v, or a "
            "schedule that keeps some signal, such as linear"
        )
