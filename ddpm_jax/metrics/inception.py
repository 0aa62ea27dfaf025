"""Inception-v3 as FID has it: the TensorFlow graph of 2015-12-05, in Flax.

It differs from the published network (Szegedy et al., 2016) in three places: average
pools do not count the padding, the last block pools by maximum, and there are 1008
classes. Images are enlarged as TensorFlow 1 did, with the corner of pixel 0 at 0, and
scaled by (x - 128) / 128. All of this is torch-fidelity's convention; pytorch-fid's
differs from it in the resize and by half a grey level, hence FID in the decimals.

Modules bear the names of both ports. Batch normalisation, which is a factor and a shift
once training is over, is in the weights: `inception_weights.py` folds it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ddpm_jax.metrics.inception_blocks import PRECISION
from ddpm_jax.metrics.inception_blocks import ConvRelu
from ddpm_jax.metrics.inception_blocks import InceptionA
from ddpm_jax.metrics.inception_blocks import InceptionB
from ddpm_jax.metrics.inception_blocks import InceptionC
from ddpm_jax.metrics.inception_blocks import InceptionD
from ddpm_jax.metrics.inception_blocks import InceptionE
from ddpm_jax.metrics.inception_blocks import max_pool

SIZE = 299
NUM_CLASSES = 1008

BLOCKS: dict[str, nn.Module] = {
    "Mixed_5b": InceptionA(32),
    "Mixed_5c": InceptionA(64),
    "Mixed_5d": InceptionA(64),
    "Mixed_6a": InceptionB(),
    "Mixed_6b": InceptionC(128),
    "Mixed_6c": InceptionC(160),
    "Mixed_6d": InceptionC(160),
    "Mixed_6e": InceptionC(192),
    "Mixed_7a": InceptionD(),
    "Mixed_7b": InceptionE(largest=False),
    "Mixed_7c": InceptionE(largest=True),
}
"""The body of the network, in order, by the names of both ports."""


class Stem(nn.Module):
    """299 x 299 to 35 x 35."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> [B, H', W', 192]."""
        x = ConvRelu(32, 3, 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = ConvRelu(32, 3, 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = max_pool(ConvRelu(64, 3, name="Conv2d_2b_3x3")(x))
        x = ConvRelu(80, 1, name="Conv2d_3b_1x1")(x)
        return max_pool(ConvRelu(192, 3, 1, "VALID", name="Conv2d_4a_3x3")(x))


class Inception(nn.Module):
    """The network of FID: 21.8 M parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, 299, 299, 3] in [-1, 1] -> features [B, 2048], logits [B, 1008].

        The logits are without the bias, as the Inception Score takes them.
        """
        x = Stem(name="stem")(x)
        for name, block in BLOCKS.items():
            x = block.copy(name=name)(x)
        features = x.mean(axis=(1, 2))
        head = nn.Dense(NUM_CLASSES, use_bias=False, precision=PRECISION, name="fc")
        return features, head(features)


def resize(x: jax.Array, size: int = SIZE) -> jax.Array:
    """Enlarges or reduces float [B, H, W, C] as TensorFlow 1's resize_bilinear.

    Pixel i of the result lies at i * H / size, not at the middle of its area, and
    nothing is averaged where the image shrinks.

    Example:
      >>> resize(jnp.array([0.0, 4.0]).reshape(1, 2, 1, 1), 4)[0, :, 0, 0].tolist()
      [0.0, 2.0, 4.0, 4.0]
    """
    for axis in (2, 1):
        length = x.shape[axis]
        places = np.arange(size, dtype=np.float32) * np.float32(length / size)
        below = places.astype(np.int32)
        above = np.minimum(below + 1, length - 1)
        shape = [1] * x.ndim
        shape[axis] = size
        part = (places - below).reshape(shape)
        low, high = jnp.take(x, below, axis), jnp.take(x, above, axis)
        x = low + (high - low) * part
    return x


def inception_features(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:  # noqa: ANN401
    """Features [B, 2048] and logits [B, 1008] of uint8 images [B, H, W, C].

    Gray images, of one channel, are repeated to three.

    Raises:
      ValueError: if there are neither 1 nor 3 channels.
    """
    channels = images.shape[-1]
    if channels not in (1, 3):
        raise ValueError(f"Inception takes images of 1 or 3 channels, not {channels}")
    x = jnp.broadcast_to(images, (*images.shape[:-1], 3)).astype(jnp.float32)
    x = (resize(x) - 128) / 128
    answer: tuple[jax.Array, jax.Array] = Inception().apply(params, x)  # type: ignore[assignment]
    return answer
