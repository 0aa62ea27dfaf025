"""What a person is told who mistypes, goes on with a run, or trains too short."""

import dataclasses
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from test_scripts import ROOT
from test_scripts import run
from test_scripts import script

from ddpm_jax import command
from ddpm_jax.checkpoint import open_checkpoints
from ddpm_jax.checkpoint import save
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import Process
from ddpm_jax.config import Train
from ddpm_jax.config import to_json
from ddpm_jax.train_loop import pace_remarks
from ddpm_jax.validation import from_dict
from ddpm_jax.validation import from_json
from ddpm_jax.validation import load_config
from ddpm_jax.validation import validate
from ddpm_jax.workdir import AnotherConfigError
from ddpm_jax.workdir import check_config

OTHER = Config(
    process=Process("cosine", 400, 0.001, 0.3),
    objective=Objective(clip_x0=False, self_condition=True),
    model=Model(
        ch=16,
        ch_mult=(1, 3),
        attention_resolutions=(),
        attention_head_dim=8,
        downsample_padding=(1, 1),
        remat=True,
    ),
    data=Data("my pictures", (8, 12), 1, "pad", 0.25, flip=False),
    train=Train(steps=7, learning_rate=1e-5, warmup_steps=0, init_from="runs/a b"),
    log=dataclasses.replace(tiny.CONFIG.log, keep_period=None),
)


def said_by(name: str, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(name, *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sample --sampler dpmpp2m", "--sampler is 'dpmpp2m', did you mean dpmpp_2m?"),
        ("sample --sampler=DDIM", "--sampler is 'DDIM', did you mean ddim? Give one"),
        ("sample --spacing karas", "did you mean karras?"),
        ("train --process.schedule cosin", "--process.schedule is 'cosin', did you me"),
        ("train --objective.loss_weight minsnr", "did you mean min_snr?"),
        ("train --objective.loss xyz", "'xyz'; give one of simple, vlb, hybrid"),
        ("evaluate --split heldout", "did you mean held_out?"),
        ("evaluate --metrics nll,fdi", "--metrics has 'fdi', did you mean fid?"),
        ("export --format diffuser", "did you mean diffusers?"),
        ("edit --workdir w --fit corp inpaint a --mask b", "did you mean crop?"),
        ("figure --workdir w nearest-neighbours --fit corp", "did you mean crop?"),
        ("sample --label 3 --label 4", "--label is given twice; give all its values"),
        ("sample --label --num 2", "--label has no value; give some, or leave it out"),
        ("edit img2img a.png --label", "--label has no value; give some, or leave"),
        ("edit --label 3 --label=4 img2img a.png", "--label is given twice; give all"),
    ],
)
def test_a_misspelt_choice_is_answered_with_the_near_one(
    line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_by(*shlex.split(line), capsys=capsys)
    assert sentence in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--spacing", "None"],
        ["--spacing=karras", "--sampler", "ddim"],
        ["--out", "--sampler"],
        ["--sampler"],
    ],
)
def test_a_choice_there_is_and_one_that_is_left_out_are_left_to_the_parser(
    words: list[str],
) -> None:
    command.check_choices(script("sample").Sample, words)


@pytest.mark.parametrize(
    ("section", "fields", "sentence"),
    [
        ("train", {"steps": -1}, "train.steps is -1; give at least 1"),
        ("train", {"steps": 1.5}, "train.steps is 1.5; give a whole number"),
        ("train", {"learning_rate": 0}, "train.learning_rate is 0; give more than 0"),
        ("train", {"learning_rate": "x"}, "train.learning_rate is 'x'; give a number"),
        ("train", {"learning_rate": float("inf")}, "is inf; give a finite number"),
        ("train", {"ema_decay": 1}, "train.ema_decay is 1; give less than 1"),
        ("train", {"seed": 2**32}, "is 4294967296; give less than 4294967296"),
        ("train", {"decay": "cosin"}, "train.decay is 'cosin', did you mean cosine?"),
        ("train", {"setps": 3}, "no field train.setps, did you mean steps? Give one"),
        ("model", {"ch_mult": []}, "model.ch_mult is []; give at least 1 of them"),
        ("model", {"ch_mult": 3}, "model.ch_mult is 3; give a tuple of numbers"),
        ("model", {"remat": 1}, "model.remat is 1; give True or False"),
        ("data", {"channels": 2}, "data.channels is 2; give one of 1, 3, 4"),
        ("data", {"image_size": [1]}, "data.image_size is [1]; give one more of them"),
        ("data", {"image_size": [1, 2, 3]}, "is [1, 2, 3]; give 2 of them"),
        ("data", {"source": 3}, "data.source is 3; give a word or a path"),
        ("train", {"init_from": ""}, "train.init_from is ''; give a path"),
    ],
)
def test_a_wrong_field_is_answered_with_what_is_allowed(
    section: str, fields: dict, sentence: str
) -> None:
    stored = dataclasses.asdict(Config())
    stored[section] |= fields
    with pytest.raises(ValueError) as refused:
        from_dict(stored)
    said = str(refused.value)
    assert sentence in said
    assert "Input" not in said and "pydantic" not in said and "\n" not in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '{"trian": {}}',
            "no field trian, did you mean train? Give one of pro",
        ),
        ('{"train": 3}', "train is 3; give a Train with its fields"),
        ("[1]", "the config is not JSON of a config: it is no object"),
        ("{", "the config is not JSON of a config: EOF"),
    ],
)
def test_json_that_is_no_config_is_answered_so_too(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="^the|^train") as refused:
        from_json(text)
    assert sentence in str(refused.value)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    body = f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nimport tiny\n"
    path.write_text(f"{body}\n\ndef get_config():\n    return tiny.CONFIG\n")
    return path


@pytest.mark.parametrize(("one", "two"), [(tiny.CONFIG, OTHER), (OTHER, Config())])
def test_overrides_are_the_flags_that_lead_from_one_config_to_another(
    one: Config, two: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.py"
    text = f"from ddpm_jax.config import *\nget_config = lambda: {validate(one)!r}\n"
    path.write_text(text)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    words = ["--config", str(path), *command.overrides(one, two)]
    parsed = command.parse(script("train").Train, words)
    assert command.config_of(parsed) == validate(two)
    assert command.overrides(one, one) == []


def test_a_refused_extension_is_answered_with_the_command_that_goes_on(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "a run"
    words = ("--config", str(config_file), "--workdir", str(workdir))
    given = dataclasses.replace(tiny.CONFIG, data=Data("digits", flip=False))
    began = dataclasses.replace(given, train=Train(steps=6, learning_rate=0.5))
    leave_run(workdir, began)
    said = said_by("train", *words, "--train.steps", "9", capsys=capsys)
    assert "train.learning_rate: 0.5 -> 0.001" in said
    line = said.splitlines()[-1].strip()
    assert "goes on, to step 9, with" in said
    program, script_name, *again = shlex.split(line)
    assert (program, script_name) == ("python", "train.py")
    options = command.parse(script("train").Train, again)
    assert options.workdir == workdir and options.allow_config_change
    wanted = dataclasses.replace(began, train=dataclasses.replace(began.train, steps=9))
    assert command.config_of(options) == wanted


@pytest.mark.parametrize(("asked", "steps"), [(6, 6), (1, 6), (2, 2)])
def test_what_goes_on_keeps_the_safeguard_unless_it_changes_the_steps(
    asked: int,
    steps: int,
    config_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run is at step 1 of 6; to fewer steps than it has taken it can't go on."""
    words = ("--config", str(config_file), "--workdir", str(tmp_path / "run"))
    leave_run(tmp_path / "run", tiny.with_train(learning_rate=0.5))
    said = said_by("train", *words, "--train.steps", str(asked), capsys=capsys)
    assert f"goes on, to step {steps}, with" in said
    _, _, *again = shlex.split(said.splitlines()[-1])
    options = command.parse(script("train").Train, again)
    assert options.train.steps == steps
    assert options.allow_config_change == (steps != 6)


def leave_run(workdir: Path, config: Config) -> None:
    """Leaves what a run of the digits with one checkpoint would."""
    data = dataclasses.replace(config.data, image_size=(8, 8), channels=1)
    finished = dataclasses.replace(config, data=data)
    with open_checkpoints(workdir, keep=1) as checkpoints:
        save(checkpoints, {"step": np.int32(1)}, dataclasses.asdict(finished))
    (workdir / "config.json").write_text(to_json(finished))


def test_what_a_run_may_change_on_the_way_stays_as_it_was_asked_for(
    tmp_path: Path,
) -> None:
    leave_run(tmp_path, tiny.CONFIG)
    asked = tiny.with_train(accumulate=2, learning_rate=0.5)
    with pytest.raises(AnotherConfigError) as refused:
        check_config(tmp_path, asked)
    wanted = tiny.with_train(accumulate=2)
    assert refused.value.going_on == validate(wanted)
    check_config(tmp_path, refused.value.going_on)


@pytest.mark.parametrize("name", ["sample", "evaluate", "export", "figure", "edit"])
def test_a_folder_without_a_run_is_answered_with_what_to_do(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    more = {"figure": ["strips"], "edit": ["img2img", "docs"], "export": ["--out", "x"]}
    words = ["--workdir", "docs", *more.get(name, [])]
    said = said_by(name, *words, capsys=capsys)
    assert "there is no checkpoint in docs, so that nothing is trained there" in said
    assert "python train.py --config configs/digits.py" in said
    leave_run(tmp_path / "runs" / "one", tiny.CONFIG)
    assert "there is one in runs/one" in said_by(name, *words, capsys=capsys)


def test_a_run_too_short_for_its_warm_up_and_its_average_is_told() -> None:
    assert pace_remarks(Train()) == []
    first, second = pace_remarks(Train(steps=500))
    assert "rises for 5000 of the 500 steps; --train.warmup-steps 25" in first
    assert f"at the end {0.9999**500:.1%} of the EMA" in second
    assert "--train.ema-decay 0.99 would" in second
    mended = Train(steps=500, warmup_steps=25, ema_decay=0.99)
    assert pace_remarks(mended) == []
    (third,) = pace_remarks(dataclasses.replace(mended, ema_decay=0.999, init_from="a"))
    assert "is still what it was initialised from, a" in third


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=str)
def test_no_config_of_this_project_is_too_short(path: Path) -> None:
    assert pace_remarks(load_config(path).train) == []
