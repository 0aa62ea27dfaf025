"""train.py and sample.py as a person types them."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import jax
import numpy as np
import pytest
import tiny
from PIL import Image

from ddpm_jax import command
from ddpm_jax.build import build
from ddpm_jax.chains import Chain
from ddpm_jax.chains import check_chain
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Objective
from ddpm_jax.config import Sampler
from ddpm_jax.samplers import SAMPLERS
from ddpm_jax.spacings import SPACINGS

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
import sys
sys.path.insert(0, {tests!r})
import tiny

def get_config():
    return tiny.CONFIG
"""


def script(name: str) -> ModuleType:
    path, name = ROOT / f"{name}.py", f"ddpm_jax_{name}_script"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: object) -> int:
    return command.run(script(name).main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny_digits.py"
    path.write_text(CONFIG.format(tests=str(ROOT / "tests")))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["step 3/", "drawing 4 samples"])
def test_ctrl_c_saves_and_exits_130_and_the_same_command_goes_on(
    moment: str,
    config: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--config", config, "--workdir", tmp_path, "--log.every", "1"]
    line = [sys.executable, "train.py", *options, "--train.steps", "100000"]
    # On as many devices as here, so that this finds the programs of `trained`.
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(jax.local_device_count())}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, cwd=ROOT, env=env, **pipes) as process:
        assert process.stdout and process.stderr
        seen = ""
        for text in process.stdout:
            seen += text
            if text.startswith(moment):
                process.send_signal(signal.SIGINT)
                break
        rest, errors = process.communicate()
    assert process.returncode == 130, seen + rest + errors
    assert "Traceback" not in errors
    stopped = re.search(r"stopped at step (\d+), which is saved", errors)
    assert stopped and (tmp_path / "checkpoints" / stopped[1]).is_dir()
    options += ["--train.steps", str(int(stopped[1]) + 1), "--allow-config-change"]
    assert run("train", *options) == 0
    assert f"resuming from step {stopped[1]}\n" in capsys.readouterr().out


def test_sample_writes_a_grid_and_an_npz_and_says_which_weights(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--workdir", trained, "--num", 5, "--out", tmp_path, "--progressive")
    assert run("sample", *options, "--batch-size", 3, "--frames", 4) == 0
    said = capsys.readouterr().out
    assert "weights: EMA (0.9) of step 6, 53.1% of it still the untrained" in said
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as stored:
        assert stored.files == ["arr_0"]
        images = stored["arr_0"]
    assert images.shape == (5, 8, 8, 1) and images.dtype == np.uint8
    for name in ("grid.png", "chain_x_t.png", "chain_x_0.png", "chain.gif"):
        with Image.open(tmp_path / name) as picture:
            picture.load()


@pytest.mark.slow
def test_another_sampler_draws_in_few_steps(trained: Path, tmp_path: Path) -> None:
    options = ("--workdir", trained, "--num", 2, "--out", tmp_path)
    assert run("sample", *options, "--sampler", "dpmpp_2m", "--steps", 4) == 0
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as stored:
        assert stored["arr_0"].shape == (2, 8, 8, 1)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_takes_what_a_config_describes(
    sampler: str, learned: bool
) -> None:
    objective = Objective(loss="vlb", variance="learned") if learned else Objective()
    data = Data(image_size=(8, 8), channels=1)
    parts = build(Config(model=tiny.MODEL, data=data, objective=objective))
    check_chain(parts, Chain(sampler, None if learned else 4))


def test_the_choices_of_the_scripts_are_those_there_are() -> None:
    assert get_args(Sampler) == tuple(SAMPLERS)
    assert get_args(command.Spacing) == tuple(SPACINGS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--steps", 0), "--steps is 0; give 1..10"),
        (("--steps", 11), "--steps is 11; give 1..10"),
        (("--sampler", "ddim", "--eta", 2), "eta is 2.0; give a number in [0, 1]"),
        (("--sampler", "ddim", "--eta", "nan"), "eta is nan; give a number in"),
        (("--sampler", "unipc_2", "--eta", 1), "only ddim has an eta"),
        (("--steps", 4, "--threshold", 0), "threshold is 0.0; give a share"),
        (
            ("--steps", 4, "--progressive"),
            "--progressive shows the paper's",
        ),
    ],
)
def test_a_chain_that_cannot_be_is_refused_before_anything_is_written(
    arguments: tuple,
    sentence: str,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--workdir", trained, "--out", tmp_path / "out")
    assert run("sample", *options, *arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_sample_takes_an_older_step_and_the_raw_weights(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--workdir", trained, "--num", 1, "--out", tmp_path)
    assert run("sample", *options, "--step", 3, "--no-ema") == 0
    assert "weights: parameters of step 3, not averaged" in capsys.readouterr().out


@pytest.mark.slow
def test_forward_draws_a_picture_with_and_without_a_workdir(
    trained: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 10), (200, 30, 30)).save(picture)
    for more in ((), ("--workdir", trained)):
        options = ("--forward", picture, "--out", tmp_path / "out", "--frames", 3)
        assert run("sample", *options, *more) == 0
        with Image.open(tmp_path / "out" / "forward.png") as strip:
            assert strip.width > 3 * strip.height
            assert strip.mode == ("L" if more else "RGB")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give --workdir, the folder of a run"),
        (("--workdir", "nowhere"), "nowhere does not exist; give the folder of a run"),
        (("--workdir", __file__), "is a file; give the folder of a run"),
        (("--workdir", str(ROOT / "tests")), "there is no checkpoint in"),
        (("--num", 0), "--num is 0; give at least 1"),
        (("--batch-size", -1), "--batch-size is -1"),
        (("--seed", -1), "--seed is -1"),
        (("--seed", 2**32), "--seed is 4294967296; give at most 4294967295"),
        (("--out", __file__), "is a file; give a folder"),
        (("--forward", "nowhere.png"), "nowhere.png can't be read: No such file"),
        (("--forward", __file__), "can't be used: not an image"),
        (("--forward", "a.png", "--label", 3), "--label is of a draw, and --forward"),
        (("--forward", "a.png", "--progressive"), "--progressive is of a draw"),
        (("--forward", "a.png", "--pretrained", "b"), "--pretrained is of a draw"),
        (("--forward", "a.png", "--no-ema"), "--no-ema is of a draw"),
        (("--frames", 5), "--frames is of --progressive and of --forward"),
    ],
)
def test_sample_answers_bad_input_in_one_sentence(
    arguments: tuple, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sample", "--out", tmp_path / "out", *arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_draw_refuses_what_its_chain_does_not_have(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(picture)
    line, out = ("--workdir", trained, "--out", tmp_path / "out"), tmp_path / "out"
    for given, sentence in (
        (("--progressive", "--frames", 11), "--frames is 11 and the chain has 10 st"),
        (("--forward", picture, "--frames", 11), "--frames is 11 and the chain has 1"),
        (("--spacing", "karras"), "--spacing is of a chain of fewer steps"),
    ):
        assert run("sample", *line, *given) == 2
        said = capsys.readouterr().err
        assert sentence in said and said.count("\n") == 1
        assert not out.exists()


def test_sample_names_the_steps_there_are(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sample", "--workdir", trained, "--step", 4, "--out", tmp_path) == 2
    assert "the steps there are [3, 6]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give --config FILE"),
        (("--config", "nowhere.py"), "there is no config file nowhere.py"),
        (("--config", "setup.cfg"), "a config file ends in .py"),
        (("--train.learning-rate", "nan"), "train.learning_rate is nan"),
        (("--data.source", "nowhere"), "unknown data source 'nowhere'"),
        (("--model.ch", "6"), "num_groups"),
        (("--model.ch-mult", "1", "1", "1", "1", "1"), "multiple"),
        (("--train.batch-size", "3"), "use 2 or 4"),
    ],
)
def test_train_answers_bad_input_in_one_sentence(
    config: Path,
    arguments: tuple,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    given = arguments and arguments[0] != "--config"
    more = ("--config", config) if given else ()
    assert run("train", *more, *arguments, "--workdir", tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_was_damaged_is_not_sampled_from(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    for path in (copy / "checkpoints" / "6" / "ema_params").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:7])
    assert run("sample", "--workdir", copy, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("\n") == 1
