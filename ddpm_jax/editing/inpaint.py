"""Inpainting with an unconditional model: RePaint, Lugmayr et al. (2022).

At each step of the reverse chain the part of the picture that is known is put in,
noised to the chain's own level (Eq. 8), and the model draws the rest. Time travel
(`time_travel`) is what makes the two fit.
"""

from typing import Unpack

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.editing.time_travel import Travel
from ddpm_jax.editing.time_travel import time_travel
from ddpm_jax.editing.time_travel import travel
from ddpm_jax.reverse import step_by
from ddpm_jax.samplers.ancestral import check_steps_of
from ddpm_jax.samplers.start import begin
from ddpm_jax.time_grids import TimeGrid


def inpaint(
    params: object,
    keys: jax.Array,
    known: jax.Array,
    mask: jax.Array,
    *,
    grid: TimeGrid,
    resamples: int = 10,
    jump: int = 10,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Draws pictures that agree with what is known: Algorithm 1 of RePaint.

    Args:
      params: what eps_fn takes first.
      keys: [B], one for each image, or one key for images 0..B-1.
      known: [B, H, W, C] in [-1, 1]; what it holds where mask is False plays no part.
      mask: bool [B, H, W, C or 1], True where the picture is known and stays.
      grid: the times of the chain, S steps.
      resamples: how often each stretch of the chain is gone down; the model is called
        about resamples * S times. With 1 nothing makes the two parts fit.
      jump: the length of a stretch in steps.
      **model: eps_fn or x0_fn, and what else `ModelOptions` names.

    Returns:
      x_0 [B, H, W, C], equal to known where mask is True.

    Raises:
      ValueError: if keys, known and mask, or resamples, jump and S don't fit together.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 20)
      >>> truth = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> x_0 = inpaint(
      ...     {}, jax.random.key(0), jnp.ones((1, 2)), jnp.array([[True, False]]),
      ...     x0_fn=truth, grid=grid)
      >>> x_0.tolist()
      [[1.0, 0.0]]
    """
    check_mask(known, mask)
    check_steps_of(model, grid)
    path = time_travel(grid.num_steps, resamples, jump)
    keys, start = begin(keys, known.shape, grid.num_timesteps, None)

    def draw(number: jax.Array) -> jax.Array:
        return per_image.normal(per_image.fold_in(keys, number), known.shape[1:])

    def one_step(
        carry: tuple[jax.Array, jax.Array], row: Travel
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        x_t, guess = carry
        step = step_by(params, x_t, row.level, row.posterior, guess, **model)
        painted = step.mean + step.deviation * draw(row.numbers[0])
        kept = row.end[0] * known + row.end[1] * draw(row.numbers[1])
        x = jnp.where(mask, kept, painted)
        if resamples > 1:
            up = row.up[0] * x + row.up[1] * draw(row.numbers[2])
            x = jnp.where(row.returns, up, x)
        return (x, step.x_0), None

    first = start, jnp.zeros_like(start)
    (x_0, _), _ = jax.lax.scan(one_step, first, travel(grid, path, jump))
    return x_0


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
