"""The digits: scikit-learn's images in 8 bits, 360 held out by the seed."""

import pathlib

import numpy as np
import pytest
import sklearn.datasets

from ddpm_jax.data.dataset import split_rows
from ddpm_jax.data.decode import Policy
from ddpm_jax.data.digits import digits
from ddpm_jax.data.digits import load_digits
from ddpm_jax.data.sources import load


def test_digits_are_scikit_learns_on_the_whole_range_of_uint8() -> None:
    images, labels = load_digits()
    original = sklearn.datasets.load_digits()
    assert images.shape == (1797, 8, 8, 1)
    error = images[..., 0] - original.images * (255 / 16)
    assert np.abs(error).max() <= 0.5
    assert (images.min(), images.max()) == (0, 255)
    assert np.array_equal(labels, original.target)


def test_360_digits_are_held_out_by_the_seed_and_their_labels_can_be_found() -> None:
    images, _ = load_digits()
    for seed in (0, 1):
        train_rows, held_out_rows = split_rows(1797, 360, seed)
        dataset = load("digits", seed=seed)
        assert np.array_equal(dataset.train[np.arange(1437)], images[train_rows])
        assert np.array_equal(dataset.held_out[np.arange(360)], images[held_out_rows])
    assert split_rows(1797, 360, 0)[1].tolist() != split_rows(1797, 360, 1)[1].tolist()


def test_digits_take_the_size_and_channels_of_the_policy() -> None:
    source = digits("", Policy((12, 10), 3, "pad"), pathlib.Path())
    images, _ = load_digits()
    padded = np.pad(images, ((0, 0), (2, 2), (1, 1), (0, 0)))
    assert np.array_equal(source.images[np.arange(1797)], padded.repeat(3, axis=3))


def test_digits_take_no_argument() -> None:
    with pytest.raises(ValueError, match="takes no argument, got '3'"):
        load("digits:3")
