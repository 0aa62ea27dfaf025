"""What a model says of a noisy image: its x_0 and its eps, which go together.

A model is a function `eps_fn(params, x_t, t) -> eps [B, ...]`. `x0_fn`, of the same
form, may be given in its place: it predicts x_0, which is also defined where
alpha_bar_t = 0. x_t = alpha x_0 + sigma eps, so each follows from the other. A sampler
may keep x_0 in the range of images, by clipping (the paper's code) or by dynamic
thresholding (Saharia et al. 2022, Sec. 2.3); eps is then derived again, so that the two
still make up x_t.

A model that learns the variance of the reverse process as well answers on 2C channels,
the variance's last: one call, so that it runs once, backwards as well. A model may be
self-conditioned (Chen et al. 2022): its input then has 2C channels, x_t and an earlier
guess of x_0, or zeros where there is none.
"""

from collections.abc import Callable
from typing import NamedTuple
from typing import TypedDict

import jax
import jax.numpy as jnp

ModelFn = Callable[[object, jax.Array, jax.Array], jax.Array]
"""(params, x_t [B, ...], t [B]) -> [B, ...]: noise, x_0 or a log variance."""

Variance = str | ModelFn
"""A name in `reverse.VARIANCES` or LEARNED, or a function: the log variance."""

LEARNED = ("learned", "learned_range")
"""The variances that a model of 2C channels returns beside its prediction."""


class ModelOptions(TypedDict, total=False):
    """What samplers are told of a model, by keyword; static under `jax.jit`.

    What is left out is the paper's. Deterministic samplers do not use the variance.
    """

    eps_fn: ModelFn | None  # (params, x_t, t [B]) -> noise [B, ...]
    x0_fn: ModelFn | None  # the same with x_0 for its answer; one of the two is given
    # Of the steps of a random chain: "fixed_large" or "fixed_small"; "learned", where
    # the model answers on 2C channels, the log variance last; "learned_range", where
    # these say where it lies from beta~ to beta; or a function that returns it.
    variance: Variance
    clip_x0: bool  # clip the predicted x_0 to [-1, 1] at each step; True
    threshold: float | None  # quantile of `dynamic_threshold`, in place of clipping
    # Show the model, behind the channels of x_t, the x_0 of the step before, first
    # none; False.
    self_condition: bool


class Level(NamedTuple):
    """How noisy images are: scalars, t [B] and [B, 1, ...], or a row for each step."""

    t: jax.Array
    alpha: jax.Array  # sqrt(alpha_bar)
    sigma: jax.Array  # sqrt(1 - alpha_bar)


class Denoised(NamedTuple):
    """The two parts of an x_t, alpha x_0 + sigma eps, and what else the model said."""

    x_0: jax.Array
    eps: jax.Array
    rest: jax.Array  # the channels behind the first C: none, or C of a log variance


def x0_and_eps(
    params: object,
    x_t: jax.Array,
    level: Level,
    guess: jax.Array | None = None,
    *,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    variance: Variance = "fixed_large",
    clip_x0: bool = True,
    threshold: float | None = None,
    self_condition: bool = False,
) -> Denoised:
    """Asks a model, which predicts eps or x_0, for both: Eq. 15 of Ho et al. (2020).

    The options are those of `ModelOptions`. guess is the x_0 [B, ...] that was
    predicted last, which a model with self_condition is shown, if there is one.

    Raises:
      ValueError: if the answer has not C or 2C channels, or C and a learned variance.

    Example:
      >>> level = Level(jnp.array(7), jnp.array(0.6), jnp.array(0.8))
      >>> truth = lambda params, x_t, t: jnp.full_like(x_t, 0.5)
      >>> x_0, eps, _ = x0_and_eps({}, jnp.full((1, 2), 0.7), level, x0_fn=truth)
      >>> x_0.tolist(), eps.round(5).tolist()
      ([[0.5, 0.5]], [[0.5, 0.5]])
    """
    model = eps_fn or x0_fn
    assert model is not None  # check_model has seen to it
    seen = x_t
    if self_condition and guess is not None:
        seen = jnp.concatenate([x_t, guess], axis=-1)
    answer = model(params, seen, jnp.full(x_t.shape[:1], level.t))
    answer, rest = divided(answer, x_t.shape)
    if variance in LEARNED and not rest.size:
        raise ValueError(
            f"variance is {variance!r} and the model answers on {x_t.shape[-1]} "
            "channels; it must answer on twice as many, the variance's last"
        )
    x_0 = answer if eps_fn is None else (x_t - level.sigma * answer) / level.alpha
    if threshold is not None:
        x_0 = dynamic_threshold(x_0, threshold)
    elif clip_x0:
        x_0 = jnp.clip(x_0, -1, 1)
    elif eps_fn is not None:
        return Denoised(x_0, answer, rest)
    return Denoised(x_0, (x_t - level.alpha * x_0) / level.sigma, rest)


def check_model(
    ends_in_noise: bool,
    *,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    threshold: float | None = None,
    **others: object,
) -> None:
    """Raises ValueError unless one model function is given that can be asked at first.

    ends_in_noise says whether alpha_bar = 0 there, where no eps tells what x_0 was.

    Example:
      >>> check_model(True, x0_fn=lambda params, x_t, t: x_t)
    """
    if (eps_fn is None) == (x0_fn is None):
        raise ValueError("give either eps_fn or x0_fn, and not both")
    if eps_fn is not None and ends_in_noise:
        raise ValueError(
            "this schedule ends at alpha_bar = 0, where x_t is pure noise and no eps "
            "tells what x_0 was; use a model that predicts x_0 (x0_fn) or v, or a "
            "schedule that keeps some signal, such as linear"
        )
    if threshold is not None and not 0 < threshold <= 1:
        raise ValueError(
            f"threshold is {threshold}; give a share of the pixels in (0, 1], such as "
            "0.995"
        )


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


def dynamic_threshold(x_0: jax.Array, share: float) -> jax.Array:
    """Divides each image by its own quantile of abs(x_0), where that is above 1.

    Imagen (Saharia et al. 2022, Sec. 2.3): pixels beyond the quantile are clipped,
    and an image that a strong guidance drives out of [-1, 1] keeps its contrasts.

    Example:
      >>> x_0 = jnp.array([[0.0, 1.0, 2.0], [0.0, 0.25, -0.5]])
      >>> dynamic_threshold(x_0, 1.0).tolist()
      [[0.0, 0.5, 1.0], [0.0, 0.25, -0.5]]
    """
    sizes = jnp.abs(x_0).reshape(x_0.shape[0], -1)
    scale = jnp.maximum(jnp.quantile(sizes, share, axis=1), 1.0)
    scale = scale.reshape((-1,) + (1,) * (x_0.ndim - 1))
    return jnp.clip(x_0, -scale, scale) / scale
