"""Images: [-1, 1] to uint8, grids, and files."""

import os
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.files import replacing


def to_model_range(images: jax.Array) -> jax.Array:
    """Scales uint8 [B, H, W, C] to float32 in [-1, 1]: Sec. 3.3 of Ho et al. (2020).

    Example:
      >>> to_model_range(jnp.array([0, 255], jnp.uint8)).tolist()
      [-1.0, 1.0]
    """
    return images.astype(jnp.float32) / 127.5 - 1


def to_uint8(x: jax.Array) -> jax.Array:
    """Rounds [-1, 1] to uint8, the inverse of `to_model_range`; clips what is beyond.

    The paper's code truncates instead, which changes 63 of the 256 values on the way
    there and back.

    Example:
      >>> to_uint8(jnp.array([-1.2, 0.0, 1.0])).tolist()
      [0, 128, 255]
    """
    return jnp.clip(jnp.round((x + 1) * 127.5), 0, 255).astype(jnp.uint8)


def grid(images: np.ndarray, columns: int | None = None, gap: int = 1) -> np.ndarray:
    """Lays uint8 images [N, H, W, C] out in rows: one image [H', W', C].

    Images are a white gap apart; columns is about sqrt(N) unless given, and the last
    row is filled with white.

    Example:
      >>> grid(np.zeros((4, 8, 8, 1), np.uint8)).shape
      (19, 19, 1)
    """
    count, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    tiles = np.full(
        (rows * columns, height + gap, width + gap, channels), 255, np.uint8
    )
    tiles[:count, gap:, gap:] = images
    tiles = tiles.reshape(rows, columns, height + gap, width + gap, channels)
    board = tiles.swapaxes(1, 2).reshape(
        rows * (height + gap), columns * (width + gap), channels
    )
    return np.pad(board, ((0, gap), (0, gap), (0, 0)), constant_values=255)


def class_columns(num_labels: int) -> int | None:
    """A column of a grid for each of a few labels that take turns, or None.

    Example:
      >>> class_columns(10), class_columns(1), class_columns(1000)
      (10, None, None)
    """
    return num_labels if 1 < num_labels <= 20 else None


def enlarge(images: np.ndarray, at_least: int = 64) -> np.ndarray:
    """Repeats whole pixels of [N, H, W, C] until the height is at_least so many.

    Example:
      >>> enlarge(np.zeros((1, 8, 8, 1), np.uint8)).shape
      (1, 64, 64, 1)
    """
    times = max(1, -(-at_least // images.shape[1]))
    return images.repeat(times, axis=1).repeat(times, axis=2)


def save_grid(
    path: str | os.PathLike[str],
    images: np.ndarray,
    columns: int | None = None,
) -> Path:
    """Writes uint8 images [N, H, W, C] as one PNG, small ones enlarged."""
    return save_png(path, grid(enlarge(images), columns, gap=4))


def save_png(path: str | os.PathLike[str], image: np.ndarray) -> Path:
    """Writes one uint8 image [H, W, C], C = 1, 3 or 4, as PNG."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    with replacing(path) as file:
        picture.save(file, "PNG")
    return Path(path)


def save_animation(
    path: str | os.PathLike[str], frames: Sequence[np.ndarray], milliseconds: int = 80
) -> Path:
    """Writes uint8 frames [H, W, C] as a GIF that repeats, resting on the last."""
    from PIL import Image

    pictures = [Image.fromarray(f[..., 0] if f.shape[-1] == 1 else f) for f in frames]
    durations = [milliseconds] * (len(pictures) - 1) + [2000]
    with replacing(path) as file:
        pictures[0].save(
            file,
            "GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
        )
    return Path(path)
