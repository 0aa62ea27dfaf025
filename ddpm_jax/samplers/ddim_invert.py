"""DDIM's inversion: from an image to the noise that leads to it.

A step of DDIM from t to s is x_s = (x_t - b eps(x_t, t)) / a, with a = alpha_t /
alpha_s and b = sigma_t - a sigma_s. So x_t is the fixed point of x -> a x_s + b eps(x,
t). The usual inversion takes the first iterate for x_t, and leads to another image.

The slope of the best eps is (1 - alpha^2 / sigma^2 times the variance of x_0 given x_t)
/ sigma. Where x_t tells x_0 well it lies between 0 and 1 / sigma, so an iteration takes
an error at least down to the share b / sigma_t of it. That is nearly all of it in the
last steps before x_0, and each step gets as many iterations as it needs by that bound,
up to a limit. Anderson's acceleration (1965, of depth 1) makes up for part of the
slowness. Between sharp clusters of the data, and of a network anywhere, the slope may
be larger, and nothing come to rest: what is returned says by how much it did not.

Where alpha_t is nearly 0, as at the end of cosine betas, a step from there is b eps
and hardly anything else, and no network is so exact that this could be inverted. The
spacing "karras" begins below, where 1 / 80 of the picture is left.
"""

from typing import NamedTuple
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.samplers.start import bind_model
from ddpm_jax.samplers.start import levels
from ddpm_jax.time_grids import TimeGrid


class Inverted(NamedTuple):
    """A latent, and how well each step that leads from it was inverted."""

    x_T: jax.Array  # [B, ...]
    # [B]: how far a step of DDIM ends from where it should, at the worst step, before
    # the last improvement there; the root of the mean square over an image. It is 0 if
    # all is exact, and 0.01 and more where another image comes back.
    error: jax.Array


class Iterate(NamedTuple):
    """Where the inversion of a step has come to: [B, ...] each."""

    x_s: jax.Array  # the less noisy end of the step, which is known
    x_t: jax.Array  # the other end, so far
    eps: jax.Array  # as the model last saw it
    image: jax.Array  # of the x_t before, a x_s + b eps
    gap: jax.Array  # between that x_t and its image
    error: jax.Array  # [B]: of the worst step so far


class Iteration(NamedTuple):
    """The rows of the scan, one an iteration."""

    level: Level  # of x_t
    a: jax.Array
    b: jax.Array
    first: jax.Array  # whether it is the first of its step
    last: jax.Array


def ddim_invert(
    params: object,
    x_0: jax.Array,
    *,
    grid: TimeGrid,
    tolerance: float = 1e-4,
    max_iterations: int = 40,
    **model: Unpack[ModelOptions],
) -> Inverted:
    """Finds the x_T [B, ...] from which `ddim_sample` leads to x_0, without clipping.

    Look at the error before trusting a latent.

    Args:
      params: what the model takes first.
      x_0: images [B, ...], or what stands at the end of the grid.
      grid: the steps of the chain.
      tolerance: the share of a step's first error that may remain where the slope of
        eps is 1 / sigma; it settles how often the model is asked (`iterations`).
      max_iterations: the most that a step may take.
      **model: the `ModelOptions` of the samplers, so that what `build` returns serves
        here too. clip_x0 is not used: what is clipped can't be found again. Sample with
        False. threshold is refused, for the same reason; and so is self_condition: in a
        chain the guess comes from the step before, which here is yet to be found.
        Without it, here and in `ddim_sample`, the network of `build` is shown no guess.

    Raises:
      ValueError: if the model does not fit, the grid starts where no signal is left,
        the numbers can't be, or threshold or self_condition is given.

    Example:
      >>> from ddpm_jax.samplers.ddim import ddim_sample
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> model = dict(grid=make_time_grid(schedule, 50),
      ...              eps_fn=lambda params, x_t, t: 0.9 * jnp.tanh(x_t))
      >>> x_0 = jnp.array([[0.5, -0.3]])
      >>> x_T, error = ddim_invert({}, x_0, **model)
      >>> again = ddim_sample(
      ...     {}, jax.random.key(0), (1, 2), x_T=x_T, clip_x0=False, **model)
      >>> bool(abs(again - x_0).max() < 1e-3), bool(error.max() < 1e-3)
      (True, True)
    """
    _check_model(**model)
    unclipped: ModelOptions = {**model, "clip_x0": False}
    ask = bind_model(params, grid, **unclipped)
    _check(grid, tolerance, max_iterations)

    def one_iteration(now: Iterate, row: Iteration) -> tuple[Iterate, None]:
        start = row.a * now.x_s + row.b * now.eps  # with the eps of the step before
        x_t = jnp.where(row.first, start, now.x_t)
        eps = ask(x_t, row.level).eps
        image = row.a * now.x_s + row.b * eps
        gap = image - x_t
        left = jnp.sqrt(jnp.square(gap).reshape(len(gap), -1).mean(1)) / row.a
        error = jnp.where(row.last, jnp.maximum(now.error, left), now.error)
        share = jnp.where(row.first, 0.0, _share(gap, gap - now.gap))
        x_t = image - share * (image - now.image)
        x_s = jnp.where(row.last, x_t, now.x_s)
        return Iterate(x_s, x_t, eps, image, gap, error), None

    nothing = jnp.zeros_like(x_0)
    start = Iterate(
        x_0, nothing, nothing, nothing, nothing, jnp.zeros(len(x_0), x_0.dtype)
    )
    found, _ = jax.lax.scan(
        one_iteration, start, _rows(grid, tolerance, max_iterations)
    )
    return Inverted(found.x_s, found.error)


def iterations(grid: TimeGrid, tolerance: float, max_iterations: int) -> np.ndarray:
    """How often the model is asked in each step of a grid, int [S].

    As often as a slope of 1 / sigma needs for a tolerance, at most max_iterations.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 10)
      >>> iterations(grid, 1e-3, 20)
      array([17, 14, 12, 11,  9,  9,  9, 12, 20, 20])
    """
    noise = grid.sigma / grid.alpha
    remains = 1 - noise[1:] / noise[:-1]  # b / sigma_t
    slow = remains**max_iterations > tolerance
    needed = np.log(tolerance) / np.log(np.where(slow, tolerance, remains))
    counts: np.ndarray = np.where(slow, max_iterations, np.ceil(needed).astype(int))
    return counts


def _rows(grid: TimeGrid, tolerance: float, max_iterations: int) -> Iteration:
    """Steps from little noise to much, each as often as it is iterated."""
    counts = iterations(grid, tolerance, max_iterations)[::-1]
    a = grid.alpha[:-1] / grid.alpha[1:]
    b = grid.sigma[:-1] - a * grid.sigma[1:]
    step = np.repeat(np.arange(grid.num_steps)[::-1], counts)
    ends = np.diff(step, prepend=-1, append=-1) != 0
    return Iteration(
        level=jax.tree.map(lambda table: table[step], levels(grid)),
        a=jnp.asarray(a[step]),
        b=jnp.asarray(b[step]),
        first=jnp.asarray(ends[:-1]),
        last=jnp.asarray(ends[1:]),
    )


def _share(gap: jax.Array, change: jax.Array) -> jax.Array:
    """The share of the last change that best undoes an image's gap: [B, 1, ...]."""
    axes = tuple(range(1, gap.ndim))
    square = (change * change).sum(axes, keepdims=True)
    product = (gap * change).sum(axes, keepdims=True)
    return jnp.where(square > 0, product / jnp.where(square > 0, square, 1), 0.0)


def _check_model(
    *,
    threshold: float | None = None,
    self_condition: bool = False,
    **others: object,
) -> None:
    if threshold is not None:
        raise ValueError(
            f"threshold is {threshold}; what it takes from x_0 can't be found again, "
            "so leave it out, and sample with clip_x0=False"
        )
    if self_condition:
        raise ValueError(
            "self_condition shows the x_0 of the noisier step before, which is yet to "
            "be found; leave it out here and in ddim_sample, and no guess is shown"
        )


def _check(grid: TimeGrid, tolerance: float, max_iterations: int) -> None:
    if grid.alpha[0] == 0:
        raise ValueError(
            "this grid starts at alpha_bar = 0, where nothing of x_0 is left to invert"
        )
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; give a share in (0, 1)")
    whole = isinstance(max_iterations, int) and not isinstance(max_iterations, bool)
    if not whole or max_iterations < 1:
        raise ValueError(
            f"max_iterations is {max_iterations!r}; give a whole number of at least 1"
        )
