"""What a model says of a noisy image: its x_0 and its eps, which go together.

x_t = alpha x_0 + sigma eps, so each follows from the other. A sampler may keep x_0 in
the range of images, by clipping (the paper's code) or by dynamic thresholding (Saharia
et al. 2022, Sec. 2.3); eps is then derived again, so that the two still make up x_t.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddpm_jax.reverse import ModelFn
from ddpm_jax.time_grids import TimeGrid


class Level(NamedTuple):
    """How noisy an image is; scalars, or one row for each step of a scan."""

    t: jax.Array
    alpha: jax.Array  # sqrt(alpha_bar)
    sigma: jax.Array  # sqrt(1 - alpha_bar)


class Denoised(NamedTuple):
    """The two parts of an x_t, alpha x_0 + sigma eps, and what else the model said."""

    x_0: jax.Array
    eps: jax.Array
    rest: jax.Array  # the channels behind the first C: none, or C of a log variance


Denoiser = Callable[..., Denoised]
"""(x_t [B, ...], level of scalars, guess) -> Denoised: `x0_and_eps` of a model.

guess is the x_0 [B, ...] that was predicted last, which a self-conditioned model is
shown; others don't need it."""


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


def bind_model(
    params: object,
    grid: TimeGrid,
    *,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    clip_x0: bool = True,
    threshold: float | None = None,
    self_condition: bool = False,
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
    if (eps_fn is None) == (x0_fn is None):
        raise ValueError("give either eps_fn or x0_fn, and not both")
    if eps_fn is not None and grid.alpha[0] == 0:
        raise ValueError(
            "this grid starts at alpha_bar = 0, where x_t is pure noise and no eps "
            "tells what x_0 was; use a model that predicts x_0 (x0_fn), or a schedule "
            "that keeps some signal, such as linear"
        )
    if threshold is not None and not 0 < threshold <= 1:
        raise ValueError(
            f"threshold is {threshold}; give a share of the pixels in (0, 1], such as "
            "0.995, or None"
        )
    return partial(
        x0_and_eps,
        params,
        eps_fn=eps_fn,
        x0_fn=x0_fn,
        clip_x0=clip_x0,
        threshold=threshold,
        self_condition=self_condition,
    )


def x0_and_eps(
    params: object,
    x_t: jax.Array,
    level: Level,
    guess: jax.Array | None = None,
    *,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    clip_x0: bool = True,
    threshold: float | None = None,
    self_condition: bool = False,
) -> Denoised:
    """Asks a model, which predicts eps or x_0, for both: Eq. 15 of Ho et al. (2020).

    A model that also learns the variance answers on 2C channels, of which the first C
    are the prediction. One with self_condition is shown guess as well. clip_x0 clips
    x_0 to [-1, 1]; threshold is the percentile of `dynamic_threshold`, which then takes
    its place.

    Example:
      >>> level = Level(jnp.array(7), jnp.array(0.6), jnp.array(0.8))
      >>> truth = lambda params, x_t, t: jnp.full_like(x_t, 0.5)
      >>> x_0, eps, _ = x0_and_eps({}, jnp.full((1, 2), 0.7), level, x0_fn=truth)
      >>> x_0.tolist(), eps.round(5).tolist()
      ([[0.5, 0.5]], [[0.5, 0.5]])
    """
    model = eps_fn or x0_fn
    assert model is not None  # bind_model has seen to it
    seen = x_t
    if self_condition and guess is not None:
        seen = jnp.concatenate([x_t, guess], axis=-1)
    answer = model(params, seen, jnp.full(x_t.shape[:1], level.t))
    answer, rest = divided(answer, x_t.shape)
    x_0 = answer if eps_fn is None else (x_t - level.sigma * answer) / level.alpha
    if threshold is not None:
        x_0 = dynamic_threshold(x_0, threshold)
    elif clip_x0:
        x_0 = jnp.clip(x_0, -1, 1)
    elif eps_fn is not None:
        return Denoised(x_0, answer, rest)
    return Denoised(x_0, (x_t - level.alpha * x_0) / level.sigma, rest)


def divided(answer: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Divides an answer into the prediction of a shape, and the channels behind it.

    Raises:
      ValueError: if the answer has neither C nor 2C channels.

    Example:
      >>> prediction, rest = divided(jnp.zeros((2, 4, 4, 6)), (2, 4, 4, 3))
      >>> prediction.shape, rest.shape
      ((2, 4, 4, 3), (2, 4, 4, 3))
    """
    channels = shape[-1]
    if answer.shape not in (shape, (*shape[:-1], 2 * channels)):
        raise ValueError(
            f"the model answers {answer.shape} to x_t {shape}; it must have as many "
            "channels, or twice as many if it also predicts a variance"
        )
    return answer[..., :channels], answer[..., channels:]


def dynamic_threshold(x_0: jax.Array, percentile: float) -> jax.Array:
    """Divides each image by its own percentile of abs(x_0), where that is above 1.

    Imagen (Saharia et al. 2022, Sec. 2.3): pixels beyond the percentile are clipped,
    and an image that a strong guidance drives out of [-1, 1] keeps its contrasts.

    Example:
      >>> x_0 = jnp.array([[0.0, 1.0, 2.0], [0.0, 0.25, -0.5]])
      >>> dynamic_threshold(x_0, 1.0).tolist()
      [[0.0, 0.5, 1.0], [0.0, 0.25, -0.5]]
    """
    sizes = jnp.abs(x_0).reshape(x_0.shape[0], -1)
    scale = jnp.maximum(jnp.quantile(sizes, percentile, axis=1), 1.0)
    scale = scale.reshape((-1,) + (1,) * (x_0.ndim - 1))
    return jnp.clip(x_0, -scale, scale) / scale
