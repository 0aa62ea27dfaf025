"""Noise taken off a picture: the x_0 behind y = x_0 + noise n, with unit normal n.

Scaled by alpha = 1 / sqrt(1 + noise^2) the picture is an x_t of the forward process,
at the t where (1 - alpha_bar) / alpha_bar = noise^2. So a model that was trained to
draw is a denoiser at any level of noise. Its prediction is E[x_0 | y], the answer of
least squared error. The reverse chain from that x_t on draws from p(x_0 | y): sharper,
and, as a draw is as far from the mean as the truth is, of twice the squared error.
"""

from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.denoiser import check_model
from ddpm_jax.diffusion import at
from ddpm_jax.editing.noise_level import check_noise
from ddpm_jax.editing.noise_level import nearest_t
from ddpm_jax.reverse import reverse_step
from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.schedules import Schedule
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import time_grid_at


def denoise(
    params: object,
    images: jax.Array,
    *,
    noise: float | jax.Array,
    schedule: Schedule,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Returns the mean of the x_0 that may lie behind noisy images [B, ...].

    One call of the model, at the t whose noise is nearest; nothing is drawn.

    Args:
      params: what eps_fn takes first.
      images: [B, ...] in the scale of [-1, 1], with noise beyond it.
      noise: its deviation in that scale, one for all or [B].
      schedule: the tables of all T steps.
      **model: eps_fn or x0_fn, and what else `ModelOptions` names. clip_x0 clips the
        answer; a model with self_condition is shown that there is no guess of x_0.

    Raises:
      ValueError: if noise is negative, or more than the schedule knows, or [B] is not
        as many as there are images.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> truth = lambda params, x_t, t: jnp.full_like(x_t, 0.5)
      >>> denoise({}, jnp.ones((1, 2)), noise=0.3, x0_fn=truth, schedule=schedule)
      Array([[0.5, 0.5]], dtype=float32)
    """
    check_model(schedule.ends_in_noise, **model)
    check_noise(schedule, noise, images.shape[0])
    t = nearest_t(schedule, jnp.broadcast_to(jnp.asarray(noise), images.shape[:1]))
    return reverse_step(
        params,
        at(schedule.sqrt_alphas_cumprod, t, images) * images,
        t,
        jnp.zeros_like(images),
        schedule=schedule,
        **model,
    ).x_0


def denoise_sample(
    params: object,
    keys: jax.Array,
    images: jax.Array,
    *,
    grid: TimeGrid,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Draws an x_0 that may lie behind each of the noisy images [B, ...].

    grid, from `denoising_grid`, knows how much noise there is. Keys and the model are
    as in `ancestral_sample`.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> truth = lambda params, x_t, t: jnp.full_like(x_t, 0.5)
      >>> denoise_sample({}, jax.random.key(0), jnp.ones((1, 2)), x0_fn=truth,
      ...                grid=denoising_grid(schedule, 0.3, 10))
      Array([[0.5, 0.5]], dtype=float32)
    """
    return ancestral_sample(
        params,
        keys,
        images.shape,
        grid=grid,
        **model,
        x_T=grid.alpha[0] * images,
    )


def denoising_grid(schedule: Schedule, noise: float, num_steps: int) -> TimeGrid:
    """The times from the level of a noise down to x_0: num_steps, or all if fewer.

    Like other grids it is made outside of jit.

    Raises:
      ValueError: if there is no such level, or not at least one step.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> denoising_grid(schedule, 0.3, 4).times
      (88, 59, 29, 0, -1)
    """
    check_noise(schedule, noise, 1)
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; give at least 1")
    start = int(nearest_t(schedule, jnp.array([noise]))[0])
    times = np.linspace(start, 0, min(num_steps, start + 1)).round().astype(int)
    return time_grid_at(schedule, (*times.tolist(), -1))
