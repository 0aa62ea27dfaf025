"""Samples in a folder, written as they come, so that a draw that was killed goes on.

While images are drawn, out/parts/ holds them as START-STOP.npy, uint8 [n, H, W, C] of
the images START..STOP-1 of a seed. When all are there they become out/samples.npz, and
parts/ goes. out/draw.json says of what draw they are.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_jax.files import replacing

PARTS, DRAW, SAMPLES = "parts", "draw.json", "samples.npz"
NAME = re.compile(r"(\d+)-(\d+)\.npy")

Part = tuple[int, int, Path]
"""The first image of a file, the one behind its last, and the file."""


def begin(out: Path, draw: dict[str, Any], start: int, stop: int) -> bool:
    """Makes the folders, and says whether out holds images start..stop-1 already.

    draw is what tells these images from those of another draw.

    Raises:
      ValueError: if out holds an unfinished part of another draw; says what differs.
    """
    stored = read_draw(out)
    unfinished = (out / PARTS).is_dir()
    changed = [
        f"{name}: {stored.get(name)} -> {draw[name]}"
        for name in draw
        if stored.get(name) != draw[name]
    ]
    if stored and unfinished and changed:
        raise ValueError(
            f"{out / PARTS} holds a part of another draw; finish that one, take "
            "another --out, or delete it. What changed:\n  " + "\n  ".join(changed)
        )
    if not unfinished and stored == draw | {"images": [start, stop]}:
        return (out / SAMPLES).exists()
    write_draw(out, draw)
    (out / PARTS).mkdir(exist_ok=True)
    return False


def read_draw(out: Path) -> dict[str, Any]:
    """What out/draw.json says, or nothing if there is none."""
    path = out / DRAW
    try:
        stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return stored
    except ValueError:
        raise ValueError(
            f"{path} is damaged; delete it, or give another --out"
        ) from None


def write_draw(out: Path, draw: dict[str, Any]) -> None:
    """Writes out/draw.json."""
    with replacing(out / DRAW) as file:
        file.write((json.dumps(draw, indent=2) + "\n").encode())


def add(out: Path, start: int, images: np.ndarray) -> None:
    """Writes images start, start + 1, ...: uint8 [n, H, W, C]."""
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


def read(out: Path, start: int, stop: int) -> Iterator[np.ndarray]:
    """Yields images start..stop-1 in order, a part at a time.

    Raises:
      ValueError: if a part is damaged; names it.
    """
    for first, last, path in parts_of(out):
        own = slice(max(start - first, 0), min(stop, last) - first)
        if first >= stop or last <= start:
            continue
        try:
            images = np.load(path, allow_pickle=False)
            if images.dtype != np.uint8 or len(images) != last - first:
                raise ValueError(f"it holds {images.dtype} {images.shape}")
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); delete it and draw again: the other "
                "images are kept"
            ) from None
        yield images[own]
        start = min(stop, last)


def finish(
    out: Path, draw: dict[str, Any], start: int, stop: int, shape: tuple[int, int, int]
) -> Path:
    """Makes out/samples.npz of images start..stop-1, [H, W, C] each, from the parts.

    The file is uint8 [N, H, W, C] under arr_0, and no more than a part is in memory.
    """
    path = out / SAMPLES
    header = {"descr": "|u1", "fortran_order": False, "shape": (stop - start, *shape)}
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as array:
            np.lib.format.write_array_header_1_0(array, header)
            for images in read(out, start, stop):
                array.write(images.tobytes())
    write_draw(out, draw | {"images": [start, stop]})
    shutil.rmtree(out / PARTS)
    return path
