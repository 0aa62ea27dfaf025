"""What every chain begins with: a model that fits, the rows of its scan, and noise.

Every sampler draws its start as the number T of the image's key, so that, given the
same keys, all of them start from the same noise and lead to kindred images.
"""

from collections.abc import Callable
from functools import partial
from typing import Unpack

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import Denoised
from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.denoiser import check_model
from ddpm_jax.denoiser import x0_and_eps
from ddpm_jax.time_grids import TimeGrid

Denoiser = Callable[..., Denoised]
"""(x_t [B, ...], level of scalars, guess) -> Denoised: `x0_and_eps` of a model."""


def bind_model(
    params: object, grid: TimeGrid, **model: Unpack[ModelOptions]
) -> Denoiser:
    """Binds a model to `x0_and_eps`, once it is known to fit the grid.

    Raises:
      ValueError: unless one of eps_fn and x0_fn is given and can be asked at the
        grid's first time, and threshold is a share.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 2)
      >>> bind_model({}, grid)
      Traceback (most recent call last):
      ValueError: give either eps_fn or x0_fn, and not both
    """
    check_model(bool(grid.alpha[0] == 0), **model)
    return partial(x0_and_eps, params, **model)


def levels(grid: TimeGrid) -> Level:
    """The S levels at which a grid asks the model, in the order of the chain.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> levels(make_time_grid(schedule, 2)).t.tolist()
      [999, 0]
    """
    t, alpha, sigma = grid.t[:-1], grid.alpha[:-1], grid.sigma[:-1]
    return Level(jnp.asarray(t), jnp.asarray(alpha), jnp.asarray(sigma))


def begin(
    keys: jax.Array, shape: tuple[int, ...], num_timesteps: int, x_T: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Returns keys [B], one for each image, and the start [B, ...] of their chains.

    Raises:
      ValueError: if keys or x_T do not fit the shape.

    Example:
      >>> keys, x_T = begin(jax.random.key(0), (2, 3), 1000, None)
      >>> keys.shape, x_T.shape
      ((2,), (2, 3))
    """
    keys = per_image.one_each(keys, shape[0])
    if x_T is None:
        return keys, per_image.normal(per_image.fold_in(keys, num_timesteps), shape[1:])
    if x_T.shape != shape:
        raise ValueError(f"x_T has shape {x_T.shape}; the samples' shape is {shape}")
    return keys, x_T
