"""Decoded images on disk: each source is decoded once and memory-mapped afterwards.

An entry is KEY.npy, the uint8 array, and KEY.json, its shape and the items that were
skipped; KEY hashes whatever the pixels depend on, so a changed file is another entry.
Both are written beside their place and moved there: a killed process leaves nothing
half-written, and two that race write the same bytes. What does not fit on the disk is
decoded on every fetch instead, after one pass that finds the broken files.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import shutil
import time
from typing import IO
from typing import NamedTuple

import numpy as np

from ddpm_jax.data.dataset import Images
from ddpm_jax.data.dataset import Labels
from ddpm_jax.data.dataset import Rows
from ddpm_jax.data.dataset import Source
from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.items import Items
from ddpm_jax.data.items import LazyImages
from ddpm_jax.data.items import attempt
from ddpm_jax.data.items import require_some
from ddpm_jax.data.items import summarise
from ddpm_jax.files import replacing

MAX_BYTES = 32 * 10**9
DAY = 24 * 60 * 60.0
# Part of every key: to be raised when decoding changes its result.
VERSION = 1

Shape = tuple[int, int, int]


class Record(NamedTuple):
    """What KEY.json holds: (H, W, C), and reason -> numbers of the skipped items."""

    shape: Shape
    failures: dict[str, list[int]]


def default_cache_dir() -> pathlib.Path:
    """The user's cache folder for ddpm_jax, as the operating system wants it."""
    import platformdirs

    return pathlib.Path(platformdirs.user_cache_dir("ddpm_jax"))


def fingerprint(*parts: object) -> str:
    """A hash of the representations of some plain data.

    Example:
        >>> fingerprint("a", 1) == fingerprint("a", 2)
        False
    """
    return hashlib.sha256(repr((VERSION, parts)).encode()).hexdigest()[:32]


def materialise(
    items: Items, cache_dir: pathlib.Path, max_bytes: int = MAX_BYTES
) -> Source:
    """The images of some items, decoded through the cache, and what was skipped.

    max_bytes bounds the array on disk, and so does half of the free space.

    Raises:
        ValueError: no item is usable, or cache_dir cannot be written to.
    """
    array_path = cache_dir / f"{items.fingerprint}.npy"
    record_path = cache_dir / f"{items.fingerprint}.json"
    record = _read_record(record_path)
    if record is None or not _is_whole(array_path):
        make_folder(cache_dir)
        _remove_abandoned(cache_dir)
        record = _decode(items, record, array_path, max_bytes)
        _write_record(record, record_path)
    labels = items.labels(_usable(items, record))
    images = _open(items, record, array_path, labels)
    return Source(images, summarise(record.failures, items.names), labels=labels)


def _decode(
    items: Items, record: Record | None, array_path: pathlib.Path, max_bytes: int
) -> Record:
    """Writes the array if it fits, and finds the unusable items in any case."""
    shape = items.shape() if record is None else record.shape
    num_bytes = len(items.names) * math.prod(shape)
    free = shutil.disk_usage(array_path.parent).free
    if num_bytes <= min(max_bytes, free // 2):
        return Record(shape, _write_array(items, shape, array_path))
    if record is None:
        record = Record(shape, _failures(items, None))
    return record


def _is_whole(array_path: pathlib.Path) -> bool:
    """Whether an array is there, as long as its header says."""
    try:
        np.load(array_path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return False
    return True


def _open(
    items: Items, record: Record, array_path: pathlib.Path, labels: Labels | None
) -> Images:
    """The memory-mapped array, or images that decode themselves where there is none."""
    with contextlib.suppress(FileNotFoundError):
        array: Images = np.load(array_path, mmap_mode="r", allow_pickle=False)
        return array
    name, usable = items.names.__getitem__, _usable(items, record)
    of = labels.labels if labels else None
    return LazyImages(items.source, name, items.image, usable, record.shape, of)


def _usable(items: Items, record: Record) -> Rows:
    """The numbers of the items that can be decoded, ascending."""
    bad = [number for numbers in record.failures.values() for number in numbers]
    return np.setdiff1d(np.arange(len(items.names)), np.array(bad, np.int64))


def _write_array(
    items: Items, shape: Shape, path: pathlib.Path
) -> dict[str, list[int]]:
    """Streams the usable images into a .npy file; returns the failures."""
    with replacing(path) as file:
        _write_header(file, len(items.names), shape)
        start = file.tell()
        failures = _failures(items, file)
        # How many rows there are is known only now. NumPy pads the header so that
        # the first axis can be rewritten in place.
        count = (file.tell() - start) // math.prod(shape)
        file.seek(0)
        _write_header(file, count, shape)
        assert file.tell() == start
    return failures


def _write_header(file: IO[bytes], count: int, shape: Shape) -> None:
    """The header of a .npy file of uint8 [count, H, W, C]."""
    fields = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(file, fields)


def _failures(items: Items, file: IO[bytes] | None) -> dict[str, list[int]]:
    """Decodes every item once, writes it if there is a file; reason -> numbers."""
    failures: dict[str, list[int]] = {}
    for number, image in enumerate(attempt(items.image, len(items.names))):
        if isinstance(image, Unusable):
            failures.setdefault(str(image), []).append(number)
        elif file is not None:
            file.write(image.tobytes())
    require_some(items.source, items.names, failures)
    return failures


def _read_record(path: pathlib.Path) -> Record | None:
    """The record of an entry, or None where there is no entry."""
    try:
        shape, failures = json.loads(path.read_text(encoding="utf-8"))
        return Record(tuple(shape), dict(failures))
    except (OSError, ValueError, TypeError):  # no entry, or a damaged one
        return None


def _write_record(record: Record, path: pathlib.Path) -> None:
    """Writes a record in one step."""
    with replacing(path) as file:
        file.write(json.dumps(record).encode())


def _remove_abandoned(cache_dir: pathlib.Path) -> None:
    """Removes what killed processes left: gigabytes, unseen, in a hidden folder."""
    yesterday = time.time() - DAY
    # Another process may remove one at the same moment.
    with contextlib.suppress(OSError):
        partial = list(cache_dir.glob("*.partial"))
        for path in [path for path in partial if path.stat().st_mtime < yesterday]:
            path.unlink()


def make_folder(cache_dir: pathlib.Path) -> None:
    """Makes the cache folder; ValueError where that is not possible."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        writable = os.access(cache_dir, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ValueError(
            f"decoded images cannot be cached in {cache_dir}: set XDG_CACHE_HOME, or"
            " cache_dir of ddpm_jax.data.load, to a folder that can be written to"
        )
