"""What can be measured of an image: y = A x + noise, for A with a cheap SVD.

A = U S V^T (Kawar et al. 2022, Sec. 4). A `Measurement` holds S and functions that
apply U, V and their transposes, so that A, which may have a million columns, is never
written down. A spectrum is V^T x: [B, ...] in whatever shape is handy.

To add one: a function that returns a Measurement whose V is orthogonal. matrices.py has
those that come from matrices, any small one among them.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Apply = Callable[[jax.Array], jax.Array]


class Measurement(NamedTuple):
    """A linear map A = U S V^T of images (H, W, C)."""

    image_shape: tuple[int, ...]
    singular_values: jax.Array  # S: the shape of a spectrum, or one that broadcasts
    v_transpose: Apply  # images [B, H, W, C] -> spectrum
    v: Apply  # spectrum -> images
    u_transpose: Apply  # measurements -> spectrum; anything where S is 0
    u: Apply  # spectrum -> measurements; sees nothing of where S is 0


def measure(measurement: Measurement, x: jax.Array) -> jax.Array:
    """A x, for images [B, H, W, C].

    Example:
      >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
      >>> measure(super_resolution((2, 2, 1), 2), x).round(4).tolist()
      [[[[1.5]]]]
    """
    return measurement.u(measurement.singular_values * measurement.v_transpose(x))


def masking(mask: jax.Array) -> Measurement:
    """The pixels where mask, bool [B or 1, H, W, C], is True; y is 0 elsewhere.

    Example:
      >>> mask = jnp.array([True, False]).reshape(1, 1, 2, 1)
      >>> measure(masking(mask), jnp.ones((1, 1, 2, 1))).ravel().tolist()
      [1.0, 0.0]
    """
    return Measurement(mask.shape[1:], mask.astype(jnp.float32), *[_same] * 4)


def super_resolution(image_shape: tuple[int, int, int], factor: int) -> Measurement:
    """The means of blocks of factor x factor pixels: y is [B, H/f, W/f, C].

    Raises:
      ValueError: unless factor is at least 1 and divides height and width.

    Example:
      >>> measurement = super_resolution((4, 6, 3), 2)
      >>> measure(measurement, jnp.ones((1, 4, 6, 3))).shape
      (1, 2, 3, 3)
    """
    height, width, _ = image_shape
    if factor < 1 or height % factor or width % factor:
        raise ValueError(
            f"factor is {factor}; it must divide the height and the width of "
            f"{height}x{width} images"
        )
    # In a block the mean alone is seen: it is the first coefficient, over factor.
    basis = first_row(np.ones(factor**2))
    seen = np.zeros((1, 1, 1, 1, factor**2), np.float32)
    seen[..., 0] = 1 / factor
    return Measurement(
        image_shape,
        jnp.asarray(seen),
        lambda x: dot(_blocks(x, factor), basis),
        lambda spectrum: _unblocks(dot(spectrum, basis), factor),
        partial(_first_of, count=factor**2),
        lambda spectrum: spectrum[..., 0],
    )


def colourisation(
    image_shape: tuple[int, int, int],
    weights: tuple[float, ...] = (0.299, 0.587, 0.114),
) -> Measurement:
    """A weighted sum of the C channels: y is [B, H, W, 1]; by default BT.601's gray.

    Raises:
      ValueError: unless there is one weight for each channel.

    Example:
      >>> gray = measure(colourisation((1, 1, 3)), jnp.ones((1, 1, 1, 3)))
      >>> gray.round(4).tolist()
      [[[[1.0]]]]
    """
    if len(weights) != image_shape[2]:
        raise ValueError(
            f"there are {len(weights)} weights; give one for each of the "
            f"{image_shape[2]} channels"
        )
    basis = first_row(np.array(weights))
    seen = np.zeros((1, 1, 1, len(weights)), np.float32)
    seen[..., 0] = np.linalg.norm(weights)
    return Measurement(
        image_shape,
        jnp.asarray(seen),
        lambda x: dot(x, basis),
        lambda spectrum: dot(spectrum, basis),
        lambda y: _first_of(y[..., 0], len(weights)),
        lambda spectrum: spectrum[..., :1],
    )


def first_row(direction: np.ndarray) -> np.ndarray:
    """A symmetric orthogonal matrix whose first row has a direction: a reflection.

    Example:
      >>> first_row(np.array([3.0, 4.0])).round(6).tolist()
      [[0.6, 0.8], [0.8, -0.6]]
    """
    unit = direction / np.linalg.norm(direction)
    difference = np.eye(unit.size)[0] - unit
    length = difference @ difference
    if length < 1e-12:
        return np.eye(unit.size)
    matrix: np.ndarray = np.eye(unit.size) - 2 / length * np.outer(
        difference, difference
    )
    return matrix


def _same(x: jax.Array) -> jax.Array:
    return x


def dot(x: jax.Array, matrix: np.ndarray) -> jax.Array:
    """X times a matrix, in full float32."""
    # Accelerators round products by default, and A x = y would hold to 1e-3 only.
    return jnp.matmul(x, jnp.asarray(matrix, jnp.float32), precision="highest")


def _first_of(y: jax.Array, count: int) -> jax.Array:
    """Puts y [...] first in [..., count], and zeros behind it."""
    return jnp.zeros((*y.shape, count), y.dtype).at[..., 0].set(y)


def _blocks(x: jax.Array, factor: int) -> jax.Array:
    """[B, H, W, C] as blocks [B, H/f, W/f, C, f * f]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(
        batch, height // factor, width // factor, channels, factor**2
    )


def _unblocks(blocks: jax.Array, factor: int) -> jax.Array:
    """The inverse of _blocks."""
    batch, height, width, channels, _ = blocks.shape
    x = blocks.reshape(batch, height, width, channels, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(
        batch, height * factor, width * factor, channels
    )
