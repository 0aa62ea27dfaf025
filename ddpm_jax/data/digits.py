"""The handwritten digits that scikit-learn ships: 1,797 images, 8x8, gray.

Real data without a download: a small network learns them in minutes on a CPU.
"""

import pathlib

import numpy as np

from ddpm_jax.data.dataset import Labels
from ddpm_jax.data.dataset import Rows
from ddpm_jax.data.dataset import Source
from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.decode import Policy
from ddpm_jax.data.decode import conform_all

HELD_OUT = 360


def load_digits() -> tuple[UInt8, Rows]:
    """Images uint8 [1797, 8, 8, 1] and labels int [1797], in scikit-learn's order.

    The original values 0..16 become round(v * 255 / 16). The rows that
    `load("digits", seed=s)` trains on are split_rows(1797, 360, s)[0].

    Example:
        >>> images, labels = load_digits()
        >>> images.shape, labels[:5].tolist()
        ((1797, 8, 8, 1), [0, 1, 2, 3, 4])
    """
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return images[..., None], digits.target.astype(np.int64)


def digits(argument: str, policy: Policy, cache_dir: pathlib.Path) -> Source:
    """The source "digits"; it takes no argument and needs no cache."""
    if argument:
        raise ValueError(f'the source "digits" takes no argument, got {argument!r}')
    images, labels = load_digits()
    classes = Labels(tuple("0123456789"), labels)
    return Source(conform_all(images, policy), {}, HELD_OUT, classes)
