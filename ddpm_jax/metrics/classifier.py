"""A small classifier, whose features see content and whose weights come along.

Inception knows a thousand kinds of photographs, needs 96 MB, and takes seconds for an
image on a CPU. A network of a few layers, trained on the labels of one data set, tells
its classes apart, and what it averages before the last layer is as good a place to
compare samples of that data set. tools/train_classifier.py trains it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ddpm_jax.images import to_model_range


class Classifier(nn.Module):
    """3 x 3 convolutions, each level of half the size; mean; one dense layer."""

    channels: tuple[int, ...] = (32, 64, 128)
    num_classes: int = 10

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, H, W, C] in [-1, 1] -> features [B, channels[-1]], logits."""
        highest = jax.lax.Precision.HIGHEST
        for level, channels in enumerate(self.channels):
            strides = 1 if level == 0 else 2
            name = f"conv_{level}"
            conv = nn.Conv(channels, (3, 3), strides, precision=highest, name=name)
            x = nn.relu(conv(x))
        features = jnp.mean(x, axis=(1, 2))
        head = nn.Dense(self.num_classes, precision=highest, name="head")
        return features, head(features)


def classifier_features(
    params: Any,  # noqa: ANN401
    images: jax.Array,
    *,
    channels: tuple[int, ...],
    shape: tuple[int, int, int],
) -> tuple[jax.Array, jax.Array]:
    """Features [B, D] and logits [B, classes] of uint8 images [B, H, W, C].

    Raises:
      ValueError: unless they have the shape (H, W, C) that it was trained on.
    """
    if images.shape[1:] != shape:
        raise ValueError(
            f"the images are {images.shape[1:]}, and this classifier knows {shape} "
            "(height, width, channels) alone; use another extractor"
        )
    model = Classifier(channels, params["params"]["head"]["bias"].shape[0])
    answer: tuple[jax.Array, jax.Array] = model.apply(params, to_model_range(images))  # type: ignore[assignment]
    return answer
