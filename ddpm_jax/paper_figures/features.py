"""By what images are compared in a figure: pixels, or what a network says of them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddpm_jax.metrics.extractors import EXTRACTORS
from ddpm_jax.metrics.extractors import compile_extractor
from ddpm_jax.metrics.extractors import make_extractor
from ddpm_jax.spelling import one_of

PIXELS = "pixels"
BATCH = 64
"""Images that a network sees at a time."""

FeatureFn = Callable[[np.ndarray], np.ndarray]
"""uint8 [n, H, W, C] -> [n, D]."""


class Compared(NamedTuple):
    """By what images are compared."""

    name: str
    features: FeatureFn


def image_features(
    name: str, shape: tuple[int, ...], weights: Path | None = None
) -> Compared:
    """What is seen of images (H, W, C): "pixels", or the features of an extractor.

    The name is the extractor's: with other weights it says which.

    Raises:
      ValueError: if there is none of that name, or it can't see such images.
      FileNotFoundError: if its weights cannot be had; says where to get them.

    Example:
      >>> name, features = image_features("pixels", (2, 2, 1))
      >>> name, features(np.ones((3, 2, 2, 1), np.uint8)).shape
      ('pixels', (3, 4))
    """
    if name == PIXELS:
        return Compared(PIXELS, flat)
    if name not in EXTRACTORS:
        known = (PIXELS, *EXTRACTORS)
        raise ValueError(f"--features is {name!r}{one_of(name, known)}")
    extractor = make_extractor(name, weights)
    extract = compile_extractor(extractor, shape, BATCH)

    def features(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), BATCH)
        found = [extract(images[i : i + BATCH]).features for i in starts]
        return np.concatenate([np.asarray(part) for part in found])

    return Compared(extractor.name, features)


def flat(images: np.ndarray) -> np.ndarray:
    """Images [n, H, W, C] as rows [n, D]."""
    return images.reshape(len(images), -1)
