"""The distance that a run logs: the one of evaluate.py, and the same run otherwise."""

import dataclasses
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from typing import get_args

import jax
import numpy as np
import pytest
import tiny
from test_scripts import run
from two_processes import in_two_processes

from ddpm_jax import parallel
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.checkpoint import restore_weights
from ddpm_jax.config import Config
from ddpm_jax.config import ExtractorName
from ddpm_jax.data import load
from ddpm_jax.evaluation import while_training
from ddpm_jax.evaluation.records import evaluate
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.evaluation.while_training import Metric
from ddpm_jax.evaluation.while_training import compile_metric
from ddpm_jax.evaluation.while_training import measure
from ddpm_jax.evaluation.while_training import metric_task
from ddpm_jax.evaluation.while_training import score_name
from ddpm_jax.loading import load_trained
from ddpm_jax.logs import read_metrics
from ddpm_jax.metrics import inception_weights
from ddpm_jax.metrics.extractors import EXTRACTORS
from ddpm_jax.train_loop import train
from ddpm_jax.train_loop import with_shape
from ddpm_jax.validation import validate

NAME = "frechet_distance_pixels8_10"
DIGITS = load("digits")
LOG = {
    "metric_every": 1,
    "metric_samples": 10,
    "metric_extractor": "pixels8",
    "metric_steps": 2,
    "checkpoint_every": 1,
    "keep": 1,
    "keep_best": True,
}


def with_log(config: Config, **changes: object) -> Config:
    """A config with other fields in its log section."""
    log = dataclasses.replace(config.log, **{**LOG, **changes})
    return dataclasses.replace(config, log=log)


CONFIG = with_log(tiny.CONFIG)
# A rate so large that more training makes the samples worse.
WORSENING = with_log(tiny.with_train(learning_rate=1.0, warmup_steps=1, ema_decay=0.5))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a run that measured each of its six steps."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    train(CONFIG, workdir)
    return workdir


@pytest.fixture(scope="module")
def metric(tmp_path_factory: pytest.TempPathFactory) -> Metric:
    """A metric outside of a run."""
    return compiled(tmp_path_factory.mktemp("metric"))


def compiled(workdir: Path) -> Metric:
    config = with_shape(CONFIG, DIGITS)
    task = metric_task(config, build(config), workdir)
    assert task is not None
    return compile_metric(task, DIGITS.train, params(0))


def params(seed: int) -> Any:  # noqa: ANN401
    """Parameters on the devices, of which no two seeds draw the same samples."""
    parts, random = build(with_shape(CONFIG, DIGITS)), np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(init_params, parts), jax.random.key(0))
    return parallel.replicate(
        jax.tree.map(
            lambda x: random.normal(scale=0.1, size=x.shape).astype(np.float32), shapes
        )
    )


def logged(workdir: Path) -> dict[float, float]:
    """The metric by step."""
    lines = read_metrics(workdir / "metrics.jsonl")
    return {line["step"]: line[NAME] for line in lines if NAME in line}


def on_disk(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


@pytest.mark.slow
def test_the_number_is_what_evaluate_py_says_of_the_checkpoint(
    measured: Path, tmp_path: Path
) -> None:
    trained = load_trained(measured, step="best")
    settings = Settings(
        extractor="pixels8",
        num_samples=10,
        sampler="dpmpp_2m",
        steps=2,
        batch_size=CONFIG.train.batch_size,
    )
    record = evaluate(tmp_path, trained, settings, ["fid"])[NAME]
    assert record["numbers"][0]["name"] == NAME
    value = logged(measured)[trained.step]
    assert record["numbers"][0]["value"] == pytest.approx(value, rel=1e-9)
    real = DIGITS.train[np.arange(1437)].reshape(1437, -1) / 255
    with np.load(next(measured.glob("reference_pixels8_1437_*.npz"))) as reference:
        np.testing.assert_allclose(reference["mu"], real.mean(0), atol=1e-6)
        np.testing.assert_allclose(reference["sigma"], np.cov(real.T), atol=1e-6)


@pytest.mark.slow
def test_the_best_of_a_run_is_drawn_from(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = logged(measured)
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    best = min(found, key=lambda step: (found[step], -step))
    assert on_disk(measured) == sorted({best, 6})
    options = ("--workdir", measured, "--num", 1, "--out", tmp_path / "samples")
    assert run("sample", *options, "--step", "best") == 0
    assert f"of step {best}, " in capsys.readouterr().out


@pytest.mark.slow
def test_measuring_does_not_change_what_is_trained(
    measured: Path, trained: Path
) -> None:
    assert not logged(trained)
    for ema in (True, False):
        one, other = (restore_weights(w, ema=ema)[0] for w in (measured, trained))
        jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_where_nothing_is_measured_nothing_is_compiled_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = counted(monkeypatch)
    monkeypatch.setattr("ddpm_jax.evaluation.task.make_extractor", None)
    train(tiny.CONFIG, tmp_path)
    # The step, the held-out loss and the grid.
    assert len(programs) == 3 and not list(tmp_path.glob("*.npz"))


@pytest.mark.slow
def test_the_best_outlives_worse_ones_and_a_crash_and_the_run_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"
    train(WORSENING, whole)
    found = logged(whole)
    best = min(found, key=lambda step: found[step])
    assert best < 5 and on_disk(whole) == [best, 6]

    def crash(*arguments: Any) -> dict[str, float]:  # noqa: ANN401
        if len(logged(crashed)) == 5:
            raise OSError("the power fails")
        return measure(*arguments)

    monkeypatch.setattr("ddpm_jax.train_loop.measure", crash)
    with pytest.raises(OSError, match="the power fails"):
        train(WORSENING, crashed)
    monkeypatch.undo()
    assert on_disk(crashed) == [best, 5]
    train(WORSENING, crashed)
    assert logged(crashed) == found and on_disk(crashed) == [best, 6]
    for step in (best, 6):
        one, other = (restore_weights(w, step=step)[0] for w in (whole, crashed))
        jax.tree.map(np.testing.assert_array_equal, one, other)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows with every program that `parallel` compiles."""
    programs: list[object] = []
    original = parallel._compile

    def count(mapped: Any, *args: object) -> Any:  # noqa: ANN401
        programs.append(mapped)
        return original(mapped, *args)

    monkeypatch.setattr(parallel, "_compile", count)
    return programs


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """A list that grows whenever JAX traces or compiles anything."""
    events: list[str] = []

    def listen(event: str, seconds: float, **details: object) -> None:
        if "/compile/" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def test_the_second_measurement_compiles_nothing_and_sees_the_same_noise(
    metric: Metric, compilations: list[str]
) -> None:
    one, other = params(0), params(1)
    first = measure(metric, one, threading.Event())
    compilations.clear()
    second = measure(metric, other, threading.Event())
    again = measure(metric, one, threading.Event())
    assert compilations == []
    assert first == again != second and list(first) == [NAME]


def test_the_counter_of_compilations_counts(compilations: list[str]) -> None:
    jax.jit(lambda x: x + 1)(1.0)
    assert compilations


@pytest.mark.slow
def test_the_training_images_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = compiled(tmp_path)
    [path] = tmp_path.glob("reference_pixels8_1437_*.npz")
    monkeypatch.setattr(while_training, "stream", None)  # cannot be called
    again = compiled(tmp_path)
    np.testing.assert_array_equal(one.reference.sigma, again.reference.sigma)
    # Of other images it is another file.
    shutil.move(path, tmp_path / "reference_pixels8_1437_00000000.npz")
    with pytest.raises(TypeError):
        compiled(tmp_path)


TWO_PROCESSES = """
import threading
from ddpm_jax.evaluation.while_training import measure
from test_while_training import NAME, compiled, params
print(measure(compiled(workdir), params(0), threading.Event())[NAME])
"""


@pytest.mark.slow
def test_two_processes_share_the_samples_and_both_know_the_number(
    metric: Metric, tmp_path: Path
) -> None:
    outputs = in_two_processes(TWO_PROCESSES, tmp_path)
    expected = measure(metric, params(0), threading.Event())[NAME]
    for out in outputs:
        assert float(out.splitlines()[-1]) == pytest.approx(expected, rel=1e-4)
    assert outputs[0].splitlines()[-1] == outputs[1].splitlines()[-1]


def test_a_run_that_is_asked_to_stop_does_not_measure_on(metric: Metric) -> None:
    stop = threading.Event()
    stop.set()
    assert measure(metric, params(0), stop) == {}


def test_what_is_best_is_the_metric_or_else_the_held_out_loss(tmp_path: Path) -> None:
    config = with_shape(CONFIG, DIGITS)
    task = metric_task(config, build(config), tmp_path)
    assert score_name(config, task) == NAME
    assert score_name(config, None) == "held_out_loss_ema"
    assert score_name(with_log(config, keep_best=False), task) is None


def test_a_model_of_classes_draws_each_in_turn(tmp_path: Path) -> None:
    model = dataclasses.replace(tiny.MODEL, num_classes=10)
    config = with_shape(dataclasses.replace(CONFIG, model=model), DIGITS)
    task = metric_task(config, build(config), tmp_path)
    assert task is not None and task.settings.label == tuple("0123456789")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metric_extractor": "cifar10_cnn"}, "measured: the images are .* knows"),
        ({"metric_extractor": "inception"}, "measured: .* can't be fetched"),
        ({"metric_extractor": "vgg"}, "log.metric_extractor is 'vgg'"),
        ({"metric_steps": 11}, r"log.metric_steps is 11; give 1\.\.10"),
        ({"metric_samples": 1}, "log.metric_samples is 1; give at least 2"),
        ({"metric_every": 4, "checkpoint_every": 6}, "metric_every is 4 while .* is 6"),
        (
            {"metric_every": None, "eval_every": 4, "checkpoint_every": 6},
            "log.eval_every is 4 while log.checkpoint_every is 6",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    tmp_path: Path,
    changes: dict[str, object],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No weights are there, and nothing listens on port 1 of this machine.
    monkeypatch.setattr(inception_weights, "URL", "https://127.0.0.1:1/w.pth")
    monkeypatch.setattr(inception_weights, "cache_path", lambda: tmp_path / "w.pth")
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as refused:
        train(with_log(CONFIG, **changes), tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_metric_between_the_steps_of_a_dispatch_is_refused() -> None:
    train_two = dataclasses.replace(CONFIG.train, steps_per_dispatch=2)
    config = dataclasses.replace(CONFIG, train=train_two)
    even = {"every": 2, "eval_every": 2, "sample_every": 2, "checkpoint_every": 2}
    with pytest.raises(ValueError, match="log.metric_every is 1, which is not a"):
        validate(with_log(config, **even))
    validate(with_log(config, **even, metric_every=4))


def test_rare_measurements_of_frequent_checkpoints_may_choose_the_best() -> None:
    validate(with_log(CONFIG, metric_every=6, checkpoint_every=2))
    validate(with_log(CONFIG, metric_every=2, checkpoint_every=6))


def test_the_extractors_of_a_config_are_those_there_are() -> None:
    assert get_args(ExtractorName) == tuple(EXTRACTORS)
