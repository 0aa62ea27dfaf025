"""Pictures and masks that a person names: files and folders in, uint8 arrays out.

A file that is named must be usable; of a folder what is no image is left out, and said.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddpm_jax.data.decode import Policy
from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.decode import decode
from ddpm_jax.data.decode import upright_size
from ddpm_jax.data.files import list_folder

PAINTED = 128
"""From this gray value on a mask is white."""


class Pictures(NamedTuple):
    """N pictures of one size."""

    paths: list[Path]
    images: np.ndarray  # uint8 [N, H, W, C]


def read_image(path: Path, policy: Policy) -> np.ndarray:
    """Reads a picture as uint8 [H, W, C]; ValueError in one sentence if it can't."""
    try:
        return decode(path.read_bytes(), policy)
    except Unusable as error:
        raise ValueError(f"{path} can't be used: {error}") from None
    except OSError as error:
        raise ValueError(
            f"{path} can't be read: {error.strerror}; give the path of a picture file"
        ) from None


def read_pictures(paths: Sequence[Path], policy: Policy) -> Pictures:
    """Reads files, and all files of folders, which it takes in sorted order.

    Raises:
      ValueError: if there is no picture, a named file is none, or two have one name.
    """
    found: list[tuple[Path, np.ndarray]] = []
    for path in paths:
        if path.is_dir():
            found += _of_folder(path, policy)
        else:
            found.append((path, read_image(path, policy)))
    if not found:
        where = ", ".join(map(str, paths))
        raise ValueError(
            f"there is no picture in {where}" if where else "give at least one picture"
        )
    check_names([path for path, _ in found])
    return Pictures(
        [path for path, _ in found], np.stack([image for _, image in found])
    )


def check_names(paths: Sequence[Path]) -> None:
    """Raises ValueError if two pictures have one name, which both would be written to.

    Example:
      >>> check_names([Path("a/1.png"), Path("a/2.png")])
    """
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem not in seen:
            seen[path.stem] = path
            continue
        other = seen[path.stem]
        if other.resolve() == path.resolve():
            raise ValueError(f"{path} is given twice; give each picture once")
        raise ValueError(
            f"{other} and {path} would be written under one name; rename one"
        )


def _of_folder(folder: Path, policy: Policy) -> list[tuple[Path, np.ndarray]]:
    found = []
    for name in list_folder(folder).names:
        try:
            found.append((folder / name, read_image(folder / name, policy)))
        except ValueError as error:
            print(f"left out: {error}")
    return found


def read_mask(path: Path, pictures: Sequence[Path], policy: Policy) -> np.ndarray:
    """Reads a mask as bool [H, W, 1], True where it is white, from 128 on.

    It must have the size of each of the pictures, and is fitted as they are, but for a
    margin, which stays black. Where it is transparent it counts as white.

    Raises:
      ValueError: if it can't be read, has another size, or is all black or all white.
    """
    fit = "pad" if policy.fit == "pad_white" else policy.fit
    gray = read_image(path, Policy(policy.image_size, 1, fit))
    size = upright_size(path.read_bytes())
    for picture in pictures:
        other = upright_size(picture.read_bytes())
        if other != size:
            raise ValueError(
                f"{path} is {size[1]}x{size[0]} and {picture} {other[1]}x{other[0]} "
                "(WxH); a mask has the size of its picture"
            )
    mask: np.ndarray = gray >= PAINTED
    if not mask.any():
        raise ValueError(
            f"{path} is black all over, so that nothing would be painted; white is "
            "what is painted anew"
        )
    if mask.all():
        raise ValueError(
            f"{path} is white all over, so that nothing would stay; black is what "
            "stays, and sample.py draws whole pictures"
        )
    return mask
