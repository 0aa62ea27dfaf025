"""A picture redrawn: SDEdit, Meng et al. (2022).

The picture is noised to some t and the reverse chain goes on from there. What is
larger than the noise stays, colours and layout; what is smaller the model draws anew.
"""

from typing import Unpack

import jax

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import check_steps


def sdedit(
    params: object,
    keys: jax.Array,
    images: jax.Array,
    *,
    num_steps: int,
    grid: TimeGrid,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Noises images [B, H, W, C] up to num_steps steps of a chain, and takes these.

    It is SDEdit of Meng et al. (2022), Sec. 3, run once (K = 1), with the ancestral
    chain of this process in place of a discretised SDE. With num_steps = 0 the images
    come back as they are; with all steps of the grid it is sampling, to the extent that
    alpha_bar is 0 where the grid starts. An image has the same noise for any num_steps.

    Args:
      params: what eps_fn takes first.
      keys: [B], one for each image, or one key for images 0..B-1.
      images: [B, H, W, C] in [-1, 1].
      num_steps: how many of the grid's steps, 0..S; static under jit.
      grid: the times of the whole chain, S steps.
      **model: eps_fn or x0_fn, and what else `ModelOptions` names.

    Raises:
      ValueError: unless 0 <= num_steps <= S, and keys fit the images.

    Example:
      >>> import jax.numpy as jnp
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 50)
      >>> truth = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> images = jnp.ones((1, 2))
      >>> for steps in (0, 20):
      ...     sdedit({}, jax.random.key(0), images, num_steps=steps, x0_fn=truth,
      ...            grid=grid).tolist()
      [[1.0, 1.0]]
      [[0.0, 0.0]]
    """
    check_steps(num_steps, grid)
    keys = per_image.one_each(keys, images.shape[0])
    if num_steps == 0:
        return images
    part = grid.last(num_steps)
    # The chain draws at numbers of its own, so T is free, whatever num_steps is.
    start_keys = per_image.fold_in(keys, grid.num_timesteps)
    eps = per_image.normal(start_keys, images.shape[1:])
    return ancestral_sample(
        params,
        keys,
        images.shape,
        grid=part,
        **model,
        x_T=part.alpha[0] * images + part.sigma[0] * eps,
    )
