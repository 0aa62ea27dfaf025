"""Measurements that are given by matrices: blurs, and any A that is small enough."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.editing.measurements import Measurement
from ddpm_jax.editing.measurements import dot


def separable(
    image_shape: tuple[int, int, int],
    rows: np.ndarray,
    columns: np.ndarray,
    cut: float = 0.0,
) -> Measurement:
    """A_rows x A_columns^T of each channel, for square matrices [H, H] and [W, W].

    Its singular values are the products of the two matrices'. Those below cut are
    taken for 0: what A damps so much is noise in any real y.

    Raises:
      ValueError: if a matrix has not the size of the images.

    Example:
      >>> from ddpm_jax.editing.measurements import measure
      >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
      >>> double = separable((2, 2, 1), 2 * np.eye(2), np.eye(2))
      >>> measure(double, x).round(4).ravel().tolist()
      [0.0, 2.0, 4.0, 6.0]
    """
    height, width, _ = image_shape
    for name, matrix, size in (("rows", rows, height), ("columns", columns, width)):
        if matrix.shape != (size, size):
            raise ValueError(
                f"{name} has shape {matrix.shape}; images {image_shape} need "
                f"{(size, size)}"
            )
    (u_h, s_h, vt_h), (u_w, s_w, vt_w) = map(np.linalg.svd, (rows, columns))
    values = np.outer(s_h, s_w).astype(np.float32)[None, :, :, None]
    return Measurement(
        image_shape,
        jnp.asarray(np.where(values < cut, 0, values)),
        partial(_on_both_axes, vt_h, vt_w),
        partial(_on_both_axes, vt_h.T, vt_w.T),
        partial(_on_both_axes, u_h.T, u_w.T),
        partial(_on_both_axes, u_h, u_w),
    )


def gaussian_blur(
    image_shape: tuple[int, int, int], deviation: float, cut: float = 0.03
) -> Measurement:
    """A blur by a normal of this deviation in pixels, with mirrored edges.

    Raises:
      ValueError: unless the deviation is above 0, and not beyond the image's size.

    Example:
      >>> from ddpm_jax.editing.measurements import measure
      >>> flat = jnp.ones((1, 8, 8, 1))
      >>> bool(jnp.allclose(measure(gaussian_blur((8, 8, 1), 0.5), flat), 1, atol=1e-5))
      True
    """
    height, width, _ = image_shape
    if not 0 < deviation <= max(height, width):
        raise ValueError(
            f"the blur's deviation is {deviation}; give more than 0 pixels, and at "
            f"most {max(height, width)}, the size of the image"
        )
    return separable(
        image_shape, blur_matrix(height, deviation), blur_matrix(width, deviation), cut
    )


def blur_matrix(size: int, deviation: float) -> np.ndarray:
    """The blur of a row of so many pixels, [size, size]; its rows sum to 1.

    Example:
      >>> blur_matrix(3, 1e-3).round(6).tolist()
      [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    reach = int(np.ceil(4 * deviation))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    matrix = np.zeros((size, size))
    for row in range(size):
        # Pixel -1 is pixel 0 again, and so on: the row and its mirror image repeat.
        places = (row + offsets) % (2 * size)
        np.add.at(matrix[row], np.minimum(places, 2 * size - 1 - places), weights)
    normalised: np.ndarray = matrix / weights.sum()
    return normalised


def linear(image_shape: tuple[int, ...], matrix: np.ndarray) -> Measurement:
    """Any A [m, n] of flattened images: n = H * W * C, and y is [B, m].

    Example:
      >>> from ddpm_jax.editing.measurements import measure
      >>> total = linear((2, 2, 1), np.ones((1, 4)))
      >>> measure(total, jnp.ones((1, 2, 2, 1))).round(4).tolist()
      [[4.0]]
    """
    size = int(np.prod(image_shape))
    if matrix.ndim != 2 or matrix.shape[1] != size:
        raise ValueError(
            f"matrix has shape {matrix.shape}; images {image_shape} need {size} columns"
        )
    u, s, vt = np.linalg.svd(np.asarray(matrix, np.float64))
    values = np.zeros((1, size), np.float32)
    values[0, : s.size] = np.where(s > 1e-6 * s.max(), s, 0)
    rank = min(matrix.shape)
    return Measurement(
        image_shape,
        jnp.asarray(values),
        lambda x: dot(x.reshape(-1, size), vt.T),
        lambda spectrum: dot(spectrum, vt).reshape(-1, *image_shape),
        lambda y: jnp.pad(dot(y, u[:, :rank]), ((0, 0), (0, size - rank))),
        lambda spectrum: dot(spectrum[:, :rank], u[:, :rank].T),
    )


def _on_both_axes(rows: np.ndarray, columns: np.ndarray, x: jax.Array) -> jax.Array:
    """rows x columns^T, for each image and channel of x [B, H, W, C]."""
    left, right = jnp.asarray(rows, jnp.float32), jnp.asarray(columns, jnp.float32)
    return jnp.einsum("ih,bhwc,jw->bijc", left, x, right, precision="highest")
