"""Models of diffusers draw as their authors do, here and, once exported, there."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from diffusers_files import SCHEDULERS
from diffusers_files import described
from diffusers_files import write
from test_scripts import run

from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.exporting import export_diffusers
from ddpm_jax.exporting import export_safetensors
from ddpm_jax.images import save_png
from ddpm_jax.interop.scheduler_config import DDIM
from ddpm_jax.interop.scheduler_config import SCHEDULERS as KEYS
from ddpm_jax.loading import Trained
from ddpm_jax.loading import load_trained
from ddpm_jax.pretrained import read_pretrained
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import make_time_grid

CONFIG = dataclasses.replace(
    tiny.CONFIG, data=Data(source="digits", image_size=(8, 8), channels=1)
)


def made_up(config: Config = CONFIG) -> Trained:
    """A model whose weights are noise."""
    parts = build(config)
    shapes = jax.eval_shape(partial(init_params, parts), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: rng.normal(0, 0.1, x.shape).astype(np.float32), shapes
    )
    return Trained(config, parts, params, step=0, ema=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same weights in a folder for each scheduler, and in a file of a folder's."""
    out = tmp_path_factory.mktemp("folders")
    for sampler in ("ddpm", "ddim"):
        export_diffusers(made_up(), out / sampler, sampler)
    export_safetensors(load_trained(out / "ddim"), out / "kept.safetensors")
    return {path.name: path for path in out.iterdir()}


@pytest.mark.parametrize("num_timesteps", [12, 25, 100, 1000])
def test_uniform_is_the_linspace_of_diffusers(num_timesteps: int) -> None:
    """For each number of steps but one, of which theirs asks at t = 0."""
    schedule = make_schedule(linear_beta_schedule(num_timesteps))
    for num_steps in range(2, min(num_timesteps, 130) + 1):
        theirs = np.linspace(0, num_timesteps - 1, num_steps).round()[::-1]
        grid = make_time_grid(schedule, num_steps)
        np.testing.assert_array_equal(grid.times[:-1], theirs, err_msg=str(num_steps))
    assert make_time_grid(schedule, 1).times == (num_timesteps - 1, -1)


def keys_of(folder: Path) -> dict[str, object]:
    path = folder / "scheduler" / "scheduler_config.json"
    keys: dict[str, object] = json.loads(path.read_text())
    return keys


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spacing", "theirs"),
    [("uniform", "linspace"), ("leading", "leading"), ("trailing", "trailing")],
)
def test_an_exported_folder_has_the_models_own_spacing(
    tmp_path: Path, spacing: str, theirs: str
) -> None:
    (folder,) = export_diffusers(made_up()._replace(spacing=spacing), tmp_path / "out")
    assert keys_of(folder)["timestep_spacing"] == theirs
    again = load_trained(folder)
    assert again.spacing == spacing
    (folder,) = export_diffusers(again, tmp_path / "ddim", "ddim")
    assert keys_of(folder)["timestep_spacing"] == theirs  # as it came with the model


@pytest.mark.slow
def test_a_folder_for_ddim_has_its_keys_and_is_read_back(
    folders: dict[str, Path],
) -> None:
    keys = keys_of(folders["ddim"])
    assert keys.pop("_class_name") == DDIM
    assert keys.keys() - {"_diffusers_version"} == KEYS[DDIM].keys()
    index = json.loads((folders["ddim"] / "model_index.json").read_text())
    assert index["_class_name"] == "DDIMPipeline"
    assert index["scheduler"] == ["diffusers", DDIM]
    assert keys["timestep_spacing"] == "trailing"  # in place of a run's uniform
    assert load_trained(folders["ddim"]).sampler == "ddim"
    assert load_trained(folders["kept.safetensors"]).sampler == "ddim"
    assert load_trained(folders["ddpm"]).sampler == "ddpm"


@pytest.mark.slow
def test_what_a_scheduler_of_diffusers_lacks_is_refused(tmp_path: Path) -> None:
    model = made_up()
    objective = dataclasses.replace(CONFIG.objective, variance="learned_range")
    objective = dataclasses.replace(objective, loss="hybrid")
    learned = made_up(dataclasses.replace(CONFIG, objective=objective))
    for trained, sampler, sentence in (
        (
            model._replace(spacing="karras"),
            None,
            "spacing is 'karras'.*it has .*uniform",
        ),
        (model, "heun", "sampler is 'heun'; .* ddpm, ddim"),
        (learned, "ddim", "'learned_range'.*give --sampler ddpm"),
    ):
        with pytest.raises(ValueError, match=sentence):
            export_diffusers(trained, tmp_path / "out", sampler)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_folder_for_ddim_is_drawn_with_ddim_unless_another_is_asked_for(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, images = {}, {}
    for name, line in {
        "own": (folders["ddim"],),
        "kept": (folders["kept.safetensors"],),
        "asked": (folders["ddpm"], "--sampler", "ddim", "--spacing", "trailing"),
        "other": (folders["ddim"], "--sampler", "ddpm"),
    }.items():
        out = tmp_path / name
        line = ("--pretrained", *line, "--num", 1, "--out", out, "--steps", 5)
        assert run("sample", *line) == 0
        said[name] = capsys.readouterr().out
        with np.load(out / "samples.npz") as file:
            images[name] = file["arr_0"]
    np.testing.assert_array_equal(images["own"], images["asked"])
    np.testing.assert_array_equal(images["own"], images["kept"])
    assert (images["own"] != images["other"]).any()
    told = {name for name, text in said.items() if "drawn with ddim, as its" in text}
    assert told == {"own", "kept"}
    line = ("--pretrained", folders["ddim"], "--progressive", "--out", tmp_path / "no")
    assert run("sample", *line) == 2
    assert "give --sampler ddpm, and leave out" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "tensor", "shape"),
    [
        ("classes", "class_embedding.weight", (4, 32)),
        ("classes", "class_embedding.weight", (6, 32)),
        ("classes", "class_embedding.weight", (5, 3)),
        ("classes", "class_embedding.weight", (5,)),
        ("cosines_first", "time_embedding.linear_1.weight", (32, 6)),
        ("cosines_first", "time_embedding.linear_1.weight", (8, 32)),
        ("cosines_first", "time_embedding.linear_1.weight", ()),
    ],
)
def test_a_tensor_that_is_changed_on_the_way_is_checked_as_the_file_has_it(
    tmp_path: Path, network: str, tensor: str, shape: tuple[int, ...]
) -> None:
    unet, tensors = described(network)
    wanted = tensors[tensor].shape
    tensors[tensor] = np.zeros(shape, np.float32)
    folder = write(tmp_path / "model", unet, tensors, SCHEDULERS["ddpm"])
    with pytest.raises(ValueError) as caught:
        read_pretrained(folder)
    start = f"{tensor} is float32 {shape} in {folder}, and the network"
    assert str(caught.value).startswith(start)
    assert f"has it as real numbers {wanted}; get its files" in str(caught.value)


@pytest.mark.slow
def test_figures_and_edits_take_a_model_of_another_project(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    save_png(picture, np.full((8, 8, 1), 90, np.uint8))
    for script, mode, file in (
        ("figure", ("strips", "--frames", 2, "--picture", picture), "strips.png"),
        ("edit", ("denoise", picture, "--noise", 9), "picture_0.png"),
    ):
        written = []
        for model in (
            ("--pretrained", folders["ddpm"]),
            ("--workdir", folders["ddpm"]),
        ):
            out = tmp_path / f"{script}{model[0]}"
            assert run(script, *model, "--out", out, *mode) == 0
            assert "weights: " in capsys.readouterr().out
            written.append((out / file).read_bytes())
        assert written[0] == written[1]
        assert run(script, "--out", tmp_path / "out", *mode) == 2
        assert "give --workdir, the folder of a run" in capsys.readouterr().err
    line = ("--pretrained", folders["ddpm"], "--out", tmp_path / "out")
    assert run("figure", *line, "strips") == 2
    assert "comes without its images; give --data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
