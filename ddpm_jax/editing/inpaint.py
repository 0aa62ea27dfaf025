"""Inpainting with an unconditional model: RePaint, Lugmayr et al. (2022).

At each step of the reverse chain the part of the picture that is known is put in,
noised to the chain's own level (Eq. 8), and the model draws the rest. Time travel
(`time_travel`) is what makes the two fit.
"""

from functools import partial

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.diffusion import q_sample
from ddpm_jax.editing.time_travel import noise_up
from ddpm_jax.editing.time_travel import time_travel
from ddpm_jax.reverse import ModelFn
from ddpm_jax.reverse import Variance
from ddpm_jax.reverse import reverse_step
from ddpm_jax.schedules import Schedule


def inpaint(
    params: object,
    keys: jax.Array,
    known: jax.Array,
    mask: jax.Array,
    *,
    schedule: Schedule,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    variance: Variance = "fixed_large",
    clip_x0: bool = True,
    resamples: int = 10,
    jump: int = 10,
) -> jax.Array:
    """Draws pictures that agree with what is known: Algorithm 1 of RePaint.

    Args:
      params: what eps_fn takes first.
      keys: [B], one for each image, or one key for images 0..B-1.
      known: [B, H, W, C] in [-1, 1]; what it holds where mask is False plays no part.
      mask: bool [B, H, W, C or 1], True where the picture is known and stays.
      schedule: the tables of all T steps.
      eps_fn: (params, x_t, t [B] int32) -> noise [B, H, W, C]; or give x0_fn.
      x0_fn: the same with x_0 for its answer.
      variance: as in `ddpm_sample`.
      clip_x0: clip the predicted x_0 to [-1, 1] at each step.
      resamples: how often each stretch of the chain is gone down; the model is called
        about resamples * T times. With 1 nothing makes the two parts fit.
      jump: the length of a stretch in steps.

    Returns:
      x_0 [B, H, W, C], equal to known where mask is True.

    Raises:
      ValueError: if keys, known and mask, or resamples, jump and T don't fit together.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> truth = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> x_0 = inpaint(
      ...     {}, jax.random.key(0), jnp.ones((1, 2)), jnp.array([[True, False]]),
      ...     x0_fn=truth, schedule=make_schedule(linear_beta_schedule(50)))
      >>> x_0.tolist()
      [[1.0, 0.0]]
    """
    check_mask(known, mask)
    batch, *size = known.shape
    keys = per_image.one_each(keys, batch)
    path = time_travel(schedule.num_timesteps, resamples, jump)
    # Three draws a step: numbers path.number + stride, + 2 stride are no other draw's.
    stride = int(path.number.max()) + 2

    reverse = partial(
        reverse_step,
        schedule=schedule,
        eps_fn=eps_fn,
        x0_fn=x0_fn,
        variance=variance,
        clip_x0=clip_x0,
    )

    def draw(number: jax.Array | int) -> jax.Array:
        return per_image.normal(per_image.fold_in(keys, number), tuple(size))

    def one_step(x_t: jax.Array, row: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        t, returns, number = row
        step = reverse(params, x_t, jnp.full(batch, t))
        sigma = jnp.where(t > 0, jnp.exp(0.5 * step.log_variance), 0.0)
        painted = step.mean + sigma * draw(number)
        kept = noised_before(schedule, known, t, draw(number + stride))
        x = jnp.where(mask, kept, painted)
        if resamples > 1:
            up = noise_up(schedule, x, t - 1, jump, draw(number + 2 * stride))
            x = jnp.where(returns, up, x)
        return x, None

    start = draw(schedule.num_timesteps)
    x_0, _ = jax.lax.scan(one_step, start, tuple(map(jnp.asarray, path)))
    return x_0


def noised_before(
    schedule: Schedule, x_0: jax.Array, t: jax.Array, eps: jax.Array
) -> jax.Array:
    """Noises x_0 [B, ...] to the level of t - 1, one int for all: x_0 itself at t = 0.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> noised_before(schedule, jnp.ones(1), jnp.array(0), jnp.ones(1)).tolist()
      [1.0]
    """
    before = jnp.full(x_0.shape[0], jnp.maximum(t - 1, 0))
    return jnp.where(t > 0, q_sample(schedule, x_0, before, eps), x_0)


def check_mask(known: jax.Array, mask: jax.Array) -> None:
    """Raises ValueError unless mask is bool, and of the shape of known or one channel.

    Example:
      >>> check_mask(jnp.ones((2, 8, 8, 3)), jnp.ones((2, 8, 8, 1), bool))
    """
    if mask.dtype != bool:
        raise ValueError(
            f"mask is {mask.dtype}; give booleans, True where the picture is known"
        )
    if mask.shape not in (known.shape, (*known.shape[:-1], 1)):
        raise ValueError(
            f"mask has shape {mask.shape}; known has {known.shape}, so give that, or 1 "
            "channel"
        )
