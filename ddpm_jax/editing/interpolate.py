"""From one picture to another through the latents: Sec. 4.3 of Ho et al. (2020).

Both pictures are noised to one t, mixed on a straight line there, and the chain goes
back from the mixture. All mixtures of a pair share all that is random, the noise of
either end and that of every step, so that nothing but lambda changes along a row.

Two independent noises in equal parts are weaker than one, by sqrt(1/2), so that in the
middle x_t is smoother than the model is used to. The paper's mixture is this one.
"""

from typing import Unpack

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import check_steps

# The second end is noised as an image of its own; no step has this number.
SECOND = 2**32 - 1


def interpolate(
    params: object,
    keys: jax.Array,
    first: jax.Array,
    second: jax.Array,
    *,
    lambdas: tuple[float, ...],
    num_steps: int,
    grid: TimeGrid,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Returns L images [B, L, ...] between first and second [B, ...]: Figure 8.

    With lambda = 0 and 1 the ends come back as far as num_steps steps of noise leave
    them; the first as `sdedit` redraws it. With num_steps = 0 the pictures themselves
    are mixed.

    Args:
      params: what eps_fn takes first.
      keys: [B], one for each pair, or one key for pairs 0..B-1.
      first: [B, ...] in [-1, 1].
      second: the other ends, [B, ...].
      lambdas: L shares of the second in x_t; static under jit.
      num_steps: how many of the grid's steps, 0..S; the paper's t. Static under jit.
      grid: the times of the whole chain, S steps.
      **model: eps_fn or x0_fn, and what else `ModelOptions` names.

    Raises:
      ValueError: unless the ends have one shape, num_steps is 0..S and keys fit.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 20)
      >>> mixed = interpolate(
      ...     {}, jax.random.key(0), jnp.zeros((1, 2)), jnp.ones((1, 2)),
      ...     lambdas=(0.0, 0.5, 1.0), num_steps=0, grid=grid)
      >>> mixed.tolist()
      [[[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]]
    """
    if first.shape != second.shape:
        raise ValueError(
            f"the ends have shapes {first.shape} and {second.shape}; give two of one"
        )
    check_steps(num_steps, grid)
    keys = per_image.one_each(keys, first.shape[0])
    if num_steps == 0:
        return mix(first, second, lambdas)
    grid = grid.last(num_steps)
    x_t = mix(*noised(keys, first, second, grid), lambdas)
    flat = x_t.reshape(-1, *first.shape[1:])
    x_0 = ancestral_sample(
        params,
        jnp.repeat(keys, len(lambdas)),  # the same steps for each lambda
        flat.shape,
        grid=grid,
        **model,
        x_T=flat,
    )
    return x_0.reshape(x_t.shape)


def noised(
    keys: jax.Array, first: jax.Array, second: jax.Array, grid: TimeGrid
) -> tuple[jax.Array, jax.Array]:
    """Both ends [B, ...] where a grid begins, each under noise of its own."""
    noise_of_first = per_image.fold_in(keys, grid.num_timesteps)  # as in sdedit
    noise_of_second = per_image.fold_in(keys, SECOND)
    x_t, y_t = (
        grid.alpha[0] * end + grid.sigma[0] * per_image.normal(noise, end.shape[1:])
        for end, noise in ((first, noise_of_first), (second, noise_of_second))
    )
    return x_t, y_t


def mix(first: jax.Array, second: jax.Array, lambdas: tuple[float, ...]) -> jax.Array:
    """Points [B, L, ...] on the straight lines from first to second, [B, ...].

    Example:
      >>> mix(jnp.zeros((1, 1)), jnp.ones((1, 1)), (0.0, 0.25)).tolist()
      [[[0.0], [0.25]]]
    """
    share = jnp.array(lambdas).reshape(1, -1, *(1 for _ in first.shape[1:]))
    return (1 - share) * first[:, None] + share * second[:, None]
