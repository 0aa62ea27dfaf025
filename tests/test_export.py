"""export.py: three forms of one model, and what each is good for."""

import dataclasses
import json
import re
import shutil
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
from torch_weights import save_torch

from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.chains import Chain
from ddpm_jax.config import Data
from ddpm_jax.exporting import export_safetensors
from ddpm_jax.loading import Trained
from ddpm_jax.loading import describe
from ddpm_jax.loading import load_pretrained
from ddpm_jax.loading import load_trained
from ddpm_jax.pretrained import PROGRAM
from ddpm_jax.pretrained import PROGRAM_WEIGHTS
from ddpm_jax.sampling import draw
from ddpm_jax.weights import load_weights
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
    (path,) = export_safetensors(trained, tmp_path / "m0.5.safetensors")
    again = load_trained(path, ema=known["ema"])
    assert {name: getattr(again, name) for name in known} == known
    assert describe(again) == describe(trained)
    # A model that is not averaged needs no --no-ema; one that is has no other copy.
    assert load_trained(path).ema == known["ema"]
    with pytest.raises(ValueError, match="of one step; no other can be had"):
        load_trained(path, step=3)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="m0.5.safetensors is there already"):
        export_safetensors(trained, path)
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
    (path,) = export_safetensors(trained, tmp_path / "leading.safetensors")
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
        (("--out", "x", "--steps", 3), "diffusers keeps no --steps; leave it out, or"),
        (
            ("--out", "x", "--label", 3),
            "keeps no --label; leave it out, or give --form",
        ),
        (
            ("--out", "x", "--format", "safetensors", "--sampler", "ddim"),
            "keeps no --sampler; leave it out, or give --format stablehlo or diffusers",
        ),
        (("--out", "x", "--sampler", "heun"), "'heun'; a folder of diffusers is for"),
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


@pytest.mark.parametrize(
    ("form", "out", "sentence"),
    [
        ("diffusers", "full", "full is there already; give a folder that is new"),
        ("stablehlo", "full", "full is there already; give a folder that is new"),
        ("diffusers", "full/file/x", "x can't be made, as .*file is a file"),
        ("safetensors", "full", "full does not end in .*; give full.safetensors"),
        ("safetensors", "m.pt", "does not end in .*; give m.pt.safetensors"),
        ("safetensors", "full/a.safetensors", "a.safetensors is there already"),
        ("safetensors", "b.safetensors", "b.safetensors is a folder; give a file"),
        ("safetensors", "full/file/b.safetensors", "made, as .*file is a file"),
    ],
)
def test_a_place_that_cannot_be_written_is_said_before_weights_are_read(
    form: str,
    out: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("full", "b.safetensors"):
        Path(folder).mkdir()
    for file in ("full/file", "full/a.safetensors"):
        Path(file).touch()
    # There is no such model: that --out is named shows that none was looked for.
    assert run("export", "--workdir", "nowhere", "--format", form, "--out", out) == 2
    said = capsys.readouterr().err
    assert re.search(sentence, said) and said.count("\n") == 1


def test_a_program_is_no_model_and_its_weights_are_named(
    weights: Path, tmp_path: Path
) -> None:
    (tmp_path / PROGRAM).touch()
    shutil.copy(weights, tmp_path / PROGRAM_WEIGHTS)
    sentence = rf"a sampler as a program.*; give its weights, {tmp_path}/weights\.safe"
    for load in (load_trained, load_pretrained):
        with pytest.raises(ValueError, match=sentence):
            load(str(tmp_path))
    assert load_pretrained(str(tmp_path / PROGRAM_WEIGHTS)).step == 9


def test_what_pretrained_takes_is_said_of_what_it_does_not(tmp_path: Path) -> None:
    save_torch(tmp_path / "unet.pt", {"w": np.ones(3, np.float32)})
    for path in (tmp_path / "unet.pt", tmp_path):
        with pytest.raises(ValueError, match="no model that is read here; give a fol"):
            load_pretrained(str(path))


@pytest.mark.parametrize(
    ("section", "field", "value", "sentence"),
    [
        ("model", "num_res_blocks", 10**9, "1000000000 blocks, .* 74 tensors; get it"),
        ("process", "num_timesteps", 10**12, "give at most 1000000; give another"),
    ],
)
def test_a_file_asks_for_no_network_without_end(
    weights: Path,
    tmp_path: Path,
    section: str,
    field: str,
    value: int,
    sentence: str,
) -> None:
    stored = load_weights(weights)
    stored.config[section][field] = value
    path = save_weights(tmp_path / "w", stored.params, step=1, config=stored.config)
    with pytest.raises(ValueError, match=f"^the config in {path} is .*{sentence}"):
        load_trained(path)


def test_a_chain_that_does_not_fit_writes_nothing(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("--workdir", weights, "--format", "stablehlo", "--steps", 99)
    assert run("export", *line, "--out", tmp_path / "out") == 2
    assert "--steps is 99; give 1..10" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
