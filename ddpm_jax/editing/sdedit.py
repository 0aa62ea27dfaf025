"""A picture redrawn: SDEdit, Meng et al. (2022).

The picture is noised to some t and the reverse chain goes on from there. What is
larger than the noise stays, colours and layout; what is smaller the model draws anew.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.diffusion import q_sample
from ddpm_jax.reverse import ModelFn
from ddpm_jax.reverse import Variance
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.schedules import Schedule


def sdedit(
    params: object,
    keys: jax.Array,
    images: jax.Array,
    *,
    num_steps: int,
    schedule: Schedule,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    variance: Variance = "fixed_large",
    clip_x0: bool = True,
) -> jax.Array:
    """Noises images [B, H, W, C] by num_steps steps, and takes them off again.

    It is Algorithm 1 of Meng et al. (2022) with K = 1 and the ancestral chain. With
    num_steps = 0 the images come back as they are; with all T steps it is sampling, to
    the extent that alpha_bar_{T-1} is 0. An image has the same noise for any
    num_steps, which is static under jit.

    Args:
      params: what eps_fn takes first.
      keys: [B], one for each image, or one key for images 0..B-1.
      images: [B, H, W, C] in [-1, 1].
      num_steps: how many of the T steps, 0..T.
      schedule: the tables of all T steps.
      eps_fn: (params, x_t, t [B] int32) -> noise [B, H, W, C]; or give x0_fn.
      x0_fn: the same with x_0 for its answer.
      variance: as in `ddpm_sample`.
      clip_x0: clip the predicted x_0 to [-1, 1] at each step.

    Raises:
      ValueError: unless 0 <= num_steps <= T, and keys fit the images.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(50))
      >>> truth = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> images = jnp.ones((1, 2))
      >>> for steps in (0, 20):
      ...     sdedit({}, jax.random.key(0), images, num_steps=steps, x0_fn=truth,
      ...            schedule=schedule).tolist()
      [[1.0, 1.0]]
      [[0.0, 0.0]]
    """
    num_timesteps = schedule.num_timesteps
    if isinstance(num_steps, bool) or not isinstance(num_steps, int):
        raise ValueError(f"num_steps is {num_steps!r}; give a whole number")
    if not 0 <= num_steps <= num_timesteps:
        raise ValueError(
            f"num_steps is {num_steps}; give 0..{num_timesteps}, the steps of noise"
        )
    keys = per_image.one_each(keys, images.shape[0])
    if num_steps == 0:
        return images
    # The chain draws at the numbers 0..T-1, so T is free, whatever num_steps is.
    eps = per_image.normal(per_image.fold_in(keys, num_timesteps), images.shape[1:])
    x_t = q_sample(schedule, images, jnp.full(images.shape[0], num_steps - 1), eps)
    return ddpm_sample(
        params,
        keys,
        images.shape,
        schedule=first_steps(schedule, num_steps),
        eps_fn=eps_fn,
        x0_fn=x0_fn,
        variance=variance,
        clip_x0=clip_x0,
        x_T=x_t,
    )


def first_steps(schedule: Schedule, num_steps: int) -> Schedule:
    """The schedule that ends after the first num_steps steps of another one.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> first_steps(make_schedule(linear_beta_schedule(1000)), 10).num_timesteps
      10
    """
    part: Schedule = jax.tree.map(lambda table: table[:num_steps], schedule)
    ends = schedule.ends_in_noise and num_steps == schedule.num_timesteps
    return dataclasses.replace(part, ends_in_noise=ends)
