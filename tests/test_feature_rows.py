"""Features on disk: batches and kills change nothing, and rows of another kind stay."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ddpm_jax.evaluation.feature_rows import ROWS
from ddpm_jax.evaluation.feature_rows import Source
from ddpm_jax.evaluation.feature_rows import feature_rows
from ddpm_jax.evaluation.feature_rows import row_type
from ddpm_jax.metrics.extractors import make_extractor

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 1), np.uint8)
PIXELS = make_extractor("pixels8")


def source(
    calls: list[int], last: int = len(IMAGES), images: np.ndarray = IMAGES
) -> Source:
    """IMAGES, noting which are asked for; an interruption when one beyond last is."""

    def compile(size: int) -> Callable[[np.ndarray], np.ndarray]:
        def images_of(numbers: np.ndarray) -> np.ndarray:
            if numbers[-1] > last:
                raise KeyboardInterrupt
            calls.extend(numbers.tolist())
            return images[numbers]

        return images_of

    return Source(len(images), images.shape[1:], compile, {})


def test_rows_are_the_features_in_the_order_of_the_images(tmp_path: Path) -> None:
    for batch_size in (3, 20):
        folder = tmp_path / str(batch_size)
        rows = feature_rows(folder, {"a": 1}, source([]), PIXELS, batch_size)
        assert isinstance(rows, np.memmap)
        expected = IMAGES.reshape(11, -1) / 255
        np.testing.assert_allclose(rows["features"], expected, rtol=1e-6)
        assert {path.name for path in folder.iterdir()} == {ROWS, "draw.json"}


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        feature_rows(tmp_path, {"a": 1}, source(calls, last=6), PIXELS, 3)
    assert calls == list(range(6))
    rows = feature_rows(tmp_path, {"a": 1}, source(calls), PIXELS, 4)
    assert calls == list(range(11))
    np.testing.assert_allclose(rows["features"], IMAGES.reshape(11, -1) / 255, 1e-6)
    feature_rows(tmp_path, {"a": 1}, source(calls), PIXELS, 4)
    assert calls == list(range(11))


def test_rows_of_another_kind_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        feature_rows(tmp_path, {"a": 1}, source([], last=6), PIXELS, 3)
    with pytest.raises(ValueError, match="another draw"):
        feature_rows(tmp_path, {"a": 2}, source([]), PIXELS, 3)
    feature_rows(tmp_path, {"a": 1}, source([]), PIXELS, 3)
    rows = feature_rows(tmp_path, {"a": 2}, source([], images=255 - IMAGES), PIXELS, 3)
    np.testing.assert_allclose(rows["features"][0], 1 - IMAGES[0].ravel() / 255, 1e-5)


def test_the_fields_of_a_row_are_what_the_extractor_answers() -> None:
    assert row_type(make_extractor("digits_cnn"), (8, 8, 1)).names == (
        "features",
        "logits",
    )
    with pytest.raises(ValueError, match="this classifier knows"):
        row_type(make_extractor("digits_cnn"), (32, 32, 3))


def test_a_draft_of_a_process_that_was_killed_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{ROWS}.0123abcd.partial").write_bytes(b"half")
    feature_rows(tmp_path, {"a": 1}, source([]), PIXELS, 4)
    assert {path.name for path in tmp_path.iterdir()} == {ROWS, "draw.json"}
