"""edit.py as a person types it: every mode, and what it answers to wrong input."""

import dataclasses
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from PIL import Image
from test_docs import commands

from ddpm_jax import command
from ddpm_jax import keys as per_image
from ddpm_jax import parallel
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.chains import model_on
from ddpm_jax.config import Objective
from ddpm_jax.denoise_mode import Denoise
from ddpm_jax.edit_files import write_edits
from ddpm_jax.edit_modes import Colourise
from ddpm_jax.edit_modes import Deblur
from ddpm_jax.edit_modes import Img2img
from ddpm_jax.edit_modes import Inpaint
from ddpm_jax.edit_modes import Mode
from ddpm_jax.edit_modes import Upscale
from ddpm_jax.editing.ddrm import ddrm
from ddpm_jax.editing.inpaint import inpaint
from ddpm_jax.editing.matrices import gaussian_blur
from ddpm_jax.editing.measurements import super_resolution
from ddpm_jax.editing.sdedit import sdedit
from ddpm_jax.loading import Trained
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.weights import save_weights

ROOT = Path(__file__).resolve().parents[1]
PAINTED = jnp.zeros((2, 8, 8, 1), bool).at[:, :3].set(True)


def script() -> ModuleType:
    name = "ddpm_jax_edit_script"
    spec = importlib.util.spec_from_file_location(name, ROOT / "edit.py")
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments: object) -> int:
    return command.run(script().main, [str(a) for a in arguments])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def untrained(channels: int) -> Trained:
    """A model without parameters: it predicts that there is no noise."""
    data = dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=channels)
    config = dataclasses.replace(tiny.CONFIG, data=data)
    parts = build(config)
    sampler = parts.sampler | {"eps_fn": lambda params, x_t, t: 0 * x_t}
    return Trained(config, parts._replace(sampler=sampler), {}, 6, True)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    model = untrained(1)
    init = partial(init_params, model.parts)
    params = parallel.run_once(init, jax.random.key(0))
    save_weights(path, params, step=6, config=dataclasses.asdict(model.config))
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with pictures of several sizes, and masks."""
    rng = np.random.default_rng(0)
    for name, shape in (("eight", (8, 8)), ("wide", (8, 12)), ("four", (4, 4))):
        values = rng.integers(0, 256, shape, np.uint8)
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    Image.fromarray(rng.integers(0, 256, (20, 10, 3), np.uint8)).save(
        tmp_path / "photo.jpg"
    )
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(0 * mask).save(tmp_path / "black.png")
    return tmp_path


@pytest.mark.slow
def test_inpaint_keeps_what_is_black_and_paints_what_is_white(
    workdir: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, mask, out = files / "eight.png", files / "mask.png", files / "out"
    line = ("--workdir", workdir, "inpaint", picture, "--mask", mask, "--out", out)
    assert run(*line, "--num", 2, "--jump", 3, "--batch-size", 1) == 0
    said = capsys.readouterr().out
    assert "weights: EMA" in said and f"wrote {out / 'eight_1.png'}" in said
    before = pixels(picture)
    for number in range(2):
        edited = pixels(out / f"eight_{number}.png")
        np.testing.assert_array_equal(edited[4:], before[4:])
        assert (edited[:4] != before[:4]).mean() > 0.5
    assert (pixels(out / "eight_0.png") != pixels(out / "eight_1.png")).any()
    strip = pixels(out / "before_after.png")
    assert strip.shape == (4 + 68, 4 + 3 * 68) and (strip[8:30, 8:30] == 128).all()
    assert sorted(path.name for path in out.iterdir()) == [
        "before_after.png", "eight_0.png", "eight_1.png",
    ]  # fmt: skip


def test_img2img_with_no_strength_is_the_picture(
    workdir: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("--workdir", workdir, "--out", files / "out", "img2img", "--strength", 0)
    for _ in range(2):
        assert "written over" not in capsys.readouterr().out
        assert run(*line, files / "eight.png", files / "photo.jpg") == 0
    assert "remark: 2 of the files are there already" in capsys.readouterr().out
    before = pixels(files / "eight.png")
    np.testing.assert_array_equal(pixels(files / "out" / "eight_0.png"), before)
    assert pixels(files / "out" / "photo_0.png").shape == (8, 8)


@pytest.mark.slow
def test_upscale_keeps_the_means_and_deblur_the_size(
    workdir: Path, files: Path
) -> None:
    line = ("--workdir", workdir, "--out", files / "out")
    assert run(*line, "upscale", files / "four.png", "--factor", 2) == 0
    edited = pixels(files / "out" / "four_0.png")
    means, before = edited.reshape(4, 2, 4, 2).mean((1, 3)), pixels(files / "four.png")
    assert edited.shape == (8, 8)
    # Where the model went beyond black and white, writing clips; elsewhere it is exact.
    inside = ((edited > 0) & (edited < 255)).reshape(4, 2, 4, 2).all((1, 3))
    assert inside.any() and abs(means - before)[inside].max() < 0.51
    assert run(*line, "deblur", files / "eight.png", "--blur", 0.7) == 0
    assert pixels(files / "out" / "eight_0.png").shape == (8, 8)


@pytest.mark.slow
def test_colourise_keeps_the_gray(files: Path) -> None:
    options = {"fit": "crop", "num": 1, "seed": 0, "batch_size": 2}
    mode = Colourise((files / "eight.png",))
    written = write_edits(files / "out", untrained(3), mode, **options)
    edited, before = pixels(written[0]), pixels(files / "eight.png")
    inside = ((edited > 0) & (edited < 255)).all(-1)
    difference = abs(edited @ [0.299, 0.587, 0.114] - before)
    assert edited.shape == (8, 8, 3)
    assert inside.any() and difference[inside].max() < 0.51


@pytest.mark.slow
def test_an_edit_depends_on_the_picture_the_seed_and_its_number_alone(
    workdir: Path, files: Path
) -> None:
    line = ("--workdir", workdir, "img2img", "--strength", 0.5, "--seed", 1)
    one, both = files / "one", files / "both"
    assert run(*line, files / "eight.png", "--num", 3, "--out", one) == 0
    pictures = (files / "wide.png", files / "eight.png")
    assert run(*line, *pictures, "--num", 2, "--out", both, "--batch-size", 3) == 0
    for number in range(2):
        name = f"eight_{number}.png"
        assert abs(pixels(one / name) - pixels(both / name)).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("img2img",), "give at least one picture"),
        (("img2img", "nowhere.png"), "nowhere.png can't be read: No such file"),
        (("img2img", "{}", "--out", "{}"), "is among the pictures of {}, and the next"),
        (("img2img", "{}", "--out", "{}/a/b"), "is among the pictures of {}, and"),
        (("upscale", "{}/four.png", "--factor", 1), "--factor is 1; give 2 or more"),
        (("img2img", __file__), "test_edit.py can't be used: not an image"),
        (("img2img", "{}/eight.png", "--strength", 1.5), "--strength is 1.5; give a"),
        (("img2img", "{}/eight.png", "--steps", 0), "--steps is 0; give 1..10, the st"),
        (
            ("inpaint", "{}/eight.png", "--mask", "{}/mask.png", "--steps", 11),
            "is 11; ",
        ),
        (("upscale", "{}/four.png", "--steps", 11), "--steps is 11; give 1..10, the"),
        (("img2img", "{}/eight.png", "--num", 0), "--num is 0; give at least 1"),
        (("img2img", "{}/eight.png", "--fit", "squash"), "--fit is 'squash'; give one"),
        (("img2img", "{}/eight.png", "--out", __file__), "is a file; give a folder"),
        (("img2img", "{}/eight.png", "--step", 5), "holds the EMA of one step"),
        (
            ("inpaint", "{}/wide.png", "--mask", "{}/mask.png", "--jump", 3),
            "mask.png is 8x8 and {}/wide.png 12x8 (WxH); a mask has the size of its",
        ),
        (
            ("inpaint", "{}/eight.png", "--mask", "{}/black.png", "--jump", 3),
            "black.png is black all over",
        ),
        (
            ("inpaint", "{}/eight.png", "--mask", "{}/mask.png", "--jump", 10),
            "jump is 10; it must be less than the 10 steps of the chain",
        ),
        (("upscale", "{}/four.png", "--factor", 3), "factor is 3; it must divide the"),
        (("upscale", "{}/four.png", "--noise", -1), "--noise is -1.0; give 0 or more"),
        (("colourise", "{}/photo.jpg"), "are 1; only a model of 3, RGB, can"),
        (
            ("denoise", "{}/eight.png", "--num", 2),
            "--num is 2 and the mean of a picture",
        ),
        (("denoise", "{}/eight.png", "--steps", 5), "--steps is of a draw; give"),
        (("deblur", "{}/eight.png", "--blur", 0), "the blur's deviation is 0.0; give"),
        (("deblur", "{}/eight.png", "--blur", "inf"), "deviation is inf; give more"),
        (("deblur", "{}/eight.png", "--blur", 1e9), "at most 8, the size of the image"),
    ],
)
def test_bad_input_is_answered_in_one_sentence_and_nothing_is_written(
    arguments: tuple,
    sentence: str,
    workdir: Path,
    files: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(a).replace("{}", str(files)) for a in arguments]
    before = sorted(files.rglob("*"))
    out = () if "--out" in given else ("--out", files / "out")
    assert run("--workdir", workdir, *out, *given) == 2
    said = capsys.readouterr().err
    assert sentence.replace("{}", str(files)) in said and said.count("\n") == 1
    assert sorted(files.rglob("*")) == before


MODEL = untrained(1)
PATHS = (Path("a.png"),)
BLURRED = gaussian_blur((8, 8, 1), 0.7)
MEANS = super_resolution((8, 8, 1), 2)


@pytest.mark.parametrize(
    ("mode", "size", "function"),
    [
        (Upscale(PATHS, noise=25.5), 4, partial(ddrm, measurement=MEANS, noise=0.2)),
        (
            Deblur(PATHS, noise=25.5, blur=0.7),
            8,
            partial(ddrm, measurement=BLURRED, noise=0.2),
        ),
        (Img2img(PATHS, strength=0.3), 8, partial(sdedit, num_steps=3)),
        (
            Inpaint(PATHS, mask=Path("m.png"), resamples=2, jump=3),
            8,
            lambda params, keys, x, **model: inpaint(
                params, keys, x, ~PAINTED, resamples=2, jump=3, **model
            ),
        ),
    ],
    ids=["upscale", "deblur", "img2img", "inpaint"],
)
def test_a_mode_calls_its_function_with_its_options(
    mode: Mode, size: int, function: Callable[..., jax.Array]
) -> None:
    keys = per_image.image_keys(jax.random.key(0), 2)
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, size, size, 1)))
    edit, grid = mode.task(MODEL.parts).edit, make_time_grid(MODEL.parts.schedule, 10)
    edited = jax.jit(lambda x: edit(MODEL.parts, {}, keys, x, PAINTED))(images)
    model = model_on(grid, MODEL.parts)
    expected = jax.jit(lambda x: function({}, keys, x, **model))(images)
    np.testing.assert_allclose(edited, expected, atol=1e-6)


def test_every_command_of_the_page_is_one() -> None:
    lines = [words for words in commands("docs/editing.md") if "--help" not in words]
    modes = {type(command.parse(script().Edit, words[1:]).mode) for words in lines}
    assert len(modes) == 6


def test_a_picture_is_not_written_over(workdir: Path, files: Path) -> None:
    (files / "eight.png").rename(files / "a.png")
    (files / "wide.png").rename(files / "a_0.png")
    before = pixels(files / "a_0.png")
    pictures = ("img2img", files / "a.png", files / "a_0.png", "--strength", 0)
    assert run("--workdir", workdir, "--out", files, *pictures) == 2
    np.testing.assert_array_equal(pixels(files / "a_0.png"), before)


def test_the_modes_bind_what_a_model_can_do() -> None:
    parts = untrained(3).parts
    pictures = (Path("a.png"),)
    assert Upscale(pictures, factor=4).task(parts).image_size == (2, 2)
    assert Inpaint(pictures, mask=Path("m.png"), jump=3).task(parts).channels == 3
    assert Colourise(pictures).task(parts).channels == 1
    with pytest.raises(ValueError, match="--strength is nan"):
        Img2img(pictures, strength=float("nan")).task(parts)


def test_a_learned_variance_stays_on_all_steps_and_is_left_out_aloud_on_fewer() -> None:
    objective = Objective(loss="vlb", variance="learned")
    data = dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=1)
    parts = build(dataclasses.replace(tiny.CONFIG, data=data, objective=objective))
    pictures, mask = (Path("a.png"),), Path("m.png")
    modes = {
        "img2img": lambda steps: Img2img(pictures, steps=steps),
        "inpaint": lambda steps: Inpaint(pictures, mask=mask, steps=steps),
        "denoise": lambda steps: Denoise(pictures, 200, draw=True, steps=steps or 10),
    }
    for mode in modes.values():
        whole, fewer = mode(None), mode(4)
        assert model_on(whole.grid(parts), parts)["variance"] == "learned"
        assert model_on(fewer.grid(parts), parts)["variance"] == "fixed_small"
        (said,) = fewer.remarks(parts)
        assert "longer ones of this chain have the posterior's (fixed_small)" in said
        assert whole.remarks(parts) == []
    assert Img2img(pictures).grid(parts).num_steps == 10
    edit = Img2img(pictures, steps=4).task(parts).edit
    keys, images = jax.random.split(jax.random.key(0)), jnp.zeros((2, 8, 8, 1))
    params = jax.eval_shape(partial(init_params, parts), jax.random.key(0))
    edited = jax.eval_shape(partial(edit, parts), params, keys, images, images)
    assert edited.shape == images.shape
