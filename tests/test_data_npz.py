"""A .npz file: which array, which shapes, and what is refused."""

import pathlib

import numpy as np
import pytest

from ddpm_jax.data.decode import Policy
from ddpm_jax.data.npz import load_npz

IMAGES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
OTHER = np.zeros(5)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "samples.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {"arr_0": IMAGES, "arr_1": OTHER},
        {"images": IMAGES, "labels": OTHER},
        {"anything": IMAGES},
    ],
)
def test_images_are_found_by_their_key_and_unchanged(
    path: str, arrays: dict[str, np.ndarray], tmp_path: pathlib.Path
) -> None:
    np.savez_compressed(path, **arrays)
    source = load_npz(path, Policy(), tmp_path)
    assert np.array_equal(source.images[np.arange(2)], IMAGES)


def test_images_without_channels_have_one(path: str, tmp_path: pathlib.Path) -> None:
    np.savez(path, IMAGES[..., 0])
    assert load_npz(path, Policy(), tmp_path).images.shape == (2, 4, 4, 1)


def test_size_and_channels_are_those_asked_for(
    path: str, tmp_path: pathlib.Path
) -> None:
    np.savez(path, IMAGES)
    source = load_npz(path, Policy((6, 6), 3, "pad"), tmp_path)
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    assert np.array_equal(source.images[np.arange(2)], padded)


@pytest.mark.parametrize(
    "array",
    [
        IMAGES.astype(np.float32),
        IMAGES[0, 0],
        np.zeros((2, 4, 4, 2), np.uint8),
        IMAGES[:0],
    ],
)
def test_other_types_and_shapes_are_refused_with_what_was_found(
    path: str, array: np.ndarray, tmp_path: pathlib.Path
) -> None:
    np.savez(path, array)
    with pytest.raises(ValueError, match="images must be uint8") as caught:
        load_npz(path, Policy(), tmp_path)
    assert f"holds {array.dtype} {list(array.shape)}" in str(caught.value)


def test_several_arrays_without_a_known_name_are_listed(
    path: str, tmp_path: pathlib.Path
) -> None:
    np.savez(path, a=IMAGES, b=OTHER)
    with pytest.raises(ValueError, match="holds the arrays a, b: name the one"):
        load_npz(path, Policy(), tmp_path)


def test_pickled_objects_are_never_loaded(path: str, tmp_path: pathlib.Path) -> None:
    np.savez(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="pickled objects, which are never loaded"):
        load_npz(path, Policy(), tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"no zip at all", b"\x80\x04pickle", b"PK\x03\x04"]
)
def test_file_that_is_no_npz_is_refused(
    path: str, content: bytes, tmp_path: pathlib.Path
) -> None:
    pathlib.Path(path).write_bytes(content)
    with pytest.raises(ValueError, match="samples.npz"):
        load_npz(path, Policy(), tmp_path)
