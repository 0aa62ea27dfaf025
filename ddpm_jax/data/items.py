"""Images that exist only as something to decode: files, records, drawings.

Items are named and numbered; decoding one may fail with Unusable. LazyImages shows the
usable ones as Images, decoding on each fetch.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from typing import TypeVar

import numpy as np

from ddpm_jax.data.dataset import Labels
from ddpm_jax.data.dataset import Rows
from ddpm_jax.data.dataset import Skipped
from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.dataset import describe_skipped
from ddpm_jax.data.decode import Unusable

T = TypeVar("T")

# Images a thread decodes at a time: one alone is less work than handing it over.
TASK = 32

# So many broken images in a row are no accident.
MAX_BROKEN = 8


class Items(NamedTuple):
    """A source of images before decoding."""

    source: str
    names: Sequence[str]
    image: Callable[[int], UInt8]  # number of an item -> uint8 [H, W, C], or Unusable
    shape: Callable[[], tuple[int, int, int]]  # (H, W, C); may have to look at files
    fingerprint: str  # changes whenever an image might
    # the numbers of some items -> their classes, if each has one
    labels: Callable[[Rows], Labels | None] = lambda numbers: None


@dataclasses.dataclass(frozen=True)
class LazyImages:
    """Images [N, H, W, C] that are decoded on every fetch, in the calling thread."""

    source: str
    name: Callable[[int], str]  # number of an item -> its name
    image: Callable[[int], UInt8]  # number of an item -> uint8 [H, W, C], or Unusable
    usable: Rows  # the numbers [N] of the items that can be decoded
    image_shape: tuple[int, int, int]
    labels: Rows | None = None  # [N]: the one that stands in for another has its label

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return len(self.usable), *self.image_shape

    def __len__(self) -> int:
        """N."""
        return len(self.usable)

    def __getitem__(self, rows: Rows, /) -> UInt8:
        """uint8 [n, H, W, C]; the next image stands in for one that is broken."""
        images = np.empty((len(rows), *self.image_shape), np.uint8)
        for place, row in enumerate(rows.tolist()):
            images[place] = self._usable_image(row)
        return images

    def _usable_image(self, row: int) -> UInt8:
        # A run that stopped here would stop here again each time it is resumed.
        for place in self._stand_ins(row):
            number = int(self.usable[place])
            try:
                return self.image(number)
            except Unusable as error:
                broken = f"{self.source}: {self.name(number)}: {error}"
                warnings.warn(f"{broken}; the next one stands in", stacklevel=2)
        raise ValueError(f"{broken}, and so are {MAX_BROKEN - 1} more after it")

    def _stand_ins(self, row: int) -> Iterator[int]:
        """The row itself, then the next ones of its label, MAX_BROKEN in all."""
        yield row
        others = np.arange(row + 1, row + len(self)) % len(self)
        if self.labels is not None:
            others = others[self.labels[others] == self.labels[row]]
        # A set of very few images is gone through more than once.
        yield from itertools.islice(itertools.cycle([*others, row]), MAX_BROKEN - 1)


def attempt(function: Callable[[int], T], count: int) -> Iterator[T | Unusable]:
    """function(0), function(1), ... by a thread pool, in order, failures as values.

    Pillow decodes without holding Python's lock, so threads use every core.

    Example:
        >>> list(attempt(lambda number: number * number, 3))
        [0, 1, 4]
    """
    from tqdm import tqdm

    def run(task: range) -> list[T | Unusable]:
        return [_value(function, number) for number in task]

    workers = os.cpu_count() or 1
    tasks = [range(at, min(at + TASK, count)) for at in range(0, count, TASK)]
    blocks = [tasks[at : at + 2 * workers] for at in range(0, len(tasks), 2 * workers)]
    bar = tqdm(total=count, desc="reading images", disable=None, leave=False)
    with ThreadPoolExecutor(workers) as pool, bar:
        # One block at a time: a pool given all tasks would hold all results.
        results = (pool.map(run, block) for block in blocks)
        for values in itertools.chain.from_iterable(results):
            yield from values
            bar.update(len(values))


def _value(function: Callable[[int], T], number: int) -> T | Unusable:
    """function(number), or why it failed."""
    try:
        return function(number)
    except Unusable as error:
        return error


def summarise(
    failures: dict[str, list[int]], names: Sequence[str]
) -> dict[str, Skipped]:
    """Counts failures (reason -> numbers of items) and keeps the first three names.

    Example:
        >>> summarise({"empty file": [0, 2]}, ["a", "b", "c"])
        {'empty file': Skipped(num_files=2, names=('a', 'c'))}
    """
    return {
        reason: Skipped(len(numbers), tuple(names[number] for number in numbers[:3]))
        for reason, numbers in failures.items()
    }


def require_some(
    source: str, names: Sequence[str], failures: dict[str, list[int]]
) -> None:
    """Raises ValueError, with the reasons, where no item is left.

    Example:
        >>> require_some("pictures", ["a.txt"], {"not an image": [0]})
        Traceback (most recent call last):
        ValueError: no usable image in pictures: skipped 1 (not an image): a.txt
    """
    if sum(map(len, failures.values())) < len(names):
        return
    reasons = "; ".join(describe_skipped(summarise(failures, names)))
    raise ValueError(f"no usable image in {source}: {reasons or 'it holds no files'}")
