"""Samples against images: the pipeline against its parts, protocols, and the door."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny

from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.chains import Chain
from ddpm_jax.data import load
from ddpm_jax.evaluation.records import evaluate
from ddpm_jax.evaluation.task import Settings
from ddpm_jax.metrics.frechet import frechet_distance
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import load_statistics
from ddpm_jax.metrics.statistics import save_statistics
from ddpm_jax.sampling import Trained
from ddpm_jax.sampling import draw
from ddpm_jax.train_loop import with_shape

DIGITS = load("digits")
SETTINGS = Settings(extractor="pixels8", num_samples=12, batch_size=8)
NAME = "frechet_distance_pixels8_12"


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A network of digits that has learned nothing."""
    config = with_shape(tiny.CONFIG, DIGITS)
    parts = build(config)
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: init_params(parts, jax.random.key(0)))
    params = jax.tree.map(
        lambda x: random.normal(scale=0.1, size=x.shape).astype(np.float32), shapes
    )
    return Trained(config, parts, params, step=7, ema=True)


@pytest.fixture(scope="module")
def out(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the Frechet distance of 12 samples was measured."""
    folder = tmp_path_factory.mktemp("out")
    evaluate(folder, trained, SETTINGS, ["fid"])
    return folder


def read(folder: Path) -> dict[str, Any]:
    """The record of the Frechet distance."""
    record: dict[str, Any] = json.loads((folder / "metrics.json").read_text())[NAME]
    return record


def with_settings(**changes: object) -> Settings:
    return dataclasses.replace(SETTINGS, **changes)


def pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255


@pytest.mark.slow
def test_the_pipeline_measures_the_images_that_sample_py_draws(
    out: Path, trained: Trained
) -> None:
    drawn = pixels(np.concatenate(list(draw(trained, num=12, batch_size=8))))
    real = pixels(DIGITS.train[np.arange(len(DIGITS.train))])
    exact = frechet_distance(
        drawn.mean(0), np.cov(drawn.T), real.mean(0), np.cov(real.T)
    )
    number = read(out)["numbers"][0]
    assert number["name"] == NAME
    assert number["value"] == pytest.approx(exact, rel=1e-6)


def test_the_record_says_what_the_number_is_of(
    out: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = read(out)["protocol"]
    assert protocol["samples"] == 12
    assert (protocol["step"], protocol["ema"], protocol["seed"]) == (7, True, 0)
    assert protocol["sampler"]["sampler"] == "ddpm"
    assert protocol["sampler"]["steps"] == 10
    assert "nearest" in protocol["rounding"]
    assert protocol["extractor"] == {"name": "pixels8"}
    assert protocol["reference"]["split"] == "train"
    assert protocol["reference"]["images"] == 1437
    evaluate(out, trained, SETTINGS, ["fid"])
    printed = capsys.readouterr().out
    assert "measured already" in printed
    assert f"{NAME}: " in printed
    assert "samples: 12" in printed


def test_the_images_themselves_are_at_no_distance_and_cover_all(
    tmp_path: Path, trained: Trained
) -> None:
    images = DIGITS.held_out[np.arange(360)]
    np.savez(tmp_path / "real.npz", images)
    settings = with_settings(
        samples=tmp_path / "real.npz",
        num_samples=None,
        reference="held_out",
        extractor="digits_cnn",
        batch_size=360,
    )
    found = evaluate(tmp_path, trained, settings, ["fid", "pr", "kid", "is"])
    value = {n["name"]: n["value"] for r in found.values() for n in r["numbers"]}
    assert value["frechet_distance_digits_cnn_360"] == pytest.approx(0, abs=1e-9)
    assert value["precision_digits_cnn_360"] == value["recall_digits_cnn_360"] == 1
    # The rows of one image may be in both subsets, so that it is below 0 by chance.
    assert value["kernel_distance_digits_cnn_360"] <= 0
    assert 5 < value["classifier_score_digits_cnn_360"] < 10


def test_statistics_in_a_file_stand_for_the_images(
    out: Path, tmp_path: Path, trained: Trained
) -> None:
    path = out / "reference_pixels8_train.npz"
    assert load_statistics(path).num_images == 1437
    drawn = np.concatenate(list(draw(trained, num=12, batch_size=8)))
    np.savez(tmp_path / "drawn.npz", drawn)
    settings = with_settings(reference=str(path), samples=tmp_path / "drawn.npz")
    again = evaluate(tmp_path, trained, settings, ["fid"])[NAME]
    value = read(out)["numbers"][0]["value"]
    assert again["numbers"][0]["value"] == pytest.approx(value, rel=1e-6)
    assert again["protocol"]["reference"]["images"] == 1437


def test_whatever_a_chain_can_be_told_is_an_option() -> None:
    options = {field.name for field in dataclasses.fields(Settings)}
    assert set(Chain._fields) <= options


@pytest.mark.parametrize(
    "metric,changes,message",
    [
        ("fid", {"extractor": "vgg"}, "no extractor 'vgg'"),
        ("fid", {"extractor": "cifar10_cnn"}, "this classifier knows"),
        ("fid", {"reference": "nowhere.npz"}, "there is no file nowhere.npz"),
        ("fid", {"reference": "test"}, "give train, held_out, or an .npz"),
        ("kid", {"reference": "some.npz"}, "kid compares with images"),
        ("pr", {"reference": "some.npz"}, "pr compares with images"),
        ("is", {}, "pixels8 is none"),
        ("fid", {"samples": Path("nowhere.npz")}, "no such file"),
        ("fid", {"sampler": "ddim", "steps": 99}, "99"),
        ("fid", {"label": (3,)}, "knows no classes"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    tmp_path: Path,
    trained: Trained,
    metric: str,
    changes: dict[str, object],
    message: str,
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        evaluate(tmp_path / "out", trained, with_settings(**changes), [metric])
    assert not (tmp_path / "out").exists()


def test_statistics_of_other_features_are_refused(
    tmp_path: Path, trained: Trained
) -> None:
    path = tmp_path / "stats.npz"
    settings = with_settings(reference=str(path))
    for statistics, message in (
        (Statistics(np.zeros(64), np.eye(64), 9, "inception"), "extractor inception"),
        (Statistics(np.zeros(3), np.eye(3)), "features of 3 numbers"),
    ):
        save_statistics(path, statistics)
        with pytest.raises(ValueError, match=message):
            evaluate(tmp_path / "out", trained, settings, ["fid"])


def test_samples_of_another_size_are_refused(tmp_path: Path, trained: Trained) -> None:
    np.savez(tmp_path / "x.npz", np.zeros((3, 16, 16, 1), np.uint8))
    settings = with_settings(samples=tmp_path / "x.npz", num_samples=3)
    with pytest.raises(ValueError, match="give samples of this model"):
        evaluate(tmp_path, trained, settings, ["fid"])
    settings = with_settings(samples=tmp_path / "x.npz", num_samples=4)
    with pytest.raises(ValueError, match="holds 3 images"):
        evaluate(tmp_path, trained, settings, ["fid"])
