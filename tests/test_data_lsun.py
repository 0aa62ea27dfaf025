"""An LMDB folder: every value an image, fetched by key, keys listed once."""

import pathlib
import sys

import lmdb
import numpy as np
import pytest
from PIL import Image
from test_data_decode import encode

from ddpm_jax.data.decode import Policy
from ddpm_jax.data.lsun import load_lsun
from ddpm_jax.data.order import batches
from ddpm_jax.data.sources import load


def write(path: pathlib.Path, values: dict[bytes, bytes]) -> str:
    with lmdb.open(str(path), map_size=2**20) as environment:
        with environment.begin(write=True) as transaction:
            for key, value in values.items():
                transaction.put(key, value)
    return str(path)


def webp(value: int, width: int) -> bytes:
    return encode(Image.new("RGB", (width, 8), (value,) * 3), "webp", lossless=True)


VALUES = {f"{9 - i:040x}".encode(): webp(i, 8 + i) for i in range(10)}


def test_images_come_in_the_order_of_their_keys_at_the_size_asked_for(
    tmp_path: pathlib.Path,
) -> None:
    path = write(tmp_path / "lsun", VALUES)
    source = load_lsun(path, Policy((8, 8), 3), tmp_path / "cache")
    assert source.images.shape == (10, 8, 8, 3)
    images = source.images[np.arange(10)]
    assert images[:, 4, 4, 0].tolist() == list(range(9, -1, -1))


def test_keys_are_listed_once_and_a_folder_can_be_loaded_twice(
    tmp_path: pathlib.Path,
) -> None:
    path = write(tmp_path / "lsun", VALUES)
    for _ in range(2):
        dataset = load(f"lsun:{path}", image_size=8, cache_dir=str(tmp_path / "cache"))
        assert (len(dataset.train), len(dataset.held_out)) == (9, 1)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert load(path, image_size=8, cache_dir=str(tmp_path / "cache")).name == path


def test_batches_are_those_of_the_decoded_array(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "lsun", VALUES)
    lazy = load_lsun(path, Policy((8, 8), 1), tmp_path / "cache").images
    array = lazy[np.arange(10)]
    streams = [
        batches(images, seed=5, start_step=3, batch_size=4) for images in (lazy, array)
    ]
    for _ in range(8):
        assert np.array_equal(next(streams[0]).images, next(streams[1]).images)


def test_value_that_is_no_image_is_named_and_the_first_one_stands_in(
    tmp_path: pathlib.Path,
) -> None:
    path = write(tmp_path / "lsun", VALUES | {b"text": b"hello"})
    images = load_lsun(path, Policy((8, 8)), tmp_path / "cache").images
    with pytest.warns(UserWarning, match="text: not an image"):
        stand_in = images[np.array([10])]
    np.testing.assert_array_equal(stand_in, images[np.array([0])])


def test_size_is_asked_for(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "lsun", VALUES)
    with pytest.raises(ValueError, match="many sizes; set data.image_size"):
        load_lsun(path, Policy(), tmp_path)


def test_folder_without_data_is_missing(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file data.mdb"):
        load(f"lsun:{tmp_path}", image_size=8)


def test_empty_and_broken_files_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="holds no images"):
        load_lsun(write(tmp_path / "none", {}), Policy((8, 8)), tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(ValueError, match="is not a readable LMDB"):
        load_lsun(str(broken), Policy((8, 8)), tmp_path)


def test_missing_package_names_the_extra(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "lsun", VALUES)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "ddpm_jax\[lsun\]"'):
        load_lsun(path, Policy((8, 8)), tmp_path)
