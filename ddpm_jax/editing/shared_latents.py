"""Images that share a latent: Sec. 4.3 and Figure 7 of Ho et al. (2020).

One chain is run down to some t, and from there on several, each with noise of its own.
What they have in common is what x_t decided: nothing at t = T-1, the layout in the
middle, all but the grain at the end.
"""

from functools import partial
from typing import NamedTuple
from typing import Unpack

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.samplers.start import begin
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import check_steps

# Copies 1, 2, ... are images of their own; no step has these numbers.
COPIES = 2**31


class Shared(NamedTuple):
    """A latent, and images that it led to."""

    x_t: jax.Array  # [B, ...]
    x_0: jax.Array  # [B, copies, ...]


def share_latent(
    params: object,
    keys: jax.Array,
    shape: tuple[int, ...],
    *,
    copies: int,
    num_steps: int,
    grid: TimeGrid,
    **model: Unpack[ModelOptions],
) -> Shared:
    """Draws images [B, copies, ...] that are one until num_steps steps remain.

    Copy 0 is the image that `ancestral_sample` draws from the same keys. copies,
    num_steps, shape and grid are static under jit; the model and its options are as
    there. With self_condition copy 0 is not quite that image, as the guess begins anew
    where the copies part.

    Raises:
      ValueError: unless copies is at least 1, num_steps is 0..S and keys fit.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 20)
      >>> shared = share_latent(
      ...     {}, jax.random.key(0), (2, 3), copies=4, num_steps=10, grid=grid,
      ...     x0_fn=lambda params, x_t, t: jnp.zeros_like(x_t))
      >>> shared.x_t.shape, shared.x_0.shape
      ((2, 3), (2, 4, 3))
    """
    if copies < 1:
        raise ValueError(f"copies is {copies}; give at least 1")
    check_steps(num_steps, grid)
    sample = partial(
        ancestral_sample,
        params,
        **model,
    )
    keys, x_t = begin(keys, shape, grid.num_timesteps, None)
    split = grid.num_steps - num_steps
    if split:
        x_t = sample(keys, shape, grid=grid.first(split), x_T=x_t)
    x_0 = jnp.repeat(x_t, copies, axis=0)
    if num_steps:
        copied, below = keys_of_copies(keys, copies), grid.last(num_steps)
        x_0 = sample(copied, x_0.shape, grid=below, x_T=x_0)
    return Shared(x_t, x_0.reshape(shape[0], copies, *shape[1:]))


def keys_of_copies(keys: jax.Array, copies: int) -> jax.Array:
    """Keys [B * copies], of copies of each image in turn; those of copy 0 are keys."""
    others = [per_image.fold_in(keys, COPIES + n) for n in range(1, copies)]
    return jnp.stack([keys, *others], axis=1).reshape(-1)
