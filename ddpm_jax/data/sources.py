"""Where images come from: one string names a source, one function loads it.

A name of SOURCES, with an argument after a colon where it takes one (tfds:mnist), or
the path of a folder, a .zip, an .npz or an LMDB folder. To add a source: one function
with the signature of the others, and its line in SOURCES.
"""

import difflib
import os
import pathlib
from collections.abc import Callable

from ddpm_jax.data.cache import default_cache_dir
from ddpm_jax.data.dataset import Dataset
from ddpm_jax.data.dataset import Images
from ddpm_jax.data.dataset import Rows
from ddpm_jax.data.dataset import Source
from ddpm_jax.data.dataset import Subset
from ddpm_jax.data.dataset import make_report
from ddpm_jax.data.dataset import philox_key
from ddpm_jax.data.dataset import split_rows
from ddpm_jax.data.decode import MODES
from ddpm_jax.data.decode import Policy
from ddpm_jax.data.digits import digits
from ddpm_jax.data.emoji import emoji
from ddpm_jax.data.fit import FITS
from ddpm_jax.data.folder import load_folder
from ddpm_jax.data.folder import load_zip
from ddpm_jax.data.lsun import load_lsun
from ddpm_jax.data.npz import load_npz
from ddpm_jax.data.tfds import load_tfds

# (what follows the colon, or the path; the policy; the cache folder) -> Source
Loader = Callable[[str, Policy, pathlib.Path], Source]

SOURCES: dict[str, Loader] = {
    "digits": digits,
    "emoji": emoji,
    "tfds": load_tfds,
    "lsun": load_lsun,
}

Part = tuple[Images, Rows | None]
"""Images, and their labels where the source has some."""

ALLOWED = (
    "digits, emoji, tfds:NAME, lsun:FOLDER, or the path of a folder of images, a .zip"
    " of images, an .npz file or an LMDB folder"
)


def load(
    source: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str = "crop",
    held_out: float | int | None = None,
    seed: int = 0,
    cache_dir: str | None = None,
) -> Dataset:
    """Loads a data set: uint8 images [N, H, W, C] to train on and some held out.

    Args:
        source: a name of SOURCES, with its argument after a colon, or a path.
        image_size: the side of a square, or (height, width); None keeps the source's
            size, which must then be one and the same for all images.
        channels: 1 (luminance), 3 (RGB over white) or 4 (RGBA); None keeps the
            source's, and means 3 for image files.
        fit: how images get that size: crop, stretch, pad (black) or pad_white.
        held_out: a number of images (int) or a share of them (float), chosen by the
            seed; None: the source's own test split, or 360 digits, or 5 %.
        seed: of the choice of the held-out images.
        cache_dir: where decoded images are kept; None: the user's cache folder.

    The labels of a Dataset are there where the source knows the class of each image.

    Raises:
        ValueError: an argument is not among what is allowed, or no image is usable.
        FileNotFoundError: the path does not exist.
        ModuleNotFoundError: the source needs an optional package.

    Example:
        >>> dataset = load("digits", seed=1)
        >>> len(dataset.train), len(dataset.held_out), dataset.train.shape[1:]
        (1437, 360, (8, 8, 1))
    """
    policy = make_policy(image_size, channels, fit)
    philox_key(seed, 0)
    loader, argument = find_loader(source)
    folder = pathlib.Path(cache_dir) if cache_dir else default_cache_dir()
    loaded = loader(argument, policy, folder.expanduser())
    (train, train_labels), (rest, rest_labels) = _split(loaded, held_out, seed)
    classes = loaded.labels.classes if loaded.labels else ()
    report = make_report(source, train, rest, loaded.skipped, classes)
    return Dataset(source, train, rest, report, train_labels, rest_labels)


def read_images(path: pathlib.Path, channels: int | None) -> Images:
    """All images of an .npz, a folder or a zip, in the size that they have.

    If channels is None, in the colours that they have too.

    Raises:
        ValueError, FileNotFoundError: as load.
    """
    loader, argument = find_loader(str(path))
    return loader(argument, Policy(None, channels, "crop"), default_cache_dir()).images


def _split(
    source: Source, held_out: float | int | None, seed: int
) -> tuple[Part, Part]:
    """What to train on and what to hold out, as asked for or as the source has it."""
    part = source.held_out if held_out is None else held_out
    labels = source.labels.labels if source.labels else None
    if not isinstance(part, float | int):
        rest_labels = source.labels.held_out if source.labels else None
        return (source.images, labels), (part, rest_labels)
    train, rest = (
        (Subset(source.images, rows), None if labels is None else labels[rows])
        for rows in split_rows(len(source.images), part, seed)
    )
    return train, rest


def make_policy(
    image_size: int | tuple[int, int] | None, channels: int | None, fit: str
) -> Policy:
    """A checked policy; ValueError for a size, channels or fit that do not exist.

    Example:
        >>> make_policy(32, None, "pad")
        Policy(image_size=(32, 32), channels=None, fit='pad')
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(
            f"image_size must be a positive number or (height, width), got {image_size}"
        )
    if channels is not None and channels not in MODES:
        raise ValueError(f"channels must be 1, 3 or 4, got {channels}")
    if fit not in FITS:
        raise ValueError(f"fit must be one of {', '.join(FITS)}, got {fit!r}")
    return Policy(None if size is None else (size[0], size[1]), channels, fit)


def find_loader(source: str) -> tuple[Loader, str]:
    """The function that loads a source, and its argument; nothing is read yet.

    Raises:
        ValueError: neither a source nor the path of something that holds images.
        FileNotFoundError: it reads like a path, and nothing is there.

    Example:
        >>> find_loader("digist")
        Traceback (most recent call last):
        ValueError: unknown data source 'digist', did you mean digits? Allowed: \
digits, emoji, tfds:NAME, lsun:FOLDER, or the path of a folder of images, a .zip of \
images, an .npz file or an LMDB folder
    """
    name, _, argument = source.partition(":")
    if name in SOURCES:
        return SOURCES[name], argument
    path = os.path.expanduser(source)
    if os.path.isfile(os.path.join(path, "data.mdb")):
        return load_lsun, path
    if os.path.isdir(path):
        return load_folder, path
    suffix = pathlib.Path(path).suffix.lower()
    if os.path.isfile(path) and suffix in (".zip", ".npz"):
        return (load_zip if suffix == ".zip" else load_npz), path
    if os.path.exists(path):
        raise ValueError(f"{source!r} is a file of another kind; allowed: {ALLOWED}")
    close = difflib.get_close_matches(name, SOURCES)
    if not close and (suffix or os.path.dirname(path)):
        raise FileNotFoundError(f"data source {source!r}: no such file or folder")
    hint = f", did you mean {close[0]}?" if close else ";"
    raise ValueError(f"unknown data source {source!r}{hint} Allowed: {ALLOWED}")
