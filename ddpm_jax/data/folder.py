"""A folder or a zip archive of image files as a source.

Any format Pillow reads counts, whatever the file's name; what is no image is skipped
with a reason. The images are decoded once, by threads, into the cache. Where all lie
in subfolders, the first subfolder of an image is its class.
"""

import pathlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ddpm_jax.data.cache import fingerprint
from ddpm_jax.data.cache import materialise
from ddpm_jax.data.dataset import Labels
from ddpm_jax.data.dataset import Rows
from ddpm_jax.data.dataset import Source
from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.decode import Policy
from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.decode import decode
from ddpm_jax.data.decode import upright_size
from ddpm_jax.data.files import Files
from ddpm_jax.data.files import list_folder
from ddpm_jax.data.files import list_zip
from ddpm_jax.data.items import Items
from ddpm_jax.data.items import attempt
from ddpm_jax.data.items import require_some


def load_folder(path: str, policy: Policy, cache_dir: pathlib.Path) -> Source:
    """The images of a folder and its subfolders.

    Raises:
        ValueError: no file is a usable image, or sizes differ and none is asked for.
    """
    return _load(list_folder(pathlib.Path(path)), policy, cache_dir)


def load_zip(path: str, policy: Policy, cache_dir: pathlib.Path) -> Source:
    """The images in a zip archive, which is not unpacked; errors as load_folder."""
    return _load(list_zip(pathlib.Path(path)), policy, cache_dir)


def _load(files: Files, policy: Policy, cache_dir: pathlib.Path) -> Source:
    """Decodes some files through the cache."""

    channels = policy.channels or 3
    policy = policy._replace(channels=channels)

    def image(number: int) -> UInt8:
        return decode(files.read(number), policy)

    def shape() -> tuple[int, int, int]:
        height, width = policy.image_size or _common_size(files)
        return height, width, channels

    key = fingerprint(files.names, files.stamps, policy)

    def labels(numbers: Rows) -> Labels | None:
        return labels_of([files.names[number] for number in numbers])

    items = Items(files.source, files.names, image, shape, key, labels)
    require_some(files.source, files.names, {})
    return materialise(items, cache_dir)


def labels_of(names: Sequence[str]) -> Labels | None:
    """Classes by the first folder of each name; None unless there are at least two.

    Example:
        >>> labels_of(["cat/1.png", "dog/1.png", "dog/old/2.png"])
        Labels(classes=('cat', 'dog'), labels=array([0, 1, 1]), held_out=None)
    """
    folders = [name.split("/")[0] for name in names if "/" in name]
    if len(folders) < len(names) or len(set(folders)) < 2:
        return None
    classes, labels = np.unique(folders, return_inverse=True)
    return Labels(tuple(classes.tolist()), labels.astype(np.int64))


def _common_size(files: Files) -> tuple[int, int]:
    """The one (height, width) of all images; ValueError lists the sizes if several."""
    sizes: Counter[tuple[int, int]] = Counter()
    failures: dict[str, list[int]] = {}
    found = attempt(lambda number: upright_size(files.read(number)), len(files.names))
    for number, size in enumerate(found):
        if isinstance(size, Unusable):
            failures.setdefault(str(size), []).append(number)
        else:
            sizes[size] += 1
    require_some(files.source, files.names, failures)
    if len(sizes) > 1:
        common = [f"{h}x{w} ({n})" for (h, w), n in sizes.most_common(5)]
        more = ", ..." if len(sizes) > 5 else ""
        raise ValueError(
            f"{files.source} holds images of {len(sizes)} sizes (HxW):"
            f" {', '.join(common)}{more}; set data.image_size to bring them to one"
        )
    return next(iter(sizes))
