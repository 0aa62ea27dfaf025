"""The cache: decodes once, whole or not at all, and lazily where it does not fit."""

import os
import pathlib
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest

from ddpm_jax.data.cache import DAY
from ddpm_jax.data.cache import fingerprint
from ddpm_jax.data.cache import materialise
from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.items import Items
from ddpm_jax.data.items import LazyImages


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Counting:
    """Items whose images hold their own number; number 1 is broken; counts decodes."""

    def __init__(self, count: int = 5) -> None:
        self.decoded = 0
        names = [f"item {number}" for number in range(count)]
        self.items = Items("counting", names, self.image, lambda: (2, 3, 1), "key")

    def image(self, number: int) -> UInt8:
        self.decoded += 1
        if number == 1:
            raise Unusable("broken")
        return np.full((2, 3, 1), number % 256, np.uint8)


def values(images: object) -> list[int]:
    return images[np.arange(len(images))][:, 0, 0, 0].tolist()


def test_second_load_decodes_nothing(tmp_path: pathlib.Path) -> None:
    first, second = Counting(), Counting()
    one = materialise(first.items, tmp_path)
    two = materialise(second.items, tmp_path)
    assert (first.decoded, second.decoded) == (5, 0)
    assert values(one.images) == values(two.images) == [0, 2, 3, 4]
    assert one.skipped == two.skipped == {"broken": (1, ("item 1",))}
    assert isinstance(two.images, np.memmap)


def test_cache_file_is_a_plain_npy_of_the_usable_images(tmp_path: pathlib.Path) -> None:
    materialise(Counting().items, tmp_path)
    array = np.load(tmp_path / "key.npy", allow_pickle=False)
    assert (array.shape, array.dtype) == ((4, 2, 3, 1), np.uint8)
    assert sorted(os.listdir(tmp_path)) == ["key.json", "key.npy"]


def test_another_fingerprint_is_another_entry(tmp_path: pathlib.Path) -> None:
    materialise(Counting().items, tmp_path)
    other = Counting()
    materialise(other.items._replace(fingerprint="other"), tmp_path)
    assert other.decoded == 5


def test_what_does_not_fit_is_decoded_on_every_fetch_with_the_same_result(
    tmp_path: pathlib.Path,
) -> None:
    stored = materialise(Counting().items, tmp_path / "stored")
    counting = Counting()
    lazy = materialise(counting.items, tmp_path / "lazy", max_bytes=29)
    assert isinstance(lazy.images, LazyImages)
    assert lazy.images.shape == stored.images.shape
    assert lazy.skipped == stored.skipped
    rows = np.array([3, 0, 3])
    assert np.array_equal(lazy.images[rows], stored.images[rows])
    assert os.listdir(tmp_path / "lazy") == ["key.json"]


def test_broken_files_of_what_does_not_fit_are_looked_for_only_once(
    tmp_path: pathlib.Path,
) -> None:
    materialise(Counting().items, tmp_path, max_bytes=29)
    counting = Counting()
    assert len(materialise(counting.items, tmp_path, max_bytes=29).images) == 4
    assert counting.decoded == 0
    assert isinstance(materialise(counting.items, tmp_path).images, np.memmap)


def test_next_image_stands_in_for_one_that_breaks_later_with_a_warning() -> None:
    counting = Counting()
    lazy = LazyImages(
        "counting", "item {}".format, counting.image, np.arange(5), (2, 3, 1)
    )
    with pytest.warns(UserWarning, match="counting: item 1: broken; the next one"):
        images = lazy[np.array([0, 1])]
    np.testing.assert_array_equal(images, lazy[np.array([0, 2])])


def test_failure_midway_leaves_nothing_behind(tmp_path: pathlib.Path) -> None:
    def fails(number: int) -> UInt8:
        if number == 3:
            raise KeyboardInterrupt
        return np.zeros((2, 3, 1), np.uint8)

    with pytest.raises(KeyboardInterrupt):
        materialise(Counting().items._replace(image=fails), tmp_path)
    assert os.listdir(tmp_path) == []


def test_half_of_the_free_disk_is_left_free(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, kind in ((59, LazyImages), (60, np.memmap)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, f=free: Usage(100, 0, f))
        images = materialise(Counting().items, tmp_path / str(free)).images
        assert isinstance(images, kind)


def test_racing_writers_all_get_the_same_images(tmp_path: pathlib.Path) -> None:
    start = threading.Barrier(4)

    def load(_: int) -> list[int]:
        start.wait()
        return values(materialise(Counting(500).items, tmp_path).images)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(load, range(4)))
    assert results == [[number % 256 for number in range(500) if number != 1]] * 4
    assert sorted(os.listdir(tmp_path)) == ["key.json", "key.npy"]


def test_array_without_its_record_is_not_trusted(tmp_path: pathlib.Path) -> None:
    materialise(Counting().items, tmp_path)
    (tmp_path / "key.json").unlink()
    again = Counting()
    assert values(materialise(again.items, tmp_path).images) == [0, 2, 3, 4]
    assert again.decoded == 5


def test_leftovers_of_a_killed_process_are_removed_after_a_day(
    tmp_path: pathlib.Path,
) -> None:
    old, new = tmp_path / "old.partial", tmp_path / "new.partial"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    yesterday = time.time() - DAY - 60
    os.utime(old, (yesterday, yesterday))
    materialise(Counting().items, tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


def test_nothing_usable_is_an_error_and_is_not_cached(tmp_path: pathlib.Path) -> None:
    def broken(number: int) -> UInt8:
        raise Unusable("broken")

    message = "no usable image in counting: skipped 5 .broken.: item 0, item 1, item 2"
    with pytest.raises(ValueError, match=message):
        materialise(Counting().items._replace(image=broken), tmp_path)
    assert os.listdir(tmp_path) == []


def test_folder_that_cannot_be_made_is_an_error_before_decoding(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    counting = Counting()
    with pytest.raises(ValueError, match="cannot be cached in .*set XDG_CACHE_HOME"):
        materialise(counting.items, tmp_path / "file" / "cache")
    assert counting.decoded == 0


def test_fingerprint_tells_parts_apart() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint(1, [2]) == fingerprint(1, [2])
