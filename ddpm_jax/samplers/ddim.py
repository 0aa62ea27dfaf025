"""DDIM: fewer steps, with as much of the ancestral chain's noise as wanted, or none.

Song et al. (2021), Eq. 12: keep the x_0 and the eps that the model sees in x_t, and put
them together again at the noise level of s < t. With eta = 0 the chain is a first-order
solver of the probability-flow ODE, and the start alone decides the image; with eta = 1
it is the ancestral chain with the small variance.
"""

import math
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.samplers.start import begin
from ddpm_jax.samplers.start import bind_model
from ddpm_jax.samplers.start import levels
from ddpm_jax.time_grids import TimeGrid


def ddim_sample(
    params: object,
    keys: jax.Array,
    shape: tuple[int, ...],
    *,
    grid: TimeGrid,
    x_T: jax.Array | None = None,
    eta: float = 0.0,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Draws images of a shape (B, H, W, C): Eqs. 12 and 16 of Song et al. (2021).

    Arguments are those of `ancestral_sample`. eta in [0, 1] says
    how much of the ancestral chain's noise is added.

    Raises:
      ValueError: if keys, x_T, model, threshold or eta do not fit.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 10)
      >>> truth = lambda params, x_t, t: jnp.full_like(x_t, 0.5)
      >>> ddim_sample({}, jax.random.key(0), (1, 2), grid=grid, x0_fn=truth).tolist()
      [[0.5, 0.5]]
    """
    ask = bind_model(params, grid, **model)
    if not (math.isfinite(eta) and 0 <= eta <= 1):
        raise ValueError(f"eta is {eta}; give a number in [0, 1]")
    keys, start = begin(keys, shape, grid.num_timesteps, x_T)

    def one_step(
        carry: tuple[jax.Array, jax.Array], row: tuple[Level, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        (x_t, guess), (level, (alpha, sigma, deviation), number) = carry, row
        x_0, eps, _ = ask(x_t, level, guess)
        x_s = alpha * x_0 + sigma * eps
        if eta > 0:
            z = per_image.normal(per_image.fold_in(keys, number), shape[1:])
            x_s = x_s + deviation * z
        return (x_s, x_0), None

    log_ratio = grid.log_alpha_bar[:-1] - grid.log_alpha_bar[1:]
    deviation = grid.sigma[1:] / grid.sigma[:-1] * np.sqrt(-np.expm1(log_ratio)) * eta
    sigma = np.sqrt(np.maximum(grid.sigma[1:] ** 2 - deviation**2, 0))
    coefficients = jnp.stack([grid.alpha[1:], sigma, deviation], axis=1)
    rows = (levels(grid), coefficients, jnp.asarray(grid.noise_numbers))
    (x_0, _), _ = jax.lax.scan(one_step, (start, jnp.zeros_like(start)), rows)
    return x_0
