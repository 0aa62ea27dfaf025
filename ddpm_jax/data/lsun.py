"""An LSUN export: an LMDB folder (data.mdb) whose values are encoded images.

The sets have up to millions of images of many sizes, so they stay encoded and each is
decoded when it is fetched. Listing the keys walks through the whole file once; the
list is cached.
"""

from __future__ import annotations

import functools
import os
import pathlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ddpm_jax.data.cache import fingerprint
from ddpm_jax.data.cache import make_folder
from ddpm_jax.data.dataset import Source
from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.decode import Policy
from ddpm_jax.data.decode import decode
from ddpm_jax.data.items import LazyImages
from ddpm_jax.files import replacing

if TYPE_CHECKING:
    import lmdb


def load_lsun(path: str, policy: Policy, cache_dir: pathlib.Path) -> Source:
    """The images of one LMDB folder, decoded on every fetch.

    A value that is no image is found when it is fetched: a ValueError names its key.

    Raises:
        FileNotFoundError: the folder holds no data.mdb.
        ValueError: no image_size is given, or the file is no LMDB or is empty.
        ModuleNotFoundError: the package lmdb is not installed.
    """
    if not os.path.isfile(os.path.join(path, "data.mdb")):
        raise FileNotFoundError(
            f"lsun:{path}: there is no file data.mdb in {path!r}; give the folder that"
            " the LSUN archive unpacks to, for example church_outdoor_train_lmdb"
        )
    if policy.image_size is None:
        raise ValueError(
            f"{path}: LSUN images have many sizes; set data.image_size (the paper: 256)"
        )
    environment = _environment(os.path.realpath(path))
    keys = _keys(path, environment, cache_dir)

    def image(number: int) -> UInt8:
        with environment.begin() as transaction:
            return decode(transaction.get(bytes(keys[number])) or b"", policy)

    def name(number: int) -> str:
        return bytes(keys[number]).decode(errors="replace")

    shape = (*policy.image_size, policy.channels or 3)
    return Source(LazyImages(path, name, image, np.arange(len(keys)), shape), {})


# LMDB refuses to open a file twice in one process, so open ones are kept.
@functools.cache
def _environment(path: str) -> lmdb.Environment:
    """Opens an LMDB folder for reading by many threads, without writing a lock file."""
    try:
        import lmdb
    except ImportError as error:
        raise ModuleNotFoundError(
            'LSUN data needs one more package: pip install "ddpm_jax[lsun]"'
        ) from error
    try:
        return lmdb.open(path, readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise ValueError(f"{path}/data.mdb is not a readable LMDB: {error}") from error


def _keys(
    path: str, environment: lmdb.Environment, cache_dir: pathlib.Path
) -> npt.NDArray[np.bytes_]:
    """All keys in the order of the LMDB, which sorts them; listed once and cached."""
    status = os.stat(os.path.join(path, "data.mdb"))
    stamp = fingerprint(os.path.realpath(path), status.st_size, status.st_mtime_ns)
    cached = cache_dir / f"{stamp}.keys.npy"
    if not cached.exists():
        with environment.begin() as transaction:
            keys = list(transaction.cursor().iternext(keys=True, values=False))
        if not keys:
            raise ValueError(f"{path}/data.mdb holds no images")
        make_folder(cache_dir)
        with replacing(cached) as file:
            np.save(file, np.array(keys, dtype=np.bytes_), allow_pickle=False)
    listed: npt.NDArray[np.bytes_] = np.load(cached, mmap_mode="r", allow_pickle=False)
    return listed
