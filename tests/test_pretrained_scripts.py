"""Models of other projects as scripts use them, and without their libraries.

tests/test_export.py draws from a folder of diffusers.
"""

import dataclasses
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from diffusers_files import WEIGHTS
from PIL import Image
from test_scripts import ROOT
from test_scripts import run

from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.checkpoint import restore_weights
from ddpm_jax.config import Data
from ddpm_jax.exporting import export_diffusers
from ddpm_jax.loading import Trained
from ddpm_jax.loading import load_trained

CONFIG = dataclasses.replace(
    tiny.CONFIG, data=Data(source="digits", image_size=(8, 8), channels=1)
)
# Everything that a file is read with, where none of these can be imported.
READ = """
import sys

for name in ("torch", "diffusers", "tensorflow"):
    sys.modules[name] = None
from pathlib import Path

from ddpm_jax.interop.tf_checkpoint import read_tf_checkpoint
from ddpm_jax.interop.torch_file import read_torch_file
from ddpm_jax.loading import load_pretrained

files = Path("tests/fixtures")
assert read_torch_file(files / "torch/zip.pt")
assert read_torch_file(files / "torch/legacy.pt")
assert read_tf_checkpoint(files / "tensorflow/model.ckpt")
print(load_pretrained(sys.argv[1]).origin)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of diffusers whose network is the smallest one of the tests."""
    parts = build(CONFIG)
    shapes = jax.eval_shape(partial(init_params, parts), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: rng.normal(0, 0.1, x.shape).astype(np.float32), shapes
    )
    out = tmp_path_factory.mktemp("diffusers") / "model"
    export_diffusers(Trained(CONFIG, parts, params, step=0, ema=True), out)
    return out


@pytest.mark.slow
def test_neither_torch_nor_diffusers_nor_tensorflow_is_needed(folder: Path) -> None:
    line = [sys.executable, "-c", READ, str(folder)]
    found = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    assert found.stdout == f"{folder}, a folder of diffusers\n"


@pytest.mark.slow
def test_evaluate_measures_a_folder_of_diffusers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("--pretrained", folder, "--data", "digits", "--out", tmp_path)
    assert run("evaluate", *line, "--num", 2, "--batch-size", 4) == 0
    assert f"weights: {folder}, a folder of diffusers\n" in capsys.readouterr().out
    (record,) = json.loads((tmp_path / "metrics.json").read_text())["nll"]
    assert record["protocol"]["model"] == str(folder)
    (number, *_) = record["numbers"]
    assert np.isfinite(number["value"])
    assert run("evaluate", *line[:2], "--out", tmp_path / "none") == 2
    assert "--data" in capsys.readouterr().err


@pytest.mark.slow
def test_train_begins_as_a_folder_of_diffusers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.py"
    config.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "import tiny\n\ndef get_config():\n    return tiny.CONFIG\n"
    )
    line = ("--config", config, "--workdir", tmp_path / "run", "--init-from", folder)
    assert run("train", *line, "--train.steps", 1, "--log.eval-every", 9) == 0
    assert f"initialised from {folder}; weights: {folder}" in capsys.readouterr().out
    # The warm-up's first rate is 0, so after a step it is what it began as.
    params = restore_weights(tmp_path / "run", step=1, ema=False)[0]
    jax.tree.map(np.testing.assert_array_equal, params, load_trained(folder).params)


@pytest.mark.parametrize(
    "words", [("--label", 3), ("--label", "cat"), ("--guidance", 2)]
)
@pytest.mark.parametrize("script", ["sample", "edit"])
def test_a_model_without_classes_is_asked_for_none(
    folder: Path,
    tmp_path: Path,
    script: str,
    words: tuple[object, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "picture.png")
    mode = ("img2img", tmp_path / "picture.png") if script == "edit" else ()
    line = ("--pretrained", folder, *words, "--out", tmp_path / "out", *mode)
    assert run(script, *line) == 2
    said = capsys.readouterr().err
    assert "knows no classes; leave out --label and --guidance\n" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_changed_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "unet").mkdir()
    for name in ("unet/config.json", f"unet/{WEIGHTS}"):
        (tmp_path / name).write_bytes((folder / name).read_bytes()[:-9])
    for script, line in (
        ("sample", ("--out", tmp_path / "out")),
        ("evaluate", ("--data", "digits", "--out", tmp_path / "out")),
        ("export", ("--out", tmp_path / "out")),
    ):
        assert run(script, "--pretrained", tmp_path, *line) == 2
        assert "unet/config.json is not JSON" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
