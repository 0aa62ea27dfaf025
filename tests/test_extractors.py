"""Extractors: what their features are, and that devices and batches change nothing."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from ddpm_jax.data import load
from ddpm_jax.metrics.extractors import compile_extractor
from ddpm_jax.metrics.extractors import extract_all
from ddpm_jax.metrics.extractors import make_extractor
from ddpm_jax.metrics.pixels import area_weights
from ddpm_jax.metrics.pixels import small_pixels

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), np.uint8)


def test_small_pixels_are_the_means_of_blocks() -> None:
    blocks = IMAGES.reshape(5, 8, 2, 8, 3, 3).mean(axis=(2, 4)) / 255
    got = small_pixels(jnp.asarray(IMAGES))
    np.testing.assert_allclose(got, blocks.reshape(5, -1), rtol=1e-6)


def test_images_of_eight_pixels_are_their_own_features() -> None:
    small = IMAGES[:, :8, :5]
    got = small_pixels(jnp.asarray(small))
    np.testing.assert_allclose(got, small.reshape(5, -1) / 255, rtol=1e-6)


@pytest.mark.parametrize("size", [3, 8, 9, 20, 32])
def test_every_pixel_weighs_the_same(size: int) -> None:
    weights = area_weights(size, min(size, 8))
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(0), min(size, 8) / size, rtol=1e-6)


def test_features_do_not_depend_on_batches_or_devices() -> None:
    extractor = make_extractor("pixels8")
    one = compile_extractor(extractor, IMAGES.shape[1:], 4)
    batches = (IMAGES[:1], IMAGES[1:4], IMAGES[4:])
    whole = np.asarray(small_pixels(jnp.asarray(IMAGES)))
    parts = [x.features for x in extract_all(extractor, batches, 3)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6)
    np.testing.assert_allclose(one(IMAGES[:3]).features, whole[:3], rtol=1e-6)


def test_the_classifier_of_digits_is_right_as_often_as_is_said() -> None:
    digits, extractor = load("digits"), make_extractor("digits_cnn")
    images = digits.held_out[np.arange(360)]
    said = compile_extractor(extractor, images.shape[1:], 360)(images)
    assert said.logits is not None and said.features.shape == (360, 128)
    right = said.logits.argmax(axis=1) == digits.held_out_labels
    assert right.mean() == pytest.approx(0.978, abs=0.003)  # docs/evaluation.md


def test_unknown_names_and_weights_that_have_no_place_are_refused() -> None:
    with pytest.raises(ValueError, match="no extractor 'clip'; give one of .*pixels8"):
        make_extractor("clip")
    with pytest.raises(ValueError, match="pixels8 has no weights"):
        make_extractor("pixels8", Path("w.pth"))
