"""evaluate.py as a person types it, killed and gone on with, and told wrong things."""

import csv
import dataclasses
import json
import re
from functools import partial
from pathlib import Path
from typing import Any
from typing import get_args
from typing import get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from PIL import Image
from test_scripts import run
from test_scripts import script

from ddpm_jax import keys as per_image
from ddpm_jax import parallel
from ddpm_jax import sample_files
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.config import Data
from ddpm_jax.config import Objective
from ddpm_jax.decoder import DECODERS
from ddpm_jax.evaluation import nll
from ddpm_jax.evaluation import records
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.evaluation.task import Measured
from ddpm_jax.evaluation.task import Number
from ddpm_jax.evaluation.task import Task
from ddpm_jax.images import to_model_range
from ddpm_jax.likelihood import LikelihoodTerms
from ddpm_jax.likelihood import bits_per_dim
from ddpm_jax.loading import Trained
from ddpm_jax.loading import load_trained
from ddpm_jax.ode_likelihood import TRACES
from ddpm_jax.rate_distortion import moments_of_terms
from ddpm_jax.rate_distortion import summarise
from ddpm_jax.weights import save_weights

NUM = 5


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights that have not been trained."""
    data = Data(source="digits", image_size=(8, 8), channels=1)
    config = dataclasses.replace(tiny.CONFIG, data=data)
    initial = partial(init_params, build(config))
    params = parallel.run_once(initial, jax.random.key(0))
    path = tmp_path_factory.mktemp("weights") / "ema"
    return save_weights(path, params, step=6, config=dataclasses.asdict(config))


@pytest.fixture(scope="module")
def trained(weights: Path) -> Trained:
    return load_trained(weights)


@pytest.fixture(scope="module")
def whole(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of an nll that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    settings = Settings(num=NUM, batch_size=4)
    return records.evaluate(out, trained, settings, ["nll"])["nll"]


def values(record: dict[str, Any]) -> dict[str, float]:
    return {number["name"]: number["value"] for number in record["numbers"]}


def columns(path: Path) -> dict[str, list[str]]:
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    return {name: list(cells) for name, *cells in zip(header, *rows, strict=True)}


@pytest.mark.slow
def test_evaluate_prints_and_stores_each_number_with_its_protocol(
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--workdir", weights, "--num", NUM, "--batch-size", 4, "--draws", 2)
    assert run("evaluate", *options, "--metrics", "nll,nll_ode") == 0
    said = capsys.readouterr().out
    out = tmp_path / "evaluation"
    stored = json.loads((out / "metrics.json").read_text())
    assert list(stored) == ["nll", "nll_ode"]
    records = {name: record for name, (record,) in stored.items()}
    for name, record in records.items():
        number = record["numbers"][0]
        assert number["unit"] == "bits/dim" and number["standard_error"] > 0
        assert f"{name}\n  bits per dimension: {number['value']:.5g} +- " in said
        wanted = {"images": NUM, "split": "held_out", "seed": 0, "step": 6, "ema": True}
        assert wanted.items() <= record["protocol"].items()
        assert f"    images in the split: {360}\n" in said
    assert records["nll"]["protocol"]["cdf of the decoder"] == "exact"
    assert records["nll"]["protocol"]["noise draws a term"] == 2
    assert records["nll_ode"]["protocol"]["trace"] == "hutchinson"
    files = [*records["nll"]["files"], "metrics.json", ".lock"]
    assert sorted(path.name for path in out.iterdir()) == sorted(files)


@pytest.mark.slow
def test_the_tables_add_up_to_the_numbers_and_the_picture_is_one(
    trained: Trained, tmp_path: Path
) -> None:
    settings = Settings(num=3, batch_size=4, cdf="tanh", seed=2)
    record = records.evaluate(tmp_path, trained, settings, ["nll"])["nll"]
    found, (table, curve_table, picture_file) = values(record), record["files"]
    terms = columns(tmp_path / table)
    assert terms["t"] == [str(t) for t in range(11)]
    total = sum(map(float, terms["bits_per_dim"]))
    assert total == pytest.approx(found["bits per dimension"], rel=1e-5)
    curve = columns(tmp_path / curve_table)
    assert (curve["reverse_time"][-1], curve["t"][-1]) == ("10", "0")
    rate, rmse = (float(curve[x][-1]) for x in ("rate_bits_per_dim", "rmse"))
    assert rate == pytest.approx(found["rate"], rel=1e-5)
    assert rmse == pytest.approx(found["RMSE"], rel=1e-5)
    with Image.open(tmp_path / picture_file) as picture:
        picture.load()
    assert record["protocol"]["cdf of the decoder"] == "tanh"
    exact = terms_of(trained, Task(trained, settings, tmp_path), cdf="tanh")
    rates = exact.prior + exact.terms[:, 0, 1:].sum(axis=1)
    assert found["rate"] == pytest.approx(float(rates.mean()), rel=1e-4)
    decoder = float(exact.terms[:, 0, 0].mean())
    assert found["distortion"] == pytest.approx(decoder, rel=1e-4)


def terms_of(trained: Trained, task: Task, cdf: str) -> LikelihoodTerms:
    """The bound of the images of a task, by the function itself."""
    rows, parts = task.measured.images.rows, trained.parts
    x_0 = to_model_range(jnp.asarray(task.measured.images[np.arange(len(rows))]))
    keys = per_image.fold_in_each(jax.random.key(task.settings.seed), rows)
    bound = partial(bits_per_dim, schedule=parts.schedule, cdf=cdf, **parts.sampler)
    terms: LikelihoodTerms = jax.jit(bound)(trained.params, keys, x_0)
    return terms


@pytest.mark.slow
def test_it_goes_on_after_a_kill_without_measuring_an_image_twice(
    trained: Trained,
    whole: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[int] = []

    def add(out: Path, start: int, rows: np.ndarray) -> None:
        if len(measured) == 4:
            raise KeyboardInterrupt
        keep(out, start, rows)
        measured.extend(range(start, start + len(rows)))

    keep = sample_files.add
    monkeypatch.setattr(sample_files, "add", add)
    with pytest.raises(KeyboardInterrupt):
        settings = Settings(num=NUM, batch_size=4)
        records.evaluate(tmp_path, trained, settings, ["nll"])
    assert measured == [0, 1, 2, 3] and not (tmp_path / "metrics.json").exists()
    measured.append(-1)
    other = dataclasses.replace(settings, seed=1)
    with pytest.raises(ValueError, match=r"another draw.*\n  seed: 0 -> 1"):
        records.evaluate(tmp_path, trained, other, ["nll"])
    settings = dataclasses.replace(settings, batch_size=2)
    record = records.evaluate(tmp_path, trained, settings, ["nll"])["nll"]
    assert measured[5:] == [4]
    assert record["protocol"] == whole["protocol"]
    for name, value in values(whole).items():
        assert values(record)[name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.slow
def test_what_is_stored_is_not_measured_again_unless_its_protocol_changes(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(num=3, batch_size=4, cdf="tanh")
    first = records.evaluate(tmp_path, trained, settings, ["nll"])
    never = records.METRICS["nll"]._replace(measure=None)
    monkeypatch.setitem(records.METRICS, "nll", never)
    again = records.evaluate(tmp_path, trained, settings, ["nll"])
    assert again == first
    assert "nll has been measured already" in capsys.readouterr().out
    monkeypatch.undo()
    settings = dataclasses.replace(settings, seed=9)
    other = records.evaluate(tmp_path, trained, settings, ["nll"])
    assert "has other protocols of nll" in capsys.readouterr().out
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored == {"nll": [first["nll"], other["nll"]]}
    files = first["nll"]["files"] + other["nll"]["files"]
    assert {path.name for path in tmp_path.iterdir()} == {
        *files,
        "metrics.json",
        ".lock",
    }
    assert len(set(files)) == 6


def test_a_smaller_num_takes_the_first_images_of_a_larger_one(
    trained: Trained, tmp_path: Path
) -> None:
    tasks = [Task(trained, Settings(num=n), tmp_path) for n in (3, 50, None)]
    rows = [task.measured.images.rows for task in tasks]
    np.testing.assert_array_equal(rows[0], rows[1][:3])
    np.testing.assert_array_equal(np.sort(rows[2]), np.arange(360))
    assert len(set(rows[1] // 36)) > 5  # from all over the split, not of its start


def test_all_metrics_are_checked_before_the_first_is_measured(
    trained: Trained, tmp_path: Path
) -> None:
    objective = Objective(prediction="v")
    config = dataclasses.replace(trained.config, objective=objective)
    model = trained._replace(config=config)
    with pytest.raises(ValueError, match="nll_ode asks the model between whole t"):
        records.evaluate(tmp_path / "out", model, Settings(num=2), ["nll", "nll_ode"])
    assert not (tmp_path / "out").exists()


def test_the_choices_of_evaluate_are_those_there_are() -> None:
    hints = get_type_hints(script("evaluate").Evaluate)
    assert get_args(hints["cdf"]) == tuple(DECODERS)
    assert get_args(hints["trace"]) == TRACES


def test_an_error_of_noise_alone_is_named_where_there_are_several_draws() -> None:
    of_images = np.ones(4), np.ones((4, 5)), np.ones((4, 5))
    for noise, last in ((1.0, "error by noise alone"), (np.nan, "RMSE")):
        bound = summarise(moments_of_terms(*of_images, np.full(4, noise)))
        assert nll.numbers(bound)[-1].name == last


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--metrics", "nll,fud"),
            "'fud', did you mean fid? Give one of nll",
        ),
        (("--metrics", ""), "--metrics has ''; give one of nll"),
        (("--num", 361), "--num is 361, and the held_out split of the data has 360"),
        (("--num", 0), "--num is 0; give at least 1"),
        (("--metrics", "fid", "--num", 5), "--num is of nll and nll_ode; give --num-s"),
        (("--num-reference", 0), "--num-reference is 0; give at least 1"),
        (("--draws", 0), "--draws is 0; give at least 1"),
        (("--seed", -1), "--seed is -1"),
        (("--data", "nowhere.zip"), "no such file or folder; give --data, where it is"),
        (("--out", __file__), "is a file; give a folder"),
        (("--no-ema",), "holds the EMA of one step; no other can be had"),
        (("--metrics", "nll_ode", "--tolerance", 0), "--tolerance is 0.0; give one"),
        (
            ("--metrics", "nll_ode", "--trace", "exact", "--probes", 3),
            "--probes is 3, the random vectors of --trace hutchinson, and the trace",
        ),
    ],
)
def test_bad_input_is_answered_in_one_sentence(
    arguments: tuple,
    sentence: str,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--workdir", weights, "--out", tmp_path / "out", *arguments)
    assert run("evaluate", *options) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_images_of_another_size_are_refused_unless_they_may_be_changed(
    trained: Trained, tmp_path: Path
) -> None:
    path = tmp_path / "large.npz"
    np.savez(path, arr_0=np.zeros((40, 16, 12, 3), np.uint8))
    task = Task(trained, Settings(data=str(path)), tmp_path)
    with pytest.raises(
        ValueError, match=r"are \(16, 12, 3\) and the model's \(8, 8, 1\)"
    ):
        task.measured  # noqa: B018
    fitted = Task(trained, Settings(data=str(path), fit="pad"), tmp_path)
    assert fitted.measured.images.shape == (2, 8, 8, 1)


def test_without_a_workdir_it_says_what_to_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("evaluate") == 2
    assert re.search("give --workdir, the folder of a run", capsys.readouterr().err)


@pytest.mark.parametrize(
    "text",
    [
        '{"nll": ',
        "[]",
        "3",
        '{"nll": 3}',
        '{"nll": [[]]}',
        '{"nll": [{"protocol": {}}]}',
        '{"nll": [{"protocol": 3, "numbers": []}]}',
        '{"nll": [{"protocol": {}, "numbers": [{"name": "rate"}]}]}',
    ],
)
def test_a_damaged_record_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(ValueError, match=r"metrics.json is damaged; delete it"):
        records.read_records(tmp_path)


def record_of(value: float) -> dict[str, Any]:
    number = {"name": "rate", "value": value, "standard_error": None, "unit": ""}
    return {"protocol": {"seed": 0}, "numbers": [number], "files": []}


def test_records_of_earlier_versions_are_read(tmp_path: Path) -> None:
    # One of each name, and not always finite.
    old = {"nll": record_of(1.0), "nll_ode": record_of(np.nan)}
    (tmp_path / "metrics.json").write_text(json.dumps(old))
    assert records.read_records(tmp_path) == {"nll": [old["nll"]], "nll_ode": []}
    records.store(tmp_path, "nll", record_of(2.0))
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "nll": [record_of(1.0), record_of(2.0)],
        "nll_ode": [],
    }


def test_a_record_names_a_model_that_its_weights_tell_from_others(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = Measured([Number("rate", 1.0, None, "")], [])
    metric = records.METRICS["nll"]._replace(measure=lambda task: one)
    monkeypatch.setitem(records.METRICS, "nll", metric)
    measured = partial(records.evaluate, settings=Settings(num=3), names=["nll"])
    old = measured(tmp_path, trained)["nll"]
    assert "model" not in old["protocol"]
    model = trained._replace(given="a/b@v1", revision="0123")
    # A record of before models were named is of these weights all the same.
    assert measured(tmp_path, model)["nll"] == old
    capsys.readouterr()
    new = measured(tmp_path / "new", model)["nll"]
    assert new["protocol"] == {"model": "a/b@v1", "revision": "0123", **old["protocol"]}
    assert "    model: a/b@v1\n    revision: 0123\n" in capsys.readouterr().out
    moved = trained._replace(given="c")
    assert measured(tmp_path / "new", moved)["nll"] == new


@pytest.mark.slow
def test_numbers_that_are_not_finite_are_not_stored(
    trained: Trained, tmp_path: Path
) -> None:
    huge = jax.tree.map(lambda x: np.full_like(x, 1e30), trained.params)
    settings = Settings(num=3, batch_size=4)
    with pytest.raises(ArithmeticError, match="nll is not stored, for bits per dim"):
        records.evaluate(tmp_path, trained._replace(params=huge), settings, ["nll"])
    # Nor do their rows stand in the way of other weights.
    assert not (tmp_path / "metrics.json").exists() and not (tmp_path / "nll").exists()


def test_weights_that_are_not_finite_are_refused(
    trained: Trained, tmp_path: Path
) -> None:
    wrong = jax.tree.map(lambda x: np.full_like(x, np.nan), trained.params)
    config = dataclasses.asdict(trained.config)
    path = save_weights(tmp_path / "ema", wrong, step=6, config=config)
    with pytest.raises(ValueError, match="weights that are not finite numbers"):
        load_trained(path)
