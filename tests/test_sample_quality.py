"""Samples against images: the pipeline against its parts, protocols, and the door."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny

from ddpm_jax import model_images
from ddpm_jax import sample_files
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.chains import Chain
from ddpm_jax.data import Images
from ddpm_jax.data import load
from ddpm_jax.data import read_images
from ddpm_jax.data.order import permutation
from ddpm_jax.evaluation.records import evaluate
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.loading import Trained
from ddpm_jax.metrics.extractors import compile_extractor
from ddpm_jax.metrics.extractors import make_extractor
from ddpm_jax.metrics.frechet import frechet_distance
from ddpm_jax.metrics.inception_score import inception_score
from ddpm_jax.metrics.kid import kernel_distance
from ddpm_jax.metrics.precision_recall import precision_recall
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import load_statistics
from ddpm_jax.metrics.statistics import save_statistics
from ddpm_jax.sampling import compile_sampler
from ddpm_jax.train_loop import with_shape

DIGITS = load("digits")
CHAIN = Chain("ddim", 5)
SETTINGS = Settings(
    extractor="pixels8",
    num_samples=12,
    batch_size=8,
    sampler="ddim",
    steps=5,
    seed=3,
)
NAME = "frechet_distance_pixels8_12"


@pytest.fixture(scope="module")
def trained() -> Trained:
    return untrained()


def untrained() -> Trained:
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
def drawn(trained: Trained) -> np.ndarray:
    """Images 0..11 of the seed, by the chain of SETTINGS."""
    sample = compile_sampler(trained, seed=3, batch_size=8, chain=CHAIN)
    return np.concatenate([sample(np.arange(8)), sample(np.arange(8, 12))])


@pytest.fixture(scope="module")
def out(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the Frechet distance of 12 samples was measured."""
    folder = tmp_path_factory.mktemp("out")
    evaluate(folder, trained, SETTINGS, ["fid"])
    return folder


def read(folder: Path) -> dict[str, Any]:
    """The record of the Frechet distance."""
    record: dict[str, Any]
    (record,) = json.loads((folder / "metrics.json").read_text())[NAME]
    return record


def with_settings(**changes: object) -> Settings:
    if "samples" in changes:  # then nothing is drawn
        changes = {"sampler": None, "steps": None, **changes}
    return dataclasses.replace(SETTINGS, **changes)


def settings_of(samples: Path) -> Settings:
    """All that evaluates a few images, of the samples and of the data."""
    return Settings(
        samples=samples,
        extractor="digits_cnn",
        num=6,
        num_reference=40,
        batch_size=4,
        draws=2,
    )


def pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255


def gaussian(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = pixels(images)
    return x.mean(0), np.cov(x.T)


def numbers(records: dict[str, Any]) -> dict[str, float]:
    return {n["name"]: n["value"] for r in records.values() for n in r["numbers"]}


def test_the_pipeline_measures_the_images_that_sample_py_draws(
    out: Path, drawn: np.ndarray
) -> None:
    real = DIGITS.train[np.arange(len(DIGITS.train))]
    exact = frechet_distance(*gaussian(drawn), *gaussian(real))
    number = read(out)["numbers"][0]
    assert number["name"] == NAME
    assert number["value"] == pytest.approx(exact, rel=1e-6)


def test_the_record_says_what_the_number_is_of(
    out: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = read(out)["protocol"]
    assert protocol["samples"] == 12
    assert (protocol["step"], protocol["ema"], protocol["seed"]) == (7, True, 3)
    assert protocol["sampler"]["sampler"] == "ddim"
    assert protocol["sampler"]["steps"] == 5
    assert "nearest" in protocol["rounding"]
    assert protocol["extractor"] == {"name": "pixels8"}
    assert protocol["reference"]["split"] == "train"
    assert protocol["reference"]["images"] == 1437
    evaluate(out, trained, SETTINGS, ["fid"])
    printed = capsys.readouterr().out
    assert "measured already" in printed
    assert f"{NAME}: " in printed
    assert "samples: 12" in printed


@pytest.mark.slow
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
    value = numbers(evaluate(tmp_path, trained, settings, ["fid", "pr", "kid", "is"]))
    name = "digits_cnn_360_vs_360"
    assert value[f"frechet_distance_{name}"] == pytest.approx(0, abs=1e-9)
    assert value[f"precision_{name}"] == value[f"recall_{name}"] == 1
    # The rows of one image may be in both subsets, so that it is below 0 by chance.
    assert value[f"kernel_distance_{name}"] <= 0
    assert 5 < value["classifier_score_digits_cnn_360"] < 10


@pytest.fixture(scope="module")
def faint() -> np.ndarray:
    """Digits, as samples: fainter ones, of which some are copies."""
    images = np.asarray(DIGITS.train[np.arange(70)])
    return np.concatenate([images[:20], (images[20:] * 0.7).astype(np.uint8)])


def test_each_metric_compares_the_samples_with_the_reference(
    tmp_path: Path, trained: Trained, faint: np.ndarray
) -> None:
    np.savez(tmp_path / "faint.npz", faint)
    settings = with_settings(
        samples=tmp_path / "faint.npz",
        num_samples=60,
        reference="held_out",
        num_reference=90,
        extractor="digits_cnn",
        batch_size=90,
    )
    value = numbers(evaluate(tmp_path, trained, settings, ["fid", "kid", "pr", "is"]))
    # In an order that is shuffled once for all.
    real = DIGITS.held_out[permutation(0, 0, 360)[:90]]
    extract = compile_extractor(make_extractor("digits_cnn"), (8, 8, 1), 90)
    x, y = extract(faint[:60]), extract(real)
    statistics = [
        part
        for z in (x, y)
        for part in (z.features.mean(0, dtype=np.float64), np.cov(z.features.T))
    ]
    name = "digits_cnn_60_vs_90"
    distance = frechet_distance(*statistics)
    assert value[f"frechet_distance_{name}"] == pytest.approx(distance, rel=1e-5)
    kernel = kernel_distance(x.features, y.features, subset_size=60)[0]
    assert value[f"kernel_distance_{name}"] == pytest.approx(kernel, rel=1e-6)
    precision, recall = precision_recall(x.features, y.features)
    assert value[f"precision_{name}"] == precision < 1
    assert value[f"recall_{name}"] == recall < 1
    assert precision != recall
    score = inception_score(x.logits)[0]
    assert value["classifier_score_digits_cnn_60"] == pytest.approx(score, rel=1e-6)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    ((record,),) = (stored[key] for key in stored if key.startswith("kernel"))
    assert record["protocol"]["reference"]["images"] == 90
    assert record["protocol"]["images of a subset"] == 60


@pytest.mark.slow
def test_samples_that_are_read_are_nobody_s_but_what_draw_json_says(
    tmp_path: Path, trained: Trained, faint: np.ndarray
) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, faint)
    settings = with_settings(samples=path, num_samples=None)
    (record,) = evaluate(tmp_path / "1", trained, settings, ["fid"]).values()
    assert not {"step", "ema", "process", "sampler", "seed"} & set(record["protocol"])
    assert record["protocol"]["samples from"] == str(path)
    assert record["protocol"]["drawn by"] == "unknown"
    draw = {"seed": 4, "step": 9, "chain": {"steps": 5}, "images": [100, 170]}
    sample_files.write_draw(tmp_path, draw)
    (record,) = evaluate(tmp_path / "2", trained, settings, ["fid"]).values()
    assert record["protocol"]["drawn by"] == draw
    sample_files.write_draw(tmp_path, draw | {"images": [100, 140]})  # of other images
    (record,) = evaluate(tmp_path / "3", trained, settings, ["fid"]).values()
    assert record["protocol"]["drawn by"] == "unknown"


@pytest.mark.slow
def test_one_other_image_is_another_set(
    tmp_path: Path, trained: Trained, faint: np.ndarray
) -> None:
    path, images = tmp_path / "x.npz", np.concatenate([faint, faint, faint])
    settings = with_settings(samples=path, num_samples=None)
    values = []
    for pixel in (0, 255):
        images[100, 0, 0] = pixel  # not one of 64 that are evenly spread
        np.savez(path, images)
        (record,) = evaluate(tmp_path / "out", trained, settings, ["fid"]).values()
        values.append(record["numbers"][0]["value"])
    assert values[0] != values[1]


@pytest.mark.slow
def test_samples_are_read_once_for_all_metrics(
    tmp_path: Path,
    trained: Trained,
    faint: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Path] = []

    def read(path: Path, channels: int | None) -> Images:
        calls.append(path)
        return read_images(path, channels)

    monkeypatch.setattr(model_images, "read_images", read)
    np.savez(tmp_path / "x.npz", faint)
    settings = with_settings(samples=tmp_path / "x.npz", num_samples=None)
    evaluate(tmp_path / "out", trained, settings, ["fid", "kid", "pr"])
    assert calls == [tmp_path / "x.npz"]


def test_statistics_in_a_file_stand_for_the_images(
    out: Path, tmp_path: Path, trained: Trained, drawn: np.ndarray
) -> None:
    path = out / read(out)["files"][0]
    assert path.name.startswith("reference_pixels8_train_1437_")
    assert load_statistics(path).num_images == 1437
    np.savez(tmp_path / "drawn.npz", drawn)
    settings = with_settings(reference=str(path), samples=tmp_path / "drawn.npz")
    (again,) = evaluate(tmp_path, trained, settings, ["fid"]).values()
    # Whether that is a whole training set the file does not say.
    assert again["numbers"][0]["name"] == f"{NAME}_vs_1437"
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
        ("fid", {"samples": Path("x.npz"), "steps": 9}, "and --steps is of a chain"),
        ("fid", {"sampler": "ddim", "steps": 99}, "99"),
        ("fid", {"label": (3,)}, "knows no classes"),
        ("fid", {"num_samples": 1}, "at least 2 .* one of 1; give .* --num-samples"),
        ("fid", {"num_reference": 1}, "at least 2 .* one of 1; .* --num-reference"),
        ("kid", {"num_reference": 1}, "at least 2 .* one of 1; .* --num-reference"),
        ("pr", {"num_samples": 3}, "at least 4 .* one of 3; give .* --num-samples"),
        ("pr", {"num_reference": 3}, "at least 4 .* one of 3; .* --num-reference"),
        ("kid", {"num_reference": 1438}, "--num-reference is 1438, and the train"),
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
        (Statistics(np.zeros(64), np.triu(np.ones((64, 64)))), "not symmetric"),
        (Statistics(np.full(64, np.nan), np.eye(64)), "not finite"),
    ):
        save_statistics(path, statistics)
        with pytest.raises(ValueError, match=message):
            evaluate(tmp_path / "out", trained, settings, ["fid"])


def test_samples_of_another_size_are_refused(tmp_path: Path, trained: Trained) -> None:
    settings = with_settings(samples=tmp_path / "x.npz", num_samples=3)
    # Colours that were thrown away would be those of other images.
    for shape in ((3, 16, 16, 1), (3, 8, 8, 3)):
        np.savez(tmp_path / "x.npz", np.zeros(shape, np.uint8))
        with pytest.raises(ValueError, match="give samples of this model"):
            evaluate(tmp_path, trained, settings, ["fid"])
    np.savez(tmp_path / "x.npz", np.zeros((3, 8, 8, 1), np.uint8))
    settings = with_settings(samples=tmp_path / "x.npz", num_samples=4)
    with pytest.raises(ValueError, match="holds 3 images"):
        evaluate(tmp_path, trained, settings, ["fid"])
