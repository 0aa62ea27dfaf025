"""The order of the training images: a pure function of (seed, step).

Position k of the endless stream of examples belongs to epoch k // n and shows row
permutation(seed, epoch)[k % n]; step s reads positions s * batch_size and the
following. So batches cross the borders of epochs, nothing has to be saved to resume,
and the rows of a batch do not depend on how many processes share it.
"""

import dataclasses
import functools
import itertools
import os
import sys
from collections.abc import Iterator

import numpy as np

from ddpm_jax.data.dataset import Batch
from ddpm_jax.data.dataset import Images
from ddpm_jax.data.dataset import Rows
from ddpm_jax.data.dataset import Subset
from ddpm_jax.data.dataset import philox_key

# Batches that are decoded ahead: enough to hide one slow file, few enough for memory.
AHEAD = 16


# A step needs the permutation of its epoch, or of two; the next step needs it again.
@functools.lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> Rows:
    """The order [n] of one epoch, read-only.

    It sorts raw words of Philox, which NumPy promises never to change, as it does not
    for Generator.permutation: a run resumed years later reads the same images.

    Example:
        >>> sorted(permutation(0, 0, 4).tolist())
        [0, 1, 2, 3]
    """
    words = np.random.Philox(key=philox_key(seed, epoch)).random_raw(n)
    order: Rows = np.argsort(words, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def indices(seed: int, start: int, count: int, n: int) -> Rows:
    """Rows [count] at positions start, start + 1, ... of the stream over n images.

    Example:
        >>> rows = indices(seed=0, start=0, count=8, n=4)
        >>> sorted(rows[:4].tolist()), sorted(rows[4:].tolist())
        ([0, 1, 2, 3], [0, 1, 2, 3])
    """
    epochs, places = np.divmod(np.arange(start, start + count, dtype=np.int64), n)
    rows = np.empty(count, np.int64)
    for epoch in range(start // n, (start + count - 1) // n + 1):
        here = epochs == epoch
        rows[here] = permutation(seed, epoch, n)[places[here]]
    return rows


@dataclasses.dataclass(frozen=True)
class Steps:
    """Batch s of a run, for any s: one process's share of the images of step s."""

    images: Images
    labels: Rows | None
    seed: int
    batch_size: int  # of all processes together
    process_index: int
    process_count: int

    def __len__(self) -> int:
        """The stream has no end; Grain wants a number."""
        return sys.maxsize

    def __getitem__(self, step: int) -> Batch:
        """The batch_size / process_count images of one step, with their labels."""
        share = self.batch_size // self.process_count
        start = step * self.batch_size + self.process_index * share
        rows = indices(self.seed, start, share, len(self.images))
        labels = None if self.labels is None else self.labels[rows]
        return Batch(self.images[rows], labels)


def batches(
    images: Images,
    labels: Rows | None = None,
    *,
    seed: int,
    start_step: int,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Endless batches of batch_size / process_count images from a step on.

    Process i takes the i-th of process_count contiguous parts of each batch. Arrays
    are indexed in place, which beats every loader; images that have to be decoded are
    read ahead by Grain's threads. Both give the same batches.

    Raises:
        ValueError: batch_size does not divide by process_count, or an argument is out
            of range.

    Example:
        >>> images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
        >>> stream = batches(images, seed=0, start_step=0, batch_size=3)
        >>> epoch = np.concatenate([next(stream).images, next(stream).images])
        >>> sorted(epoch.ravel().tolist())
        [0, 1, 2, 3, 4, 5]
    """
    philox_key(seed, 0)
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size {batch_size} does not divide into {process_count} processes:"
            f" give a multiple of {process_count}"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index must be in 0..{process_count - 1}, got {process_index}"
        )
    if len(images) < 1 or start_step < 0:
        raise ValueError(
            f"batches need an image and a step from 0 on, got {len(images)} images and"
            f" start_step={start_step}"
        )
    steps = Steps(images, labels, seed, batch_size, process_index, process_count)
    if is_array(images):
        return map(steps.__getitem__, itertools.count(start_step))
    return _read_ahead(steps, start_step)


def is_array(images: Images) -> bool:
    """Whether the pixels are an array, in memory or mapped, and need no decoding.

    Example:
        >>> is_array(Subset(np.zeros((2, 1, 1, 1), np.uint8), np.array([1])))
        True
    """
    while isinstance(images, Subset):
        images = images.images
    return isinstance(images, np.ndarray)


def _read_ahead(steps: Steps, start_step: int) -> Iterator[Batch]:
    """The batches of some steps in order, a few of them decoded ahead by threads."""
    import grain

    threads = min(os.cpu_count() or 1, AHEAD)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=AHEAD)
    dataset = grain.MapDataset.source(steps).slice(slice(start_step, None))
    stream: Iterator[Batch] = iter(dataset.to_iter_dataset(options))
    return stream
