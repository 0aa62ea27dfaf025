"""export.py: three forms of one model, and what each is good for."""

import dataclasses
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny
from test_scripts import run

from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.chains import Chain
from ddpm_jax.config import Data
from ddpm_jax.exporting import export_safetensors
from ddpm_jax.sampling import Trained
from ddpm_jax.sampling import describe
from ddpm_jax.sampling import draw
from ddpm_jax.sampling import load_trained
from ddpm_jax.weights import save_weights

CONFIG = dataclasses.replace(
    tiny.CONFIG, data=Data(source="digits", image_size=(8, 8), channels=1)
)
# What a user of the program types, who has JAX and not this project.
USER = """
import sys
import jax
import numpy as np
from safetensors.numpy import load_file

with open("sampler.jax_export", "rb") as file:
    sampler = jax.export.deserialize(bytearray(file.read()))
weights = load_file("weights.safetensors")
for count in (3, 1):
    images = sampler.call(weights, np.uint32(7), np.arange(count, dtype=np.uint32))
    np.save(f"images_{count}.npy", images)
assert not [name for name in sys.modules if name.startswith(("ddpm_jax", "flax"))]
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as a file of weights, of which none is zero."""
    parts = build(CONFIG)
    shapes = jax.eval_shape(partial(init_params, parts), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape, scale=0.3), shapes)
    path = tmp_path_factory.mktemp("weights") / "ema.safetensors"
    return save_weights(path, params, step=9, config=dataclasses.asdict(CONFIG))


@pytest.mark.slow
def test_a_program_draws_the_same_images_without_this_project(
    weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "program"
    line = ("--workdir", weights, "--format", "stablehlo", "--out", out)
    assert run("export", *line) == 0
    subprocess.run([sys.executable, "-c", USER], cwd=out, check=True)
    (images,) = draw(load_trained(weights), num=3, seed=7)
    for count in (3, 1):
        drawn = np.load(out / f"images_{count}.npy")
        assert drawn.dtype == np.uint8
        assert drawn.shape == images[:count].shape
        apart = np.abs(drawn.astype(int) - images[:count])
        assert (apart <= 1).mean() >= 0.999


@pytest.mark.slow
def test_a_folder_of_diffusers_draws_the_same_images_here(
    weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "folder"
    assert run("export", "--workdir", weights, "--out", out) == 0
    images = []
    for name, line in (
        ("one", ("--workdir", weights)),
        ("two", ("--pretrained", out)),
    ):
        assert run("sample", *line, "--num", 2, "--out", tmp_path / name) == 0
        with np.load(tmp_path / name / "samples.npz") as file:
            images.append(file["arr_0"])
    np.testing.assert_array_equal(*images)
    assert (
        json.loads((out / "model_index.json").read_text())["unet"][1] == "UNet2DModel"
    )


def test_a_file_of_weights_is_the_model(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "again.safetensors"
    line = ("--workdir", weights, "--format", "safetensors", "--out", path)
    assert run("export", *line) == 0
    one, two = load_trained(weights), load_trained(path)
    assert one.config == two.config
    assert one.step == two.step
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)


@pytest.mark.slow
@pytest.mark.parametrize(
    "known",
    [
        {"ema": True, "origin": "x", "sampler": "ddim", "spacing": "leading"},
        {"ema": False, "origin": None, "sampler": "ddpm", "spacing": "uniform"},
    ],
)
def test_a_file_of_weights_says_which_they_are(
    weights: Path, tmp_path: Path, known: dict[str, Any]
) -> None:
    """Else one of another project is called untrained, and its chains lie elsewhere."""
    trained = load_trained(weights)._replace(**known)
    (path,) = export_safetensors(trained, tmp_path / "m0.5")
    assert path.name == "m0.5.safetensors"
    again = load_trained(path, ema=known["ema"])
    assert {name: getattr(again, name) for name in known} == known
    assert describe(again) == describe(trained)
    # A model that is not averaged needs no --no-ema; one that is has no other copy.
    assert load_trained(path).ema == known["ema"]
    with pytest.raises(ValueError, match="of one step; no other can be had"):
        load_trained(path, step=3)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="m0.5.safetensors is there already"):
        export_safetensors(trained, tmp_path / "m0.5")
    assert path.read_bytes() == before


def test_a_program_takes_the_steps_where_the_model_has_them(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains: list[Chain] = []

    def keep(trained: Trained, out: Path, chain: Chain) -> list[Path]:
        chains.append(chain)
        return []

    monkeypatch.setattr("ddpm_jax.exporting.export_sampler", keep)
    trained = load_trained(weights)._replace(spacing="leading")
    (path,) = export_safetensors(trained, tmp_path / "leading")
    line = ("--workdir", path, "--format", "stablehlo", "--out", tmp_path / "out")
    assert run("export", *line, "--sampler", "ddim", "--steps", 5) == 0
    assert run("export", *line) == 0
    assert chains == [Chain("ddim", 5, "leading"), Chain()]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give --out, where to write"),
        (("--out", "x"), "give --workdir, the folder of a run"),
        (("--out", "x", "--workdir", "a", "--pretrained", "b"), "and not both"),
        (("--out", "x", "--steps", 3), "are for --format stablehlo"),
        (("--out", "x", "--workdir", "nowhere"), "nowhere does not exist"),
        (("--out", "x", "--pretrained", "no/such/model"), "no file or folder no/such"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[object, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("export", *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_chain_that_does_not_fit_writes_nothing(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("--workdir", weights, "--format", "stablehlo", "--steps", 99)
    assert run("export", *line, "--out", tmp_path / "out") == 2
    assert "--steps is 99; give 1..10" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
