"""The training objectives of Ho et al. (2020), Sec. 3 and Table 2; each returns [B].

All draw, for image i, t uniform in 0..T-1 and unit noise from keys[i], and form x_t by
Eq. 4. `simple_loss` (Eq. 14), `x0_loss`, `v_loss` and `mean_loss` are squared errors of
what the network predicts; `vlb_loss` is the term L_t of the variational bound (Eq. 5)
in bits per dimension, for the one t that was drawn: its expectation is L / T, without
the constant L_T.

keys is [B], or one key for images 0..B-1; x_0 is [B, ...] in [-1, 1]; t [B] may be
given. Squared errors are means over an image's dimensions.
"""

from typing import Unpack

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.decoder import discretised_log_likelihood
from ddpm_jax.denoiser import ModelFn
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.diffusion import at
from ddpm_jax.diffusion import predict_v
from ddpm_jax.diffusion import q_posterior
from ddpm_jax.diffusion import q_sample
from ddpm_jax.reverse import ReverseStep
from ddpm_jax.reverse import reverse_step
from ddpm_jax.schedules import Schedule


def simple_loss(
    params: object,
    keys: jax.Array,
    x_0: jax.Array,
    *,
    eps_fn: ModelFn,
    schedule: Schedule,
    t: jax.Array | None = None,
) -> jax.Array:
    """L_simple [B]: squared error of the noise, Eq. 14 of Ho et al. (2020).

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> zero = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> loss = simple_loss({}, jax.random.key(0), jnp.ones((4, 64)), eps_fn=zero,
      ...                    schedule=make_schedule(linear_beta_schedule(1000)))
      >>> loss.shape, bool(abs(loss.mean() - 1) < 0.3)
      ((4,), True)
    """
    t, eps, x_t = noisy(keys, x_0, schedule, t)
    return mean_flat((eps - eps_fn(params, x_t, t)) ** 2)


def x0_loss(
    params: object,
    keys: jax.Array,
    x_0: jax.Array,
    *,
    x0_fn: ModelFn,
    schedule: Schedule,
    t: jax.Array | None = None,
) -> jax.Array:
    """Squared error [B] of a predicted x_0: Sec. 3.2 of Ho et al. (2020).

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> zero = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> x0_loss({}, jax.random.key(0), jnp.ones((2, 64)), x0_fn=zero,
      ...         schedule=make_schedule(linear_beta_schedule(1000))).tolist()
      [1.0, 1.0]
    """
    t, _, x_t = noisy(keys, x_0, schedule, t)
    return mean_flat((x_0 - x0_fn(params, x_t, t)) ** 2)


def v_loss(
    params: object,
    keys: jax.Array,
    x_0: jax.Array,
    *,
    v_fn: ModelFn,
    schedule: Schedule,
    t: jax.Array | None = None,
) -> jax.Array:
    """Squared error [B] of a predicted velocity: Sec. 4 of Salimans and Ho (2022).

    Example:
      >>> from ddpm_jax.schedules import make_schedule
      >>> zero = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> schedule = make_schedule([0.5, 1.0])  # at t = 1, alpha_bar = 0, v is -x_0
      >>> v_loss({}, jax.random.key(0), jnp.full((1, 4), 2.0), v_fn=zero,
      ...        schedule=schedule, t=jnp.array([1])).tolist()
      [4.0]
    """
    t, eps, x_t = noisy(keys, x_0, schedule, t)
    return mean_flat((predict_v(schedule, x_0, t, eps) - v_fn(params, x_t, t)) ** 2)


def mean_loss(
    params: object,
    keys: jax.Array,
    x_0: jax.Array,
    *,
    mean_fn: ModelFn,
    schedule: Schedule,
    t: jax.Array | None = None,
) -> jax.Array:
    """Squared error [B] of a predicted posterior mean: Eq. 8 without its weight.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> zero = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> mean_loss({}, jax.random.key(0), jnp.full((1, 4), 2.0), mean_fn=zero,
      ...           schedule=schedule, t=jnp.array([0])).tolist()  # at t = 0 it is x_0
      [4.0]
    """
    t, _, x_t = noisy(keys, x_0, schedule, t)
    mean, _ = q_posterior(schedule, x_0, x_t, t)
    return mean_flat((mean - mean_fn(params, x_t, t)) ** 2)


def vlb_loss(
    params: object,
    keys: jax.Array,
    x_0: jax.Array,
    *,
    schedule: Schedule,
    t: jax.Array | None = None,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """L_t [B] of the variational bound at one random t, in bits/dim: Eq. 5.

    The model's options are `ModelOptions`. Whatever they say, the predicted x_0 is not
    clipped, so that the gradient is that of the bound.

    Example:
      >>> from functools import partial
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> truth = lambda params, x_t, t: jnp.ones_like(x_t)
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> loss = jax.jit(partial(vlb_loss, x0_fn=truth, schedule=schedule,
      ...                        variance="fixed_small"))
      >>> loss({}, jax.random.key(0), jnp.ones((2, 64))).round(4).tolist()
      [0.0, 0.0]
    """
    t, _, x_t = noisy(keys, x_0, schedule, t)
    unclipped: ModelOptions = {**model, "clip_x0": False}
    step = reverse_step(params, x_t, t, schedule=schedule, **unclipped)
    return vlb_term(schedule, x_0, x_t, t, step)


def vlb_term(
    schedule: Schedule,
    x_0: jax.Array,
    x_t: jax.Array,
    t: jax.Array,
    step: ReverseStep,
    cdf: str = "exact",
) -> jax.Array:
    """L_t [B] in bits/dim: KL(q || p) for t > 0, -log p(x_0 | x_1) at t = 0: Eq. 5.

    cdf is that of the decoder at t = 0: a name in `decoder.DECODERS`.
    """
    mean, _ = q_posterior(schedule, x_0, x_t, t)
    log_variance = at(schedule.log_variance_small, t, x_0)
    kl = normal_kl(mean, log_variance, step.mean, step.log_variance)
    log_p = discretised_log_likelihood(x_0, step.mean, step.log_variance, cdf)
    nats = jnp.where(t == 0, mean_flat(-log_p), mean_flat(kl))
    return nats / jnp.log(2.0)


def normal_kl(
    mean_1: jax.Array,
    log_variance_1: jax.Array,
    mean_2: jax.Array,
    log_variance_2: jax.Array,
) -> jax.Array:
    """KL(N_1 || N_2) of each dimension, in nats.

    Example:
      >>> zero, one = jnp.zeros(1), jnp.ones(1)
      >>> normal_kl(zero, zero, one, zero).tolist()
      [0.5]
    """
    gap = log_variance_1 - log_variance_2
    # Not exp(gap) - 1, which near 0 is all rounding: T such terms add up.
    variances = jnp.expm1(gap) - gap
    return 0.5 * (variances + (mean_1 - mean_2) ** 2 * jnp.exp(-log_variance_2))


def noisy(
    keys: jax.Array, x_0: jax.Array, schedule: Schedule, t: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws eps [B, ...], and t [B] if none is given: t, eps and x_t of Eq. 4."""
    keys = per_image.one_each(keys, x_0.shape[0])
    if t is None:
        t = uniform_t(keys, schedule)
    eps = per_image.normal(per_image.fold_in(keys, 1), x_0.shape[1:])
    return t, eps, q_sample(schedule, x_0, t, eps)


def uniform_t(keys: jax.Array, schedule: Schedule) -> jax.Array:
    """Draws t [B], uniform in 0..T-1, as `noisy` does where none is given."""
    return per_image.randint(per_image.fold_in(keys, 0), schedule.num_timesteps)


def mean_flat(x: jax.Array) -> jax.Array:
    """Mean over all dimensions but the first."""
    return x.reshape(x.shape[0], -1).mean(axis=1)
