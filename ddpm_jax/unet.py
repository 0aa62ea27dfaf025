"""The U-Net that predicts the noise: the network of Ho et al. (2020), appendix B.

eps_hat = UNet(x_t, t). Residual blocks go down a pyramid and up again, each block of
the way up reading one output of the way down; t enters every block. Submodules bear
the names of the original TensorFlow variables, so that one rule maps weights across.

Parameters are float32. `dtype` is what the large layers compute in; time embedding,
first and last convolution, GroupNorm's statistics and softmax stay in float32.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike


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


def time_embedding(t: jax.Array, dim: int) -> jax.Array:
    """Embeds steps t [B], int or float, as sines and then cosines [B, dim], float32.

    The wavelengths run from 2 pi to 2 pi * 10000, both ends included (hence half - 1).
    Raises ValueError unless dim is even and at least 4.

    Example:
        >>> time_embedding(jnp.array([0]), 4).tolist()
        [[0.0, 0.0, 1.0, 1.0]]
    """
    if dim < 4 or dim % 2:
        raise ValueError(f"dimension {dim} is not even and at least 4: use such a ch")
    half = dim // 2
    frequencies = np.power(10000.0, -np.arange(half) / (half - 1)).astype(np.float32)
    angles = t.astype(jnp.float32)[:, None] * frequencies[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


def check_shape(
    height: int, width: int, *, ch: int, ch_mult: tuple[int, ...], num_groups: int
) -> None:
    """Raises ValueError, naming what is legal, if no such U-Net takes such images.

    height and width, in pixels, must be positive multiples of 2 ** (levels - 1), and
    the channels ch * mult of every level a multiple of num_groups.

    Example:
        >>> check_shape(28, 28, ch=128, ch_mult=(1, 2, 2, 2), num_groups=32)
        Traceback (most recent call last):
        ValueError: height 28 is not a positive multiple of 8 (4 levels): use 24 or 32
    """
    if not ch_mult:
        raise ValueError("ch_mult is empty, it needs one multiplier a level: use (1,)")
    factor = 2 ** (len(ch_mult) - 1)
    for name, size in (("height", height), ("width", width)):
        if size < 1 or size % factor:
            below = size // factor * factor
            legal = f"{below} or {below + factor}" if below > 0 else factor
            rule = f"a positive multiple of {factor} ({len(ch_mult)} levels)"
            raise ValueError(f"{name} {size} is not {rule}: use {legal}")
    for mult in ch_mult:
        if ch * mult < 1 or ch * mult % num_groups:
            raise ValueError(
                f"ch * mult = {ch} * {mult} channels are not a positive multiple of "
                f"num_groups {num_groups}: change ch, ch_mult or num_groups"
            )


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


class ResBlock(nn.Module):
    """A residual block: x [B, H, W, C], temb [B, D] -> [B, H, W, features]."""

    features: int
    dropout: float = 0.1
    num_groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, temb: jax.Array, *, train: bool) -> jax.Array:
        """Adds the block's output to x; train draws from the "dropout" key."""
        norm = partial(GroupNorm, self.num_groups, dtype=self.dtype)
        conv = partial(nn.Conv, self.features, (3, 3), dtype=self.dtype)
        dense = partial(nn.Dense, self.features, kernel_init=INIT)
        h = conv(kernel_init=INIT, name="conv1")(nn.swish(norm(name="norm1")(x)))
        shift = dense(name="temb_proj")(nn.swish(temb))
        h = h + shift.astype(h.dtype)[:, None, None, :]
        h = nn.swish(norm(name="norm2")(h))
        h = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(h)
        h = conv(kernel_init=ZERO_INIT, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = dense(dtype=self.dtype, name="nin_shortcut")(x)
        return x + h


class Attention(nn.Module):
    """Self-attention of one head over all H * W positions of x [B, H, W, C]."""

    num_groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Adds to x the projection of softmax(q k^T / sqrt(C)) v."""
        batch, height, width, channels = x.shape
        dense = partial(nn.Dense, channels, dtype=self.dtype)
        h = GroupNorm(self.num_groups, dtype=self.dtype, name="norm")(x)
        h = h.reshape(batch, height * width, 1, channels)
        q, k, v = (dense(kernel_init=INIT, name=name)(h) for name in ("q", "k", "v"))
        h = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
        return x + dense(kernel_init=ZERO_INIT, name="proj_out")(h)


class Downsample(nn.Module):
    """Halves H and W of x [B, H, W, C]: a convolution of stride 2."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pads at the bottom and the right only, as TF's SAME does for even sizes."""
        conv = partial(nn.Conv, x.shape[-1], (3, 3), strides=2, dtype=self.dtype)
        return conv(padding=((0, 1), (0, 1)), kernel_init=INIT, name="conv")(x)


class Upsample(nn.Module):
    """Doubles H and W of x [B, H, W, C]: nearest neighbour, then a convolution."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Repeats every pixel 2 x 2 times and convolves."""
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        conv = partial(nn.Conv, x.shape[-1], (3, 3), dtype=self.dtype)
        return conv(kernel_init=INIT, name="conv")(x)


class UNet(nn.Module):
    """The network of Ho et al. (2020); the defaults are CIFAR-10's, 35.7M parameters.

    Example:
        >>> model, key = UNet(ch=8, ch_mult=(1, 2), num_groups=4), jax.random.key(0)
        >>> x, t = jnp.zeros((2, 8, 8, 3)), jnp.array([0, 999])
        >>> jax.eval_shape(model.init_with_output, key, x, t)[0].shape
        (2, 8, 8, 3)
    """

    out_channels: int = 3
    ch: int = 128  # channels at full resolution
    ch_mult: tuple[int, ...] = (1, 2, 2, 2)  # channels / ch of each level
    num_res_blocks: int = 2  # per level on the way down; one more on the way up
    attention_resolutions: tuple[int, ...] = (16,)  # heights of the levels that attend
    dropout: float = 0.1
    num_groups: int = 32
    dtype: DTypeLike = jnp.float32  # compute type; parameters and output are float32

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, *, train: bool = False) -> jax.Array:
        """Predicts the noise of x [B, H, W, C] at steps t [B]: [B, H, W, out_channels].

        train=True switches dropout on, which needs rngs={"dropout": key} in apply.
        Raises ValueError as check_shape does.
        """
        if x.ndim != 4 or t.shape != x.shape[:1]:
            raise ValueError(f"x {x.shape} must be [B, H, W, C] and t {t.shape} [B]")
        check_shape(
            *x.shape[1:3], ch=self.ch, ch_mult=self.ch_mult, num_groups=self.num_groups
        )
        embed = partial(nn.Dense, 4 * self.ch, kernel_init=INIT)
        temb = embed(name="temb_dense0")(time_embedding(t, self.ch))
        temb = embed(name="temb_dense1")(nn.swish(temb))
        # bfloat16 would round x by 0.004, and the first noise has deviation 0.01.
        h = nn.Conv(self.ch, (3, 3), kernel_init=INIT, name="conv_in")(x)
        skips = self._down(h.astype(self.dtype), temb, train)
        h = self._block(self.ch_mult[-1], "mid_block_1")(skips[-1], temb, train=train)
        h = Attention(self.num_groups, self.dtype, name="mid_attn_1")(h)
        h = self._block(self.ch_mult[-1], "mid_block_2")(h, temb, train=train)
        h = self._up(h, skips, temb, train)
        h = nn.swish(GroupNorm(self.num_groups, name="norm_out")(h))
        head = partial(nn.Conv, self.out_channels, (3, 3), kernel_init=ZERO_INIT)
        return head(name="conv_out")(h)

    def _down(self, h: jax.Array, temb: jax.Array, train: bool) -> list[jax.Array]:
        skips = [h]
        for level, mult in enumerate(self.ch_mult):
            if level > 0:
                name = f"down_{level - 1}_downsample"
                skips.append(Downsample(self.dtype, name=name)(skips[-1]))
            for i in range(self.num_res_blocks):
                block = self._block(mult, f"down_{level}_block_{i}")
                h = block(skips[-1], temb, train=train)
                skips.append(self._maybe_attend(h, f"down_{level}_attn_{i}"))
        return skips

    def _up(
        self, h: jax.Array, skips: list[jax.Array], temb: jax.Array, train: bool
    ) -> jax.Array:
        for level, mult in reversed(list(enumerate(self.ch_mult))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(mult, f"up_{level}_block_{i}")(h, temb, train=train)
                h = self._maybe_attend(h, f"up_{level}_attn_{i}")
            if level > 0:
                h = Upsample(self.dtype, name=f"up_{level}_upsample")(h)
        assert not skips
        return h

    def _block(self, mult: int, name: str) -> ResBlock:
        sizes = self.ch * mult, self.dropout, self.num_groups
        return ResBlock(*sizes, self.dtype, name=name)

    def _maybe_attend(self, h: jax.Array, name: str) -> jax.Array:
        if h.shape[1] not in self.attention_resolutions:
            return h
        return Attention(self.num_groups, self.dtype, name=name)(h)
