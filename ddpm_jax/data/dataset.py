"""What a data set is: images to train on, images held out, and a report of both.

Every source ends in the same plain types, so that the training loop never asks where
the images came from. Pixels stay uint8 [N, H, W, C] up to the device: scaling to
[-1, 1] and flips happen there, inside the train step.
"""

import dataclasses
import zlib
from typing import Any
from typing import NamedTuple
from typing import Protocol

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

# A split must not reuse the random words of an epoch: epochs count up from 0.
SPLIT_STREAM = 2**64 - 1
SAMPLE = 256


class Images(Protocol):
    """uint8 images [N, H, W, C], fetched by an array of row numbers.

    A NumPy array and a memory map are Images as they are.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        ...

    def __len__(self) -> int:
        """N."""
        ...

    def __getitem__(self, rows: Rows, /) -> UInt8:
        """uint8 [n, H, W, C] for int rows [n]."""
        ...


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some rows of other images, without a copy of them.

    Example:
        >>> images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
        >>> Subset(images, np.array([3, 1]))[np.array([0])].item()
        3
    """

    images: Images
    rows: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, H, W, C)."""
        return len(self.rows), *self.images.shape[1:]

    def __len__(self) -> int:
        """n, the number of rows."""
        return len(self.rows)

    def __getitem__(self, rows: Rows, /) -> UInt8:
        """uint8 [n, H, W, C] for int rows [n] that count within the subset."""
        return self.images[self.rows[rows]]


class Skipped(NamedTuple):
    """How many files were left out for one reason, and the names of a few."""

    num_files: int
    names: tuple[str, ...]


class Labels(NamedTuple):
    """The class of each image of a source: labels [N] in 0..len(classes)-1."""

    classes: tuple[str, ...]  # their names
    labels: Rows
    held_out: Rows | None = None  # of held-out images that the source has of its own


class Source(NamedTuple):
    """What a source yields before it is split into train and held out."""

    images: Images
    skipped: dict[str, Skipped]
    held_out: Images | float | int = 0.05  # images of its own, a share or a count
    labels: Labels | None = None


class Batch(NamedTuple):
    """Images of one step, and their labels where the network is told of them.

    In host memory they are NumPy's arrays and on devices JAX's.
    """

    images: Any  # uint8 [B, H, W, C]
    labels: Any = None  # int [B]


class Report(NamedTuple):
    """What was read: printed before training, so that a wrong folder is seen early.

    low and high are the smallest and largest value of `sampled` training images;
    num_bytes is the size of all images as uint8.
    """

    source: str
    num_train: int
    num_held_out: int
    height: int
    width: int
    channels: int
    low: int
    high: int
    sampled: int
    num_bytes: int
    skipped: dict[str, Skipped]
    classes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The lines of describe."""
        return describe(self)


class Dataset(NamedTuple):
    """Images to train on, images that training never sees, and their report."""

    name: str
    train: Images
    held_out: Images
    report: Report
    train_labels: Rows | None = None
    held_out_labels: Rows | None = None


def crc32_of_some(images: Images) -> int:
    """The CRC-32 of up to 64 images, evenly spread: tells a set from another.

    Example:
        >>> images = np.zeros((100, 1, 1, 1), np.uint8)
        >>> crc32_of_some(images) == zlib.crc32(bytes(64))
        True
    """
    count = len(images)
    rows = np.linspace(0, count - 1, min(count, 64)).astype(int)
    return zlib.crc32(np.asarray(images[rows]).tobytes())


def crc32_of(images: Images) -> int:
    """The CRC-32 of all images, of which 1,024 at a time are in memory.

    Example:
        >>> crc32_of(np.zeros((1500, 2, 1, 1), np.uint8)) == zlib.crc32(bytes(3000))
        True
    """
    crc = 0
    for start in range(0, len(images), 1024):
        rows = np.arange(start, min(start + 1024, len(images)))
        crc = zlib.crc32(np.asarray(images[rows]).tobytes(), crc)
    return crc


def split_rows(count: int, held_out: float | int, seed: int) -> tuple[Rows, Rows]:
    """Rows to train on and rows held out, both ascending: a function of the seed.

    held_out is a number of images (int) or a share of them (float in 0..1). A share
    holds out at least one image and leaves at least one to train on.

    Raises:
        ValueError: no image would be left to train on, or held_out is negative.

    Example:
        >>> train, held_out = split_rows(10, 3, seed=0)
        >>> len(train), len(held_out), np.intersect1d(train, held_out).size
        (7, 3, 0)
    """
    is_share = isinstance(held_out, float)
    if count < 2 and held_out:
        raise ValueError(
            f"there is {count} image, and one must be held out: give at least 2"
        )
    if not 0 <= held_out < (1 if is_share else count):
        raise ValueError(
            f"held_out={held_out} does not fit {count} images: give a share below 1.0,"
            f" or a whole number from 0 to {count - 1}"
        )
    size = int(held_out)
    if is_share and held_out > 0:
        size = min(max(round(held_out * count), 1), count - 1)
    words = np.random.Philox(key=philox_key(seed, SPLIT_STREAM)).random_raw(count)
    order = np.argsort(words, kind="stable")
    return np.sort(order[size:]), np.sort(order[:size])


def philox_key(seed: int, stream: int) -> npt.NDArray[np.uint64]:
    """The key [2] of one Philox stream of a seed; ValueError for a seed out of range.

    Example:
        >>> philox_key(7, 0).tolist()
        [7, 0]
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in 0..2**64-1, got {seed}")
    return np.array([seed, stream], dtype=np.uint64)


def make_report(
    source: str,
    train: Images,
    held_out: Images,
    skipped: dict[str, Skipped],
    classes: tuple[str, ...] = (),
) -> Report:
    """The report of a data set; looks at up to 256 evenly spaced training images.

    Example:
        >>> images = np.full((2, 4, 4, 1), 9, np.uint8)
        >>> make_report("mine", images, images[:1], {}).high
        9
    """
    num_train, height, width, channels = train.shape
    rows = np.unique(np.linspace(0, num_train - 1, SAMPLE).astype(np.int64))
    sample = train[rows]
    return Report(
        source=source,
        num_train=num_train,
        num_held_out=len(held_out),
        height=height,
        width=width,
        channels=channels,
        low=int(sample.min()),
        high=int(sample.max()),
        sampled=len(rows),
        num_bytes=(num_train + len(held_out)) * height * width * channels,
        skipped=skipped,
        classes=classes,
    )


def describe(report: Report) -> str:
    """The few lines about the data that are printed before training.

    Example:
        >>> images = np.full((2, 4, 4, 1), 9, np.uint8)
        >>> print(describe(make_report("mine", images, images[:1], {})))
        data mine: 2 train + 1 held out, 4x4x1 (HxWxC), 48 bytes as uint8
        values 9..9 in all 2 training images
    """
    size = f"{report.height}x{report.width}x{report.channels}"
    amount = _amount(report.num_bytes)
    every = report.sampled == report.num_train
    of = "in all" if every else "in a sample of"
    lines = [
        f"data {report.source}: {report.num_train} train + {report.num_held_out}"
        f" held out, {size} (HxWxC), {amount} as uint8",
        f"values {report.low}..{report.high} {of} {report.sampled} training images",
    ]
    if report.classes:
        lines.append(describe_classes(report.classes))
    return "\n".join(lines + describe_skipped(report.skipped))


def describe_classes(classes: tuple[str, ...]) -> str:
    """One line that says which label is which class.

    Example:
        >>> describe_classes(("cat", "dog"))
        'labels of 2 classes: 0 cat, 1 dog'
    """
    named = [f"{label} {name}" for label, name in enumerate(classes[:10])]
    more = ", ... (all are in data.json of a run)" if len(classes) > 10 else ""
    return f"labels of {len(classes)} classes: {', '.join(named)}{more}"


def describe_skipped(skipped: dict[str, Skipped]) -> list[str]:
    """One line for each reason to skip files.

    Example:
        >>> describe_skipped({"empty file": Skipped(2, ("a.png", "b.png"))})
        ['skipped 2 (empty file): a.png, b.png']
    """
    lines = []
    for reason, (num_files, names) in sorted(skipped.items()):
        more = ", ..." if num_files > len(names) else ""
        lines.append(f"skipped {num_files} ({reason}): {', '.join(names)}{more}")
    return lines


def _amount(num_bytes: int) -> str:
    """Bytes in the unit a person reads: 48 bytes, 3.1 MB, 25.2 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size / 10:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"
