"""One string names a source: every kind is found, every slip has its sentence."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from ddpm_jax.data.folder import load_folder
from ddpm_jax.data.folder import load_zip
from ddpm_jax.data.lsun import load_lsun
from ddpm_jax.data.npz import load_npz
from ddpm_jax.data.sources import ALLOWED
from ddpm_jax.data.sources import SOURCES
from ddpm_jax.data.sources import find_loader
from ddpm_jax.data.sources import load
from ddpm_jax.data.tfds import load_tfds


def test_every_named_source_is_among_what_the_error_allows() -> None:
    for name in SOURCES:
        assert find_loader(f"{name}:x/y:z") == (SOURCES[name], "x/y:z")
        assert name in ALLOWED
    assert find_loader("tfds:celeb_a_hq/256") == (load_tfds, "celeb_a_hq/256")


def test_path_is_told_by_what_is_there(tmp_path: pathlib.Path) -> None:
    lsun = tmp_path / "lsun"
    lsun.mkdir()
    for path in (tmp_path / "a.ZIP", tmp_path / "b.npz", lsun / "data.mdb"):
        path.write_bytes(b"")
    assert find_loader(str(tmp_path))[0] is load_folder
    assert find_loader(str(tmp_path / "a.ZIP"))[0] is load_zip
    assert find_loader(str(tmp_path / "b.npz"))[0] is load_npz
    assert find_loader(str(lsun))[0] is load_lsun


@pytest.mark.parametrize(
    ("source", "meant"),
    [("digist", "digits"), ("emojis", "emoji"), ("tdfs:celeb_a_hq/256", "tfds")],
)
def test_misspelt_source_is_guessed_and_the_allowed_ones_listed(
    source: str, meant: str
) -> None:
    with pytest.raises(ValueError) as caught:
        load(source)
    assert str(caught.value) == (
        f"unknown data source {source!r}, did you mean {meant}? Allowed: {ALLOWED}"
    )


def test_unknown_word_is_refused_and_missing_paths_are_missing() -> None:
    with pytest.raises(ValueError, match="unknown data source 'qqq'; Allowed: digits"):
        load("qqq")
    for path in ("/no/such/folder", "nothing.zip", "~/nothing/at/all"):
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            load(path)


def test_file_of_another_kind_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is a file of another kind; allowed: digits"):
        load(str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size must be a positive number"),
        ({"image_size": (8, 8, 3)}, r"or \(height, width\), got \(8, 8, 3\)"),
        ({"channels": 2}, "channels must be 1, 3 or 4, got 2"),
        (
            {"fit": "zoom"},
            "fit must be one of crop, stretch, pad, pad_white, got 'zoom'",
        ),
        ({"seed": -1}, "seed must be in"),
    ],
)
def test_bad_argument_is_refused_before_the_source_is_looked_at(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load("/no/such/folder", **options)


def test_folder_is_split_and_reported(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for value in range(40):
        Image.new("L", (4, 6), value + 10).save(folder / f"{value:02}.png")
    (folder / "notes.txt").write_text("not an image")
    dataset = load(str(folder), channels=1, seed=2, cache_dir=str(tmp_path / "cache"))
    train = dataset.train[np.arange(38)][:, 0, 0, 0].tolist()
    held_out = dataset.held_out[np.arange(2)][:, 0, 0, 0].tolist()
    assert sorted(train + held_out) == list(range(10, 50))
    assert dataset.report == (
        *(str(folder), 38, 2, 6, 4, 1),
        *(min(train), max(train), 38, 40 * 6 * 4),
        {"not an image": (1, ("notes.txt",))},
        (),
    )


def test_held_out_can_be_a_share_a_count_or_nothing() -> None:
    for held_out, count in ((0.5, 898), (10, 10), (0, 0)):
        dataset = load("digits", held_out=held_out)
        assert (len(dataset.held_out), len(dataset.train)) == (count, 1797 - count)
