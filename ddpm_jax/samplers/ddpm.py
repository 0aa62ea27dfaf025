"""Ancestral sampling: Algorithm 2 of Ho et al. (2020), as one `lax.scan`.

The chain starts at x_T ~ N(0, I) and draws x_{t-1} = mean + sigma_t z for
t = T-1 .. 0, without noise at t = 0. The noise of image i at step t is a function of
(keys[i], t) only, so an image is the same in any batch.
"""

from typing import NamedTuple
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.reverse import reverse_step
from ddpm_jax.samplers.start import begin
from ddpm_jax.schedules import Schedule


class Frames(NamedTuple):
    """What a chain looked like at F chosen t: [F, B, ...] each."""

    x_t: jax.Array  # the chain as it came to step t
    x_0: jax.Array  # the x_0 that the model predicted from it


def ddpm_sample(
    params: object,
    keys: jax.Array,
    shape: tuple[int, ...],
    *,
    schedule: Schedule,
    x_T: jax.Array | None = None,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Draws images x_0 of a shape (B, H, W, C): Algorithm 2 of Ho et al. (2020).

    Args:
      params: what eps_fn takes first.
      keys: [B], one for each image, or one key for images 0..B-1.
      shape: (B, ...); static under jit.
      schedule: the tables of all T steps.
      x_T: where the chain starts, [B, ...]; unit noise if None.
      **model: eps_fn, (params, x_t, t [B] int32) -> noise [B, ...], or x0_fn, and what
        else `ModelOptions` names.

    Raises:
      ValueError: if keys or x_T don't fit the shape, or the schedule ends at
        alpha_bar = 0 and the model predicts eps.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(50, 1e-4, 0.4))
      >>> def eps_fn(params, x_t, t):  # exact where every image is 0
      ...     return x_t / schedule.sqrt_one_minus_alphas_cumprod[t][:, None]
      >>> sample = jax.jit(ddpm_sample, static_argnames=("shape", "eps_fn"))
      >>> x_0 = sample({}, jax.random.key(0), (2, 3), eps_fn=eps_fn, schedule=schedule)
      >>> bool(abs(x_0).max() < 1e-5)
      True
    """
    return ddpm_sample_frames(
        params,
        keys,
        shape,
        frame_steps=(),
        schedule=schedule,
        **model,
        x_T=x_T,
    )[0]


def ddpm_sample_frames(
    params: object,
    keys: jax.Array,
    shape: tuple[int, ...],
    *,
    frame_steps: tuple[int, ...],
    schedule: Schedule,
    x_T: jax.Array | None = None,
    **model: Unpack[ModelOptions],
) -> tuple[jax.Array, Frames]:
    """Like `ddpm_sample`, and keeps the frames of F chosen t: returns x_0, Frames.

    frame_steps are F different t in 0..T-1, in the order in which the frames are
    wanted; static under jit. Only F frames are held in memory, not T.

    Raises:
      ValueError: as ddpm_sample, or if frame_steps are not F different t.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> zero = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> x_0, frames = ddpm_sample_frames(
      ...     {}, jax.random.key(0), (2, 3), frame_steps=(49, 0), x0_fn=zero,
      ...     schedule=make_schedule(linear_beta_schedule(50)))
      >>> frames.x_t.shape
      (2, 2, 3)
    """
    num_timesteps = schedule.num_timesteps
    frame_of_t = _frame_of_t(frame_steps, num_timesteps)
    keys, start = begin(keys, shape, num_timesteps, x_T)

    def one_step(
        carry: tuple[jax.Array, jax.Array, Frames], t: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array, Frames], None]:
        x_t, guess, frames = carry
        now = jnp.full(shape[:1], t)
        step = reverse_step(params, x_t, now, guess, schedule=schedule, **model)
        z = per_image.normal(per_image.fold_in(keys, t), shape[1:])
        if frame_steps:
            frames = jax.tree.map(
                lambda kept, x: kept.at[frame_of_t[t]].set(x, mode="drop"),
                frames,
                Frames(x_t, step.x_0),
            )
        return (step.mean + step.deviation * z, step.x_0, frames), None

    empty = jnp.zeros((len(frame_steps), *shape), start.dtype)
    steps = jnp.arange(num_timesteps - 1, -1, -1)
    first = start, jnp.zeros_like(start), Frames(empty, empty)
    (x_0, _, frames), _ = jax.lax.scan(one_step, first, steps)
    return x_0, frames


def _frame_of_t(frame_steps: tuple[int, ...], num_timesteps: int) -> jax.Array:
    """Maps t [T] to its frame, or to F, which is out of range, where none is kept."""
    wrong = [t for t in frame_steps if not 0 <= t < num_timesteps]
    if wrong or len(set(frame_steps)) < len(frame_steps):
        raise ValueError(
            f"frame_steps is {tuple(frame_steps)}; give different t in "
            f"0..{num_timesteps - 1}"
        )
    table = np.full(num_timesteps, len(frame_steps))
    table[list(frame_steps)] = np.arange(len(frame_steps))
    return jnp.asarray(table)
