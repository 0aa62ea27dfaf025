"""Samples in a folder, written as they come, so that a draw that was killed goes on.

While images are drawn, out/parts/ holds them as START-STOP.npy, uint8 [n, H, W, C] of
the images START..STOP-1 of a seed, beside a draw.json that says of what draw they are.
When all are there they become out/samples.npz, described by out/draw.json, and parts/
goes. At every instant the images are in one of the two places, or in both.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ddpm_jax import processes
from ddpm_jax.files import replacing

PARTS, DRAW, SAMPLES = "parts", "draw.json", "samples.npz"
NAME = re.compile(r"(\d+)-(\d+)\.npy")

Part = tuple[int, int, Path]
"""The first image of a file, the one behind its last, and the file."""


def is_finished(out: Path, draw: dict[str, Any], start: int, stop: int) -> bool:
    """Whether out/samples.npz holds images start..stop-1 of a draw.

    draw is what tells its images from those of another.
    """
    wanted = draw | {"images": [start, stop]}
    return (out / SAMPLES).exists() and read_draw(out) == wanted


def begin(out: Path, draw: dict[str, Any], start: int, stop: int) -> None:
    """Makes the folder of parts, or checks that those in it belong to this draw.

    Raises:
      ValueError: if they do not, or if some lie outside start..stop-1.
    """
    folder = out / PARTS
    if folder.is_dir():
        check_parts(out, draw, start, stop)
    folder.mkdir(parents=True, exist_ok=True)
    write_draw(folder, draw)
    for draft in (*out.glob(f"{SAMPLES}.*.partial"), *folder.glob("*.partial")):
        draft.unlink()  # of a process that was killed


def check_parts(out: Path, draw: dict[str, Any], start: int, stop: int) -> None:
    """Raises ValueError unless all parts in out are of this draw and this range."""
    folder = out / PARTS
    if not parts_of(out):
        return
    stored = read_draw(folder)
    if not stored:
        raise ValueError(
            f"{folder} is there, and no {DRAW} in it that says of what draw it is; "
            f"give another --out, or delete {folder}"
        )
    changed = [
        f"{name}: {stored.get(name)} -> {draw[name]}"
        for name in draw
        if stored.get(name) != draw[name]
    ]
    if changed:
        raise ValueError(
            f"{folder} holds a part of another draw; finish that one, give another "
            f"--out, or delete {folder}. What changed:\n  " + "\n  ".join(changed)
        )
    for first, last, path in parts_of(out):
        if first < start or last > stop:
            raise ValueError(
                f"{path} holds images {first}..{last - 1} of an unfinished draw, and "
                f"{start}..{stop - 1} are asked for; ask for all of them, or give "
                "another --out"
            )


def read_draw(folder: Path) -> dict[str, Any]:
    """What draw.json in a folder says, or nothing if there is none."""
    path = folder / DRAW
    try:
        stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return stored
    except ValueError:
        raise ValueError(
            f"{path} is damaged; delete {folder}, or give another --out"
        ) from None


def write_draw(folder: Path, draw: dict[str, Any]) -> None:
    """Writes draw.json into a folder."""
    with replacing(folder / DRAW) as file:
        file.write((json.dumps(draw, indent=2) + "\n").encode())


def add(out: Path, start: int, images: np.ndarray) -> None:
    """Writes images start, start + 1, ...: uint8 [n, H, W, C], or a row for each."""
    name = f"{start:08d}-{start + len(images):08d}.npy"
    with replacing(out / PARTS / name) as file:
        np.save(file, images)


def parts_of(out: Path) -> list[Part]:
    """The files of parts, in the order of their first images."""
    matches = [(NAME.fullmatch(p.name), p) for p in (out / PARTS).glob("*.npy")]
    return sorted((int(m[1]), int(m[2]), path) for m, path in matches if m)


def gaps(out: Path, start: int, stop: int) -> list[range]:
    """The images of start..stop-1 that no part holds, as ranges.

    Example:
      >>> import tempfile
      >>> out = Path(tempfile.mkdtemp())
      >>> add(out, 2, np.zeros((3, 8, 8, 1), np.uint8))
      >>> gaps(out, 0, 10)
      [range(0, 2), range(5, 10)]
    """
    missing, at = [], start
    for first, last, _ in parts_of(out):
        if first > at:
            missing.append(range(at, min(first, stop)))
        at = max(at, last)
        if at >= stop:
            break
    return [r for r in (*missing, range(at, stop)) if len(r)]


def missing_batches(
    out: Path, start: int, stop: int, batch_size: int
) -> list[np.ndarray]:
    """The numbers of the images that out lacks, in runs of at most batch_size."""
    return [
        np.arange(first, min(first + batch_size, gap.stop))
        for gap in gaps(out, start, stop)
        for first in range(gap.start, gap.stop, batch_size)
    ]


class Share(NamedTuple):
    """What is left to do of a job that all processes share."""

    batches: list[np.ndarray]  # numbers of images, of this process
    missing: int  # images, of all processes


def share_missing(
    out: Path, draw: dict[str, Any], start: int, stop: int, batch_size: int
) -> Share:
    """Makes the folder of parts, and divides what it lacks among the processes.

    Raises:
      ValueError: as `begin`.
    """
    if processes.first_process():
        begin(out, draw, start, stop)
    processes.wait_for_all(f"{out.name} begins")
    batches = missing_batches(out, start, stop, batch_size)
    # None may write, and so fill a gap, before all know the same gaps.
    processes.wait_for_all(f"{out.name} gaps")
    own = batches[processes.process_slice(len(batches))]
    return Share(own, sum(map(len, batches)))


def read(
    out: Path,
    start: int,
    stop: int,
    shape: tuple[int, ...],
    dtype: DTypeLike = np.uint8,
) -> Iterator[np.ndarray]:
    """Yields images start..stop-1 in order, [H, W, C] each, a part at a time.

    What is kept of each image may be of another shape and dtype.

    Raises:
      ValueError: if one is missing or a part is damaged; names it.
    """
    for first, last, path in parts_of(out):
        if first >= stop or last <= start:
            continue
        if first > start:
            break
        try:
            images = np.load(path, allow_pickle=False)
            if images.dtype != dtype or images.shape != (last - first, *shape):
                raise ValueError(f"it holds {images.dtype} {images.shape}")
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); delete it and repeat the command: the "
                "other images are kept"
            ) from None
        yield images[start - first : min(stop, last) - first]
        start = min(stop, last)
    if start < stop:
        raise ValueError(f"image {start} is in no file of {out / PARTS}; repeat it all")


def finish(
    out: Path,
    draw: dict[str, Any],
    start: int,
    stop: int,
    shape: tuple[int, int, int],
    labels: np.ndarray | None = None,
) -> Path:
    """Makes out/samples.npz of images start..stop-1, [H, W, C] each, from the parts.

    The file is uint8 [N, H, W, C] under arr_0, and no more than a part is in memory.
    labels [N], if there are any, are under arr_1.
    """
    path = out / SAMPLES
    header = {"descr": "|u1", "fortran_order": False, "shape": (stop - start, *shape)}
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as array:
            np.lib.format.write_array_header_1_0(array, header)
            for images in read(out, start, stop, shape):
                array.write(images.tobytes())
        if labels is not None:
            with archive.open("arr_1.npy", "w") as array:
                np.save(array, labels)
    write_draw(out, draw | {"images": [start, stop]})
    remove_parts(out)
    return path


def remove_parts(out: Path) -> None:
    """Deletes the files of parts, once samples.npz has taken their place."""
    folder = out / PARTS
    for _, _, path in parts_of(out):
        path.unlink()
    (folder / DRAW).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
