"""Pictures of the two processes: strips in which time runs from left to right."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.diffusion import q_sample
from ddpm_jax.images import enlarge
from ddpm_jax.images import grid
from ddpm_jax.images import save_animation
from ddpm_jax.images import save_grid
from ddpm_jax.images import to_model_range
from ddpm_jax.images import to_uint8
from ddpm_jax.samplers.ddpm import Frames
from ddpm_jax.schedules import Schedule


def forward_frames(
    schedule: Schedule, images: np.ndarray, steps: tuple[int, ...], key: jax.Array
) -> np.ndarray:
    """Noises uint8 images [B, H, W, C] to each t of steps: uint8 [B, F, H, W, C].

    Each image keeps its noise from step to step, so that a row shows one path fading.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> images = np.zeros((2, 8, 8, 1), np.uint8)
      >>> forward_frames(schedule, images, (0, 500, 999), jax.random.key(0)).shape
      (2, 3, 8, 8, 1)
    """
    x_0 = to_model_range(jnp.asarray(images))
    eps = per_image.normal(per_image.one_each(key, len(images)), images.shape[1:])
    frames = [
        to_uint8(q_sample(schedule, x_0, jnp.full(len(images), t), eps)) for t in steps
    ]
    return np.stack([np.asarray(frame) for frame in frames], axis=1)


def save_strip(path: Path, rows: np.ndarray) -> Path:
    """Writes uint8 frames [B, F, H, W, C] as a PNG of B rows and F columns."""
    return save_grid(path, rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1])


def save_chain(folder: Path, x_0: np.ndarray, frames: Frames) -> list[Path]:
    """Writes a chain as strips of x_t and of predicted x_0, and as an animation.

    x_0 is uint8 [B, H, W, C], the end of the chain; frames are [B, F, H, W, C].
    """
    x_t = np.concatenate([frames.x_t, x_0[:, None]], axis=1)
    boards = [grid(enlarge(x), gap=4) for x in x_t.swapaxes(0, 1)]
    return [
        save_strip(folder / "chain_x_t.png", x_t),
        save_strip(folder / "chain_x_0.png", np.asarray(frames.x_0)),
        save_animation(folder / "chain.gif", boards),
    ]
