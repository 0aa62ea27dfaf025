"""The blocks of FID's Inception-v3, padded and pooled as in its TensorFlow graph.

Sizes in the docstrings are those of a 299 x 299 image; any other goes as well.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

Kernel = int | tuple[int, int]
"""Rows and columns; of a square one number."""

# A TPU, or a GPU with TF32, would else round to 8 or 10 bits, and move FID.
PRECISION = jax.lax.Precision.HIGHEST


class ConvRelu(nn.Module):
    """A convolution with its bias, and ReLU: [B, H, W, C] -> [B, H', W', features]."""

    features: int
    kernel: Kernel = 1
    strides: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns max(conv(x) + bias, 0)."""
        size = (self.kernel,) * 2 if isinstance(self.kernel, int) else self.kernel
        conv = partial(nn.Conv, padding=self.padding, precision=PRECISION)
        return nn.relu(conv(self.features, size, self.strides, name="conv")(x))


def average_pool(x: jax.Array) -> jax.Array:
    """Averages 3 x 3 pixels of [B, H, W, C], of which those outside do not count."""
    inside = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    sums, counts = (
        jax.lax.reduce_window(y, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
        for y in (x, inside)
    )
    return jnp.divide(sums, counts)


def max_pool(x: jax.Array, stride: int = 2, padding: str = "VALID") -> jax.Array:
    """The largest of 3 x 3 pixels of [B, H, W, C]."""
    strides = (1, stride, stride, 1)
    largest: jax.Array = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), strides, padding
    )
    return largest


def chain(
    x: jax.Array, name: str, *layers: tuple[int, Kernel], last_strides: int = 1
) -> jax.Array:
    """Convolutions name_1, name_2, ... of (channels, kernel), strided ones unpadded."""
    for number, (features, kernel) in enumerate(layers, start=1):
        strides = last_strides if number == len(layers) else 1
        padding = "SAME" if strides == 1 else "VALID"
        layer = ConvRelu(features, kernel, strides, padding, name=f"{name}_{number}")
        x = layer(x)
    return x


def cross(x: jax.Array, name: str) -> jax.Array:
    """A row of 3 pixels and a column of 3, side by side: 768 channels."""
    row = ConvRelu(384, (1, 3), name=f"{name}a")(x)
    column = ConvRelu(384, (3, 1), name=f"{name}b")(x)
    return jnp.concatenate([row, column], axis=-1)


class InceptionA(nn.Module):
    """35 x 35: branches of 1 x 1, 5 x 5 and twice 3 x 3."""

    pool_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, 224 + pool_features]."""
        a = ConvRelu(64, name="branch1x1")(x)
        b = chain(x, "branch5x5", (48, 1), (64, 5))
        c = chain(x, "branch3x3dbl", (64, 1), (96, 3), (96, 3))
        d = ConvRelu(self.pool_features, name="branch_pool")(average_pool(x))
        return jnp.concatenate([a, b, c, d], axis=-1)


class InceptionB(nn.Module):
    """35 x 35 to 17 x 17."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', 480 + C]."""
        a = ConvRelu(384, 3, 2, "VALID", name="branch3x3")(x)
        b = chain(x, "branch3x3dbl", (64, 1), (96, 3), (96, 3), last_strides=2)
        return jnp.concatenate([a, b, max_pool(x)], axis=-1)


class InceptionC(nn.Module):
    """17 x 17: kernels of 7 x 7, as a row and a column."""

    channels_7x7: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, 768]."""
        n, row, column = self.channels_7x7, (1, 7), (7, 1)
        a = ConvRelu(192, name="branch1x1")(x)
        b = chain(x, "branch7x7", (n, 1), (n, row), (192, column))
        twice = (n, 1), (n, column), (n, row), (n, column), (192, row)
        c = chain(x, "branch7x7dbl", *twice)
        d = ConvRelu(192, name="branch_pool")(average_pool(x))
        return jnp.concatenate([a, b, c, d], axis=-1)


class InceptionD(nn.Module):
    """17 x 17 to 8 x 8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', 512 + C]."""
        a = chain(x, "branch3x3", (192, 1), (320, 3), last_strides=2)
        layers = (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)
        b = chain(x, "branch7x7x3", *layers, last_strides=2)
        return jnp.concatenate([a, b, max_pool(x)], axis=-1)


class InceptionE(nn.Module):
    """8 x 8: kernels of 3 x 3, as a row beside a column."""

    largest: bool  # whether the pool takes the largest pixel; else the mean

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, 2048]."""
        a = ConvRelu(320, name="branch1x1")(x)
        b = cross(chain(x, "branch3x3", (384, 1)), "branch3x3_2")
        c = chain(x, "branch3x3dbl", (448, 1), (384, 3))
        c = cross(c, "branch3x3dbl_3")
        pooled = max_pool(x, 1, "SAME") if self.largest else average_pool(x)
        d = ConvRelu(192, name="branch_pool")(pooled)
        return jnp.concatenate([a, b, c, d], axis=-1)
