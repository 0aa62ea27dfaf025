"""The U-Net that predicts the noise: the network of Ho et al. (2020), appendix B.

eps_hat = UNet(x_t, t). Residual blocks go down a pyramid and up again, each block of
the way up reading one output of the way down; t enters every block. Submodules bear
the names of the original TensorFlow variables, so that one rule maps weights across.

A network of num_classes has one more input, the class of each image, which it sees as
a vector added to that of t: Dhariwal & Nichol (2021), Sec. 3.1. The label num_classes
says that none is given.

Parameters are float32. `dtype` is what the large layers compute in; time embedding,
first and last convolution, GroupNorm's statistics and softmax stay in float32.
"""

import zlib
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from ddpm_jax import keys as per_image
from ddpm_jax.blocks import INIT
from ddpm_jax.blocks import ZERO_INIT
from ddpm_jax.blocks import Attention
from ddpm_jax.blocks import AttentionKind
from ddpm_jax.blocks import Downsample
from ddpm_jax.blocks import GroupNorm
from ddpm_jax.blocks import ResBlock
from ddpm_jax.blocks import Upsample
from ddpm_jax.blocks import time_embedding

Block = Callable[[jax.Array, int, str], jax.Array]
"""(h, multiple of ch, name) -> h: a residual block with t and dropout bound."""


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


def check_heads(
    height: int,
    *,
    ch: int,
    ch_mult: tuple[int, ...],
    attention_resolutions: tuple[int, ...],
    attention_head_dim: int | None,
) -> None:
    """Raises ValueError unless the channels of each level that attends make up heads.

    The last level always does, between the two ways.

    Example:
        >>> check_heads(32, ch=128, ch_mult=(1, 2), attention_resolutions=(),
        ...             attention_head_dim=100)
        Traceback (most recent call last):
        ValueError: attention_head_dim 100 does not divide 256, the channels of a ...
    """
    if attention_head_dim is None:
        return
    for level, mult in enumerate(ch_mult):
        attends = height // 2**level in attention_resolutions
        last = level == len(ch_mult) - 1
        if (attends or last) and ch * mult % attention_head_dim:
            raise ValueError(
                f"attention_head_dim {attention_head_dim} does not divide {ch * mult}, "
                "the channels of a level that attends"
            )


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
    norm_epsilon: float = 1e-6
    downsample_padding: tuple[int, int] = (0, 1)  # before and after
    freq_shift: int = 1  # of the time embedding
    dtype: DTypeLike = jnp.float32  # compute type; parameters and output are float32
    attention: AttentionKind = "xla"
    attention_head_dim: int | None = None  # channels of a head; None: there is one head
    remat: bool = False  # going backwards, compute each block again, to save memory
    num_classes: int | None = None  # classes that it is told of; None: it takes none

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        dropout_keys: jax.Array | None = None,
        labels: jax.Array | None = None,
    ) -> jax.Array:
        """Predicts the noise of x [B, H, W, C] at steps t [B]: [B, H, W, out_channels].

        Dropout is on where dropout_keys [B] are given, one for each image. labels is
        int [B] in 0..num_classes; without them none of the images has one.
        Raises ValueError as check_shape does.
        """
        if x.ndim != 4 or t.shape != x.shape[:1]:
            raise ValueError(f"x {x.shape} must be [B, H, W, C] and t {t.shape} [B]")
        if labels is not None and labels.shape != t.shape:
            raise ValueError(f"labels {labels.shape} must be [B], one for each image")
        check_shape(
            *x.shape[1:3], ch=self.ch, ch_mult=self.ch_mult, num_groups=self.num_groups
        )
        check_heads(
            x.shape[1],
            ch=self.ch,
            ch_mult=self.ch_mult,
            attention_resolutions=self.attention_resolutions,
            attention_head_dim=self.attention_head_dim,
        )
        embed = partial(nn.Dense, 4 * self.ch, kernel_init=INIT)
        temb = embed(name="temb_dense0")(time_embedding(t, self.ch, self.freq_shift))
        temb = embed(name="temb_dense1")(nn.swish(temb))
        if self.num_classes is not None:
            temb += self._class_embedding(self.num_classes, labels, t.shape)
        elif labels is not None:
            raise ValueError("this network takes no labels: set num_classes")
        # bfloat16 would round x by 0.004, and the first noise has deviation 0.01.
        h = nn.Conv(self.ch, (3, 3), kernel_init=INIT, name="conv_in")(x)
        block = partial(self._block, temb=temb, dropout_keys=dropout_keys)
        skips = self._down(h.astype(self.dtype), block)
        h = block(skips[-1], self.ch_mult[-1], "mid_block_1")
        h = self._attend(h, "mid_attn_1")
        h = block(h, self.ch_mult[-1], "mid_block_2")
        h = self._up(h, skips, block)
        h = nn.swish(GroupNorm(self.num_groups, self.norm_epsilon, name="norm_out")(h))
        head = partial(nn.Conv, self.out_channels, (3, 3), kernel_init=ZERO_INIT)
        return head(name="conv_out")(h)

    def _class_embedding(
        self, num_classes: int, labels: jax.Array | None, shape: tuple[int, ...]
    ) -> jax.Array:
        if labels is None:
            labels = jnp.full(shape, num_classes)
        rows, normal = num_classes + 1, nn.initializers.normal(1.0)
        table = partial(nn.Embed, rows, 4 * self.ch, embedding_init=normal)
        return table(name="class_embed")(labels)

    def _down(self, h: jax.Array, block: Block) -> list[jax.Array]:
        skips = [h]
        for level, mult in enumerate(self.ch_mult):
            if level > 0:
                name = f"down_{level - 1}_downsample"
                skips.append(
                    Downsample(self.dtype, self.downsample_padding, name=name)(
                        skips[-1]
                    )
                )
            for i in range(self.num_res_blocks):
                h = block(skips[-1], mult, f"down_{level}_block_{i}")
                if h.shape[1] in self.attention_resolutions:
                    h = self._attend(h, f"down_{level}_attn_{i}")
                skips.append(h)
        return skips

    def _up(self, h: jax.Array, skips: list[jax.Array], block: Block) -> jax.Array:
        for level, mult in reversed(list(enumerate(self.ch_mult))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = block(h, mult, f"up_{level}_block_{i}")
                if h.shape[1] in self.attention_resolutions:
                    h = self._attend(h, f"up_{level}_attn_{i}")
            if level > 0:
                h = Upsample(self.dtype, name=f"up_{level}_upsample")(h)
        assert not skips
        return h

    def _block(
        self,
        h: jax.Array,
        mult: int,
        name: str,
        *,
        temb: jax.Array,
        dropout_keys: jax.Array | None,
    ) -> jax.Array:
        if dropout_keys is not None:
            # The name tells the blocks apart, so that each draws a mask of its own.
            dropout_keys = per_image.fold_in(dropout_keys, zlib.crc32(name.encode()))
        layer = nn.remat(ResBlock) if self.remat else ResBlock
        sizes = self.ch * mult, self.dropout, self.num_groups
        return layer(*sizes, self.dtype, self.norm_epsilon, name=name)(
            h, temb, dropout_keys
        )

    def _attend(self, h: jax.Array, name: str) -> jax.Array:
        layer = nn.remat(Attention) if self.remat else Attention
        sizes = self.num_groups, self.dtype, self.attention, self.attention_head_dim
        return layer(*sizes, self.norm_epsilon, name=name)(h)
