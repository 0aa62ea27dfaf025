"""TFDS sets prepared as array_record are read for real, without TensorFlow."""

import importlib.machinery
import pathlib
import sys
import types
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from ddpm_jax.data.sources import load
from ddpm_jax.data.tfds import INSTALL


class DdpmTinyMnist(tfds.core.GeneratorBasedBuilder):
    """Twelve 28x28 training images and three test images, each of one value."""

    VERSION = tfds.core.Version("1.0.0")
    SHAPE = (28, 28, 1)
    SPLITS = {"train": range(12), "test": range(200, 203)}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=self.SHAPE, encoding_format="png")
        features = tfds.features.FeaturesDict({"image": image})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: object) -> dict[str, object]:
        return {split: self._generate_examples(v) for split, v in self.SPLITS.items()}

    def _generate_examples(
        self, values: range
    ) -> Iterator[tuple[int, dict[str, Image.Image]]]:
        for value in values:
            mode = "L" if self.SHAPE[2] == 1 else "RGB"
            size = (28, 28) if self.SHAPE[0] else (20, 10 + value)
            colour = value if mode == "L" else (value,) * 3
            yield value, {"image": Image.new(mode, size, colour)}


class DdpmTinyFaces(DdpmTinyMnist):
    """Twenty training images of many sizes, in colour, and no other split."""

    VERSION = tfds.core.Version("1.0.0")
    SHAPE = (None, None, 3)
    SPLITS = {"train": range(20)}  # noqa: RUF012


class DdpmUnreachable(DdpmTinyMnist):
    """A set whose server does not answer."""

    VERSION = tfds.core.Version("1.0.0")

    def _split_generators(self, dl_manager: object) -> dict[str, object]:
        raise ConnectionError("the server is away\nand more lines")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("tfds")
    for name in ("ddpm_tiny_mnist", "ddpm_tiny_faces"):
        builder = tfds.builder(name, data_dir=folder)
        builder.download_and_prepare(file_format="array_record")
    return folder


@pytest.fixture(autouse=True)
def folders(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.chdir(tmp_path)


def values(images: object) -> list[int]:
    rows = images[np.arange(len(images))]
    return sorted(rows[:, rows.shape[1] // 2, rows.shape[2] // 2, 0].tolist())


def test_28x28_set_is_padded_with_black_and_its_test_split_held_out() -> None:
    dataset = load("tfds:ddpm_tiny_mnist", cache_dir="cache")
    assert dataset.train.shape == (12, 32, 32, 1)
    assert values(dataset.train) == list(range(12))
    assert values(dataset.held_out) == [200, 201, 202]
    images = dataset.held_out[np.arange(3)]
    assert images[:, 2:30, 2:30].min() == 200
    assert images.sum() == images[:, 2:30, 2:30].sum()


def test_size_that_is_asked_for_is_given() -> None:
    dataset = load("tfds:ddpm_tiny_mnist", image_size=28, channels=3, cache_dir="cache")
    assert dataset.train.shape == (12, 28, 28, 3)


def test_held_out_that_is_asked_for_comes_from_the_training_split() -> None:
    dataset = load("tfds:ddpm_tiny_mnist", held_out=2, cache_dir="cache")
    both = values(dataset.train) + values(dataset.held_out)
    assert (sorted(both), len(dataset.held_out)) == (list(range(12)), 2)


def test_set_of_many_sizes_needs_image_size_and_loses_5_percent() -> None:
    with pytest.raises(ValueError, match="images of many sizes; set data.image_size"):
        load("tfds:ddpm_tiny_faces", cache_dir="cache")
    dataset = load("tfds:ddpm_tiny_faces", image_size=8, cache_dir="cache")
    assert dataset.train.shape == (19, 8, 8, 3)
    assert dataset.held_out.shape == (1, 8, 8, 3)


def test_misspelt_set_is_guessed() -> None:
    with pytest.raises(ValueError, match="no set 'cifer10': did you mean cifar10"):
        load("tfds:cifer10", cache_dir="cache")


def test_unprepared_set_without_tensorflow_names_the_line_and_the_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        load("tfds:mnist", cache_dir="cache")
    assert INSTALL in str(caught.value)
    assert "--data.source PATH" in str(caught.value)


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[object], str]]:
    """Stands in for TensorFlow, which these sets need not; records what is hidden."""
    calls: list[tuple[list[object], str]] = []
    config = types.SimpleNamespace(set_visible_devices=lambda *a: calls.append(a))
    module = types.ModuleType("tensorflow")
    module.config = config
    module.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None)
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    return calls


def test_unprepared_set_is_prepared_with_the_gpus_hidden_from_tensorflow(
    hidden: list[tuple[list[object], str]],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "new"))
    dataset = load("tfds:ddpm_tiny_mnist", cache_dir="cache")
    assert values(dataset.train) == list(range(12))
    assert hidden == [([], "GPU")]


def test_failed_download_says_why_and_offers_a_local_path(
    hidden: list[tuple[list[object], str]],
) -> None:
    with pytest.raises(OSError) as caught:
        load("tfds:ddpm_unreachable", cache_dir="cache")
    message = str(caught.value)
    assert "(ConnectionError: the server is away)" in message
    assert "--data.source PATH" in message


def test_missing_tfds_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ModuleNotFoundError, match="needs TensorFlow Datasets: pip"):
        load("tfds:mnist", cache_dir="cache")


def test_reading_a_prepared_set_does_not_import_tensorflow() -> None:
    load("tfds:ddpm_tiny_mnist", cache_dir="cache")
    assert "tensorflow" not in sys.modules


class DdpmTinyLabelled(DdpmTinyMnist):
    """Twelve images whose label is whether their value is odd, and three others."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=self.SHAPE, encoding_format="png")
        label = tfds.features.ClassLabel(names=["even", "odd"])
        features = tfds.features.FeaturesDict({"image": image, "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _generate_examples(
        self, values: range
    ) -> Iterator[tuple[int, dict[str, object]]]:
        for value, example in super()._generate_examples(values):
            yield value, example | {"label": value % 2}


def test_the_labels_of_a_set_belong_to_its_images(
    data_dir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    builder = tfds.builder("ddpm_tiny_labelled", data_dir=data_dir)
    builder.download_and_prepare(file_format="array_record")
    for _ in range(2):  # the second time from the cache
        dataset = load("tfds:ddpm_tiny_labelled", cache_dir=str(tmp_path / "cache"))
        assert dataset.report.classes == ("even", "odd")
        for images, labels in (
            (dataset.train, dataset.train_labels),
            (dataset.held_out, dataset.held_out_labels),
        ):
            assert labels is not None
            middle = images[np.arange(len(images))][:, 16, 16, 0]
            np.testing.assert_array_equal(middle % 2, labels)
