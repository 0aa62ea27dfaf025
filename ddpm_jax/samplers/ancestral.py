"""Ancestral sampling with fewer steps: Algorithm 2 of Ho et al. (2020), respaced.

Any falling times of a schedule are a diffusion process of their own (Nichol & Dhariwal
2021, Sec. 4): from t to s < t its beta is 1 - alpha_bar_t / alpha_bar_s, and the
posterior is Eqs. 6 and 7 with that beta, and with alpha_bar_s for alpha_bar_{t-1}.
On all T steps the chain is that of `ddpm_sample`.
"""

from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.denoiser import Variance
from ddpm_jax.denoiser import check_model
from ddpm_jax.reverse import Posterior
from ddpm_jax.reverse import check_variance
from ddpm_jax.reverse import step_by
from ddpm_jax.reverse import variance_of
from ddpm_jax.samplers.start import begin
from ddpm_jax.samplers.start import levels
from ddpm_jax.time_grids import TimeGrid


def posterior(grid: TimeGrid) -> Posterior:
    """The posterior of each step of a grid.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> posterior(make_time_grid(schedule, 2)).mean_x_0.tolist()[-1]
      1.0
    """
    log_alpha_bar, alpha, sigma = grid.log_alpha_bar, grid.alpha, grid.sigma
    log_ratio = log_alpha_bar[:-1] - log_alpha_bar[1:]
    beta, shrink = -np.expm1(log_ratio), (sigma[1:] / sigma[:-1]) ** 2
    small, log_beta = beta * shrink, np.log(beta)
    # The last step to x_0 has none; as at t = 0 the one before stands in for its log.
    stand_in = small[-2] if len(small) > 1 else beta[-1]
    log_small = np.log(np.where(small > 0, small, stand_in))
    return Posterior(
        mean_x_0=jnp.asarray(alpha[1:] * beta / sigma[:-1] ** 2),
        mean_x_t=jnp.asarray(np.exp(0.5 * log_ratio) * shrink),
        variance=jnp.asarray(small),
        log_small=jnp.asarray(log_small),
        log_large=jnp.asarray(log_beta),
        log_beta=jnp.asarray(log_beta),
    )


def ancestral_sample(
    params: object,
    keys: jax.Array,
    shape: tuple[int, ...],
    *,
    grid: TimeGrid,
    x_T: jax.Array | None = None,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Draws images of a shape (B, H, W, C) by the S steps of a grid.

    As `ddpm_sample`; a "learned" variance is that of steps from t to t - 1, and so
    needs a grid of such steps. That of "learned_range" lies between the ends of any
    step, and a function is asked for that of the grid's own, from the t it is given.

    Raises:
      ValueError: if keys, x_T, model, variance or threshold do not fit.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 10)
      >>> truth = lambda params, x_t, t: jnp.full_like(x_t, 0.5)
      >>> x_0 = ancestral_sample(
      ...     {}, jax.random.key(0), (1, 2), grid=grid, x0_fn=truth)
      >>> x_0.tolist()
      [[0.5, 0.5]]
    """
    check_steps_of(model, grid)
    keys, start = begin(keys, shape, grid.num_timesteps, x_T)

    def one_step(
        carry: tuple[jax.Array, jax.Array], row: tuple[Level, Posterior, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        (x_t, guess), (level, q, number) = carry, row
        step = step_by(params, x_t, level, q, guess, **model)
        z = per_image.normal(per_image.fold_in(keys, number), shape[1:])
        return (step.mean + step.deviation * z, step.x_0), None

    rows = (levels(grid), posterior(grid), jnp.asarray(grid.noise_numbers))
    (x_0, _), _ = jax.lax.scan(one_step, (start, jnp.zeros_like(start)), rows)
    return x_0


def variance_on(grid: TimeGrid, variance: Variance) -> Variance:
    """The variance, or where "learned" is not one of the grid's steps "fixed_small".

    What a network has learned is the variance of single steps; that of the posterior is
    known for steps of any length.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> variance_on(make_time_grid(schedule, 10), "learned")
      'fixed_small'
    """
    longer = variance == "learned" and not grid.single_steps
    return "fixed_small" if longer else variance


def check_steps_of(model: ModelOptions, grid: TimeGrid) -> None:
    """Raises ValueError unless a model can take the steps of a grid, and draw in them.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> check_steps_of({"eps_fn": lambda params, x_t, t: x_t, "variance": "learned"},
      ...                make_time_grid(schedule, 1000))
    """
    check_model(bool(grid.alpha[0] == 0), **model)
    check_variance(model)
    if variance_of(model) == "learned" and not grid.single_steps:
        raise ValueError(
            "variance 'learned' is that of single steps from t to t - 1, and this grid "
            "has longer ones; take all steps, or variance 'fixed_small', or ddim"
        )
