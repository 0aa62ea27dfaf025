"""The building blocks of the U-Net of Ho et al. (2020), appendix B.

Parameters are float32. `dtype` is what the large layers compute in; GroupNorm's
statistics and softmax stay in float32.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from ddpm_jax import keys as per_image


def default_init(scale: float = 1.0) -> Initializer:
    """Returns the initialiser of all kernels: uniform, variance scale / fan_avg.

    A scale of 0 means 1e-10: such a layer starts as good as absent, and eps_hat at 0.

    Example:
        >>> kernel = default_init()(jax.random.key(0), (3, 3, 8, 8))
        >>> bool(abs(kernel).max() < (3 / (9 * 8)) ** 0.5)
        True
    """
    return nn.initializers.variance_scaling(scale or 1e-10, "fan_avg", "uniform")


INIT, ZERO_INIT = default_init(), default_init(0.0)

AttentionKind = Literal["xla", "cudnn"]
"""Who computes softmax(q k^T) v: the compiler, or NVIDIA's fused kernel."""


def time_embedding(t: jax.Array, dim: int, freq_shift: int = 1) -> jax.Array:
    """Embeds steps t [B], int or float, as sines and then cosines [B, dim], float32.

    The wavelengths run from 2 pi to 2 pi * 10000, both ends included (hence half - 1),
    or with a freq_shift of 0 the last end not. Raises ValueError unless dim is even and
    at least 4.

    Example:
        >>> time_embedding(jnp.array([0]), 4).tolist()
        [[0.0, 0.0, 1.0, 1.0]]
    """
    if dim < 4 or dim % 2:
        raise ValueError(f"dimension {dim} is not even and at least 4: use such a ch")
    half = dim // 2
    frequencies = np.power(10000.0, -np.arange(half) / (half - freq_shift))
    angles = t.astype(jnp.float32)[:, None] * frequencies.astype(np.float32)[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


def _group_mean(x: jax.Array, num_groups: int) -> jax.Array:
    """Averages x [B, H, W, C] over H, W and each group of channels: [B, 1, 1, C]."""
    batch, size = x.shape[0], x.shape[-1] // num_groups
    # Channels first, groups after: splitting the image's channel axis is slower in XLA.
    per_channel = x.mean(axis=(1, 2))
    per_group = per_channel.reshape(batch, num_groups, size).mean(axis=2)
    return jnp.repeat(per_group, size, axis=1)[:, None, None, :]


class GroupNorm(nn.Module):
    """Group normalisation with float32 statistics; x [B, H, W, C] keeps its shape."""

    num_groups: int = 32
    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns (x - mean) / sqrt(var + epsilon) * scale + bias, in `dtype`."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        x = x.astype(jnp.float32)
        centred = x - _group_mean(x, self.num_groups)
        # E[x^2] - E[x]^2 would spare a pass and lose every digit where |mean| >> std.
        variance = _group_mean(jnp.square(centred), self.num_groups)
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale[None, None, None, :]
        return (centred * factor + bias[None, None, None, :]).astype(self.dtype)


def dropout(keys: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """Zeroes a share of x [B, ...] by the keys [B], and enlarges the rest to match.

    Example:
        >>> keys = per_image.image_keys(jax.random.key(0), 2)
        >>> sorted(set(dropout(keys, jnp.ones((2, 99)), 0.5).ravel().tolist()))
        [0.0, 2.0]
    """
    kept = per_image.bernoulli(keys, 1 - rate, x.shape[1:])
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


class ResBlock(nn.Module):
    """A residual block: x [B, H, W, C], temb [B, D] -> [B, H, W, features]."""

    features: int
    dropout: float = 0.1
    num_groups: int = 32
    dtype: DTypeLike = jnp.float32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(
        self, x: jax.Array, temb: jax.Array, dropout_keys: jax.Array | None = None
    ) -> jax.Array:
        """Adds the block's output to x, with dropout where keys [B] are given."""
        norm = partial(GroupNorm, self.num_groups, self.epsilon, self.dtype)
        conv = partial(nn.Conv, self.features, (3, 3), dtype=self.dtype)
        dense = partial(nn.Dense, self.features, kernel_init=INIT)
        h = conv(kernel_init=INIT, name="conv1")(nn.swish(norm(name="norm1")(x)))
        shift = dense(name="temb_proj")(nn.swish(temb))
        h = h + shift.astype(h.dtype)[:, None, None, :]
        h = nn.swish(norm(name="norm2")(h))
        if dropout_keys is not None and self.dropout > 0:
            h = dropout(dropout_keys, h, self.dropout)
        h = conv(kernel_init=ZERO_INIT, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = dense(dtype=self.dtype, name="nin_shortcut")(x)
        return x + h


class Attention(nn.Module):
    """Self-attention over all H * W positions of x [B, H, W, C], in C / head_dim heads.

    A head_dim of None means one head, as in Ho et al. (2020).
    """

    num_groups: int = 32
    dtype: DTypeLike = jnp.float32
    kind: AttentionKind = "xla"
    head_dim: int | None = None
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Adds to x the projection of softmax(q k^T / sqrt(head_dim)) v, all heads."""
        batch, height, width, channels = x.shape
        head_dim = self.head_dim or channels
        dense = partial(nn.Dense, channels, dtype=self.dtype)
        h = GroupNorm(self.num_groups, self.epsilon, self.dtype, name="norm")(x)
        heads = (batch, height * width, channels // head_dim, head_dim)
        h = h.reshape(batch, height * width, 1, channels)
        q, k, v = (
            dense(kernel_init=INIT, name=name)(h).reshape(heads)
            for name in ("q", "k", "v")
        )
        h = jax.nn.dot_product_attention(q, k, v, implementation=self.kind)
        h = h.reshape(x.shape)
        return x + dense(kernel_init=ZERO_INIT, name="proj_out")(h)


class Downsample(nn.Module):
    """Halves H and W of x [B, H, W, C]: a convolution of stride 2."""

    dtype: DTypeLike = jnp.float32
    padding: tuple[int, int] = (0, 1)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pads at the bottom and the right only, as TF's SAME does for even sizes.

        A padding of (1, 1), as PyTorch's, pads on all sides.
        """
        conv = partial(nn.Conv, x.shape[-1], (3, 3), strides=2, dtype=self.dtype)
        return conv(padding=(self.padding,) * 2, kernel_init=INIT, name="conv")(x)


class Upsample(nn.Module):
    """Doubles H and W of x [B, H, W, C]: nearest neighbour, then a convolution."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Repeats every pixel 2 x 2 times and convolves."""
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        conv = partial(nn.Conv, x.shape[-1], (3, 3), dtype=self.dtype)
        return conv(kernel_init=INIT, name="conv")(x)
