"""Which features of images are compared: EXTRACTORS, by name.

To add one: a function weights -> Extractor, and its line in EXTRACTORS. Its name goes
into the names of the metrics, since distances of different features have nothing in
common.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from ddpm_jax import parallel
from ddpm_jax.files import checksum
from ddpm_jax.metrics.pixels import small_pixels
from ddpm_jax.spelling import one_of
from ddpm_jax.weights import SUFFIX
from ddpm_jax.weights import load_weights

WEIGHTS = Path(__file__).with_name("weights")
"""The folder of the weights that come with the package."""


class Features(NamedTuple):
    """What an extractor says of B images, float32."""

    features: jax.Array | np.ndarray  # [B, D]
    logits: jax.Array | np.ndarray | None = None  # [B, classes], of a classifier


class Extractor(NamedTuple):
    """A function of images, and what tells it from another."""

    name: str
    apply: Callable[[Any, jax.Array], Features]  # (params, uint8 [B, H, W, C])
    params: Any  # a tree of arrays
    checksum: str  # SHA-256 of the file of weights; "" if there is none


def pixels8(weights: Path | None = None) -> Extractor:
    """Pixels, averaged to at most 8 x 8.

    Example:
      >>> pixels8().name
      'pixels8'
    """
    if weights is not None:
        raise ValueError(f"the extractor pixels8 has no weights, got {weights}")
    return Extractor("pixels8", lambda _, x: Features(small_pixels(x)), (), "")


def inception(weights: Path | None = None) -> Extractor:
    """FID's Inception-v3, with its published weights or those of a file.

    Other weights are another extractor, with the start of their checksum in its name.
    """
    from ddpm_jax.metrics.inception import inception_features
    from ddpm_jax.metrics.inception_weights import SHA256
    from ddpm_jax.metrics.inception_weights import find_weights
    from ddpm_jax.metrics.inception_weights import load_inception

    path = find_weights(weights)
    sha256, params = checksum(path), load_inception(path)
    name = "inception" if sha256 == SHA256 else f"inception-{sha256[:8]}"
    return Extractor(
        name, lambda p, x: Features(*inception_features(p, x)), params, sha256
    )


def classifier(weights: Path | None = None, *, name: str) -> Extractor:
    """A small classifier of one data set: the one of the package, or of a file.

    Example:
      >>> classifier(name="digits_cnn").name
      'digits_cnn'
    """
    from ddpm_jax.metrics.classifier import classifier_features

    path = weights or WEIGHTS / f"{name}{SUFFIX}"
    stored = load_weights(path)
    params, config = stored.params, stored.config
    if not {"channels", "shape"} <= set(config):
        raise ValueError(f"{path} holds no classifier of tools/train_classifier.py")
    sha256 = checksum(path)
    name = name if weights is None else f"{name}-{sha256[:8]}"
    apply = partial(
        classifier_features,
        channels=tuple(config["channels"]),
        shape=tuple(config["shape"]),
    )
    return Extractor(name, lambda p, x: Features(*apply(p, x)), params, sha256)


EXTRACTORS: dict[str, Callable[[Path | None], Extractor]] = {
    "inception": inception,
    "pixels8": pixels8,
    "digits_cnn": partial(classifier, name="digits_cnn"),
    "cifar10_cnn": partial(classifier, name="cifar10_cnn"),
}


def make_extractor(name: str, weights: Path | None = None) -> Extractor:
    """Builds the extractor of a name, with weights from a path where it has some.

    Raises:
      ValueError: if there is none of that name, or its weights are not what they
        should be; says what there is.
      FileNotFoundError: if its weights cannot be had; says where to get them.
    """
    if name not in EXTRACTORS:
        raise ValueError(f"there is no extractor {name!r}{one_of(name, EXTRACTORS)}")
    return EXTRACTORS[name](weights)


def compile_extractor(
    extractor: Extractor, shape: tuple[int, ...], batch_size: int
) -> Callable[[np.ndarray], Features]:
    """Compiles a function of 1 to batch_size uint8 images [n, H, W, C], on all devices.

    shape is (H, W, C); the features are NumPy arrays.

    Example:
      >>> extract = compile_extractor(pixels8(), (8, 8, 1), batch_size=4)
      >>> extract(np.zeros((3, 8, 8, 1), np.uint8)).features.shape
      (3, 64)
    """
    params = parallel.replicate(extractor.params)
    example = np.zeros((batch_size, *shape), np.uint8)
    compiled = parallel.compile_map(extractor.apply, params, example)

    def extract(images: np.ndarray) -> Features:
        features: Features = compiled(params, images)
        return features

    return extract


def extract_all(
    extractor: Extractor, batches: Iterable[np.ndarray], batch_size: int
) -> Iterator[Features]:
    """Yields the features of batches of at most batch_size uint8 [n, H, W, C]."""
    extract = None
    for images in batches:
        if extract is None:
            extract = compile_extractor(extractor, images.shape[1:], batch_size)
        yield extract(images)
