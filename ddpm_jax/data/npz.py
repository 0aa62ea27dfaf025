"""A .npz file of uint8 images, and labels: the format of exported samples."""

import pathlib
import zipfile
import zlib

import numpy as np

from ddpm_jax.data.dataset import Labels
from ddpm_jax.data.dataset import Rows
from ddpm_jax.data.dataset import Source
from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.decode import Policy
from ddpm_jax.data.decode import conform_all

KEYS = ("arr_0", "images")
LABELS = ("arr_1", "labels")


def load_npz(path: str, policy: Policy, cache_dir: pathlib.Path) -> Source:
    """The array arr_0, or images, or the only one: uint8 [N, H, W, C] or [N, H, W].

    Beside it, arr_1, or labels, may hold the class of each image: whole numbers [N]
    from 0 on, all less than N. What is something else there is passed over.
    Both are read into memory as they are; the cache is not used.

    Raises:
        ValueError: the file has no such array, or one of pickled objects, which could
            run code and are never loaded.
    """
    damaged = f"{path} is not an .npz file, or is cut short"
    if not zipfile.is_zipfile(path):
        raise ValueError(damaged)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays[_key(path, list(arrays.keys()))]
            labels = next((arrays[key] for key in LABELS if key in arrays), None)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(damaged) from error
    except ValueError as error:
        if "allow_pickle" not in str(error) and "pickled" not in str(error):
            raise
        raise ValueError(
            f"{path} holds pickled objects, which are never loaded: save plain uint8"
            " images [N, H, W, C] with numpy.savez"
        ) from error
    images = conform_all(_checked(path, images), policy)
    return Source(images, {}, labels=_labels(labels, len(images)))


def _key(path: str, keys: list[str]) -> str:
    """Which array holds the images."""
    known = [key for key in KEYS if key in keys]
    if known or len(keys) == 1:
        return (known or keys)[0]
    raise ValueError(
        f"{path} holds the arrays {', '.join(keys) or '(none)'}: name the one of the"
        f" images {' or '.join(KEYS)}"
    )


def _labels(labels: Rows | None, count: int) -> Labels | None:
    """Labels of classes that are called by their numbers, if the array holds some."""
    if labels is None or labels.shape != (count,) or labels.dtype.kind not in "iu":
        return None
    # Numbers such as dates would be classes by the million.
    if labels.min() < 0 or labels.max() >= count:
        return None
    classes = tuple(map(str, range(int(labels.max()) + 1)))
    return Labels(classes, labels.astype(np.int64))


def _checked(path: str, images: UInt8) -> UInt8:
    """The images as [N, H, W, C]; ValueError for another type or shape."""
    images = np.asarray(images)
    shaped = images[..., None] if images.ndim == 3 else images
    if (
        images.dtype != np.uint8
        or shaped.ndim != 4
        or shaped.shape[3] not in (1, 3, 4)
        or 0 in shaped.shape
    ):
        raise ValueError(
            f"{path} holds {images.dtype} {list(images.shape)}: images must be uint8"
            " [N, H, W] or [N, H, W, C] with C = 1, 3 or 4, and at least one"
        )
    return shaped
