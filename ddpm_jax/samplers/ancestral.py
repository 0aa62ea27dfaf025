"""Ancestral sampling with fewer steps: Algorithm 2 of Ho et al. (2020), respaced.

Any falling times of a schedule are a diffusion process of their own (Nichol & Dhariwal
2021, Sec. 4): from t to s < t its beta is 1 - alpha_bar_t / alpha_bar_s, and the
posterior is Eqs. 6 and 7 with that beta, and with alpha_bar_s for alpha_bar_{t-1}.
On all T steps the chain is that of `ddpm_sample`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.reverse import LEARNED
from ddpm_jax.reverse import ModelFn
from ddpm_jax.reverse import Variance
from ddpm_jax.reverse import between
from ddpm_jax.samplers.denoiser import Denoiser
from ddpm_jax.samplers.denoiser import Level
from ddpm_jax.samplers.denoiser import bind_model
from ddpm_jax.samplers.denoiser import levels
from ddpm_jax.samplers.start import begin
from ddpm_jax.time_grids import TimeGrid


class Posterior(NamedTuple):
    """q(x_s | x_t, x_0) of each step of a grid, [S]: Eqs. 6 and 7."""

    mean_x_0: jax.Array  # coefficient of x_0 in the mean
    mean_x_t: jax.Array  # coefficient of x_t in the mean
    variance: jax.Array  # beta~ of the step; 0 where it ends at x_0
    beta: jax.Array


FIXED: dict[str, Callable[[Posterior], jax.Array]] = {
    "fixed_large": lambda q: jnp.log(q.beta),
    "fixed_small": lambda q: jnp.log(q.variance),
}
"""The log variances of Sec. 3.2, of a step of any length."""


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
    return Posterior(
        mean_x_0=jnp.asarray(alpha[1:] * beta / sigma[:-1] ** 2),
        mean_x_t=jnp.asarray(np.exp(0.5 * log_ratio) * shrink),
        variance=jnp.asarray(beta * shrink),
        beta=jnp.asarray(beta),
    )


def ancestral_sample(
    params: object,
    keys: jax.Array,
    shape: tuple[int, ...],
    *,
    grid: TimeGrid,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    variance: Variance = "fixed_large",
    clip_x0: bool = True,
    threshold: float | None = None,
    self_condition: bool = False,
    x_T: jax.Array | None = None,
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
    ask = bind_model(
        params,
        grid,
        eps_fn=eps_fn,
        x0_fn=x0_fn,
        clip_x0=clip_x0,
        threshold=threshold,
        self_condition=self_condition,
    )
    check_variance(variance, grid)
    keys, start = begin(keys, shape, grid.num_timesteps, x_T)

    def one_step(
        carry: tuple[jax.Array, jax.Array], row: tuple[Level, Posterior, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        (x_t, guess), (level, q, number) = carry, row
        mean, deviation, x_0 = ancestral_step(
            params, x_t, level, q, guess, ask=ask, variance=variance
        )
        z = per_image.normal(per_image.fold_in(keys, number), shape[1:])
        return (mean + deviation * z, x_0), None

    rows = (levels(grid), posterior(grid), jnp.asarray(grid.noise_numbers))
    (x_0, _), _ = jax.lax.scan(one_step, (start, jnp.zeros_like(start)), rows)
    return x_0


class AncestralStep(NamedTuple):
    """p(x_s | x_t), and the x_0 [B, ...] that it is aimed at."""

    mean: jax.Array
    deviation: jax.Array
    x_0: jax.Array


def ancestral_step(
    params: object,
    x_t: jax.Array,
    level: Level,
    q: Posterior,
    guess: jax.Array | None = None,
    *,
    ask: Denoiser,
    variance: Variance = "fixed_large",
) -> AncestralStep:
    """Mean and deviation of p(x_s | x_t), one step of a grid: Eq. 11, respaced.

    ask is a model as `bind_model` returns it, level and q one row of a grid's. The
    deviation is 0 where the step ends at x_0.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 10)
      >>> last = lambda table: table[-1]
      >>> level, q = jax.tree.map(last, (levels(grid), posterior(grid)))
      >>> ask = bind_model({}, grid, x0_fn=lambda params, x_t, t: 0.5 * x_t)
      >>> step = ancestral_step({}, jnp.ones((1, 1)), level, q, ask=ask)
      >>> step.mean.tolist(), step.deviation.tolist()
      ([[0.5]], 0.0)
    """
    x_0, _, rest = ask(x_t, level, guess)
    if callable(variance):
        log_variance = variance(params, x_t, jnp.full(x_t.shape[:1], level.t))
    elif variance == "learned":
        log_variance = rest
    elif variance == "learned_range":
        # Eq. 15 of Nichol and Dhariwal (2021), between the ends of this long step.
        log_variance = between(FIXED["fixed_small"](q), FIXED["fixed_large"](q), rest)
    else:
        log_variance = FIXED[variance](q)
    deviation = jnp.where(q.variance > 0, jnp.exp(0.5 * log_variance), 0.0)
    return AncestralStep(q.mean_x_0 * x_0 + q.mean_x_t * x_t, deviation, x_0)


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


def check_variance(variance: Variance, grid: TimeGrid) -> None:
    """Raises ValueError unless a variance is known, and is one of the grid's steps.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> check_variance("learned", make_time_grid(schedule, 1000))
      >>> check_variance("fixed_small", make_time_grid(schedule, 10))
    """
    names = (*FIXED, *LEARNED)
    if not callable(variance) and variance not in names:
        raise ValueError(
            f"variance is {variance!r}; it must be one of {', '.join(names)}, or a "
            "function (params, x_t, t) -> log variance"
        )
    if variance == "learned" and not grid.single_steps:
        raise ValueError(
            "variance 'learned' is that of single steps from t to t - 1, and this grid "
            "has longer ones; take all steps, or variance 'fixed_small', or ddim"
        )
