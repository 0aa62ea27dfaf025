"""figure.py and edit.py denoise as a person types them, and what is in their files."""

import dataclasses
import importlib.util
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from figure_boards import DIGITS
from figure_boards import MODEL
from figure_boards import table
from figure_boards import tiles
from PIL import Image
from test_docs import commands

from ddpm_jax import command
from ddpm_jax import parallel
from ddpm_jax.build import init_params
from ddpm_jax.config import NOT_GIVEN
from ddpm_jax.denoise_mode import Denoise
from ddpm_jax.edit_files import write_edits
from ddpm_jax.images import enlarge
from ddpm_jax.model_images import images_of
from ddpm_jax.paper_figures.boards import board
from ddpm_jax.paper_figures.denoising import compare
from ddpm_jax.paper_figures.denoising import write_denoising
from ddpm_jax.paper_figures.features import flat
from ddpm_jax.paper_figures.latents import write_interpolation
from ddpm_jax.paper_figures.latents import write_shared
from ddpm_jax.paper_figures.neighbours import write_neighbours
from ddpm_jax.paper_figures.process import write_strips
from ddpm_jax.sampling import draw
from ddpm_jax.weights import save_weights

ROOT = Path(__file__).resolve().parents[1]


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
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    init = partial(init_params, MODEL.parts)
    params = parallel.run_once(init, jax.random.key(0))
    save_weights(path, params, step=6, config=dataclasses.asdict(MODEL.config))
    return path


@pytest.mark.slow
def test_strips_show_both_processes_at_the_same_times(tmp_path: Path) -> None:
    image = DIGITS.held_out[np.array([3])][0]
    path, = write_strips(tmp_path, MODEL, image, seed=0, count=3)  # fmt: skip
    shown = tiles(path, 3, 4)
    np.testing.assert_array_equal(shown[0, 0], image[..., 0])
    sample = next(draw(MODEL, num=1))[0, ..., 0]
    assert abs(shown[1, 0].astype(int) - sample).max() <= 1
    # At t = 0 the sample is what is predicted.
    np.testing.assert_array_equal(shown[2, 0], shown[2, 1])


@pytest.mark.slow
def test_shared_latents_have_the_sample_of_their_number_first(tmp_path: Path) -> None:
    options = {"image": 2, "copies": 3, "steps": None, "seed": 1}
    path, = write_shared(tmp_path, MODEL, t=(10, 4, 0), **options)  # fmt: skip
    shown = tiles(path, 3, 4).astype(int)
    sample = list(draw(MODEL, num=3, seed=1))[0][2, ..., 0]
    assert abs(shown[:, 1] - sample).max() <= 1
    spread = abs(shown[:, 2] - shown[:, 3]).mean((1, 2))
    assert spread[0] > spread[1] > spread[2] == 0


def test_an_interpolation_is_a_board_and_files_with_the_pictures_at_its_ends(
    tmp_path: Path,
) -> None:
    ends = DIGITS.held_out[np.array([0, 1])]
    options = {"lambdas": (0.0, 0.5, 1.0), "steps": 5, "seed": 0}
    written = write_interpolation(tmp_path, MODEL, ends, t=(0, 6), **options)
    assert [path.name for path in written] == [
        "t0_lambda0.png", "t0_lambda0.5.png", "t0_lambda1.png",
        "t6_lambda0.png", "t6_lambda0.5.png", "t6_lambda1.png", "interpolation.png",
    ]  # fmt: skip
    shown = tiles(written[-1], 2, 5).astype(int)
    first, second = ends[..., 0].astype(int)
    for place, image in ((0, first), (1, first), (3, second), (4, second)):
        np.testing.assert_array_equal(shown[0, place], image)
    assert abs(2 * shown[0, 2] - first - second).max() <= 1
    assert abs(shown[1, 1] - first).mean() > 1
    with Image.open(written[4]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), shown[1, 2])


def test_training_images_are_their_own_neighbours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = np.array([1200, 7])
    samples = DIGITS.train[chosen]
    board, numbers = write_neighbours(
        tmp_path / "near", samples, DIGITS, features=flat, k=3
    )
    rows = table(numbers)
    nearest = [row for row in rows if row["rank"] == "1"]
    assert [int(row["training_image"]) for row in nearest] == chosen.tolist()
    assert {float(row["distance"]) for row in nearest} == {0.0}
    shown = tiles(board, 2, 4)
    np.testing.assert_array_equal(shown[:, 1], samples[..., 0])
    said = capsys.readouterr().out
    assert "of 1437 training images, median: 0 of 2 samples" in said


@pytest.mark.slow
def test_a_model_that_sees_no_noise_scores_what_the_noisy_picture_does(
    tmp_path: Path,
) -> None:
    blind = MODEL.parts.sampler | {"eps_fn": lambda params, x_t, t: 0 * x_t}
    model = MODEL._replace(parts=MODEL.parts._replace(sampler=blind))
    images = DIGITS.held_out[np.arange(6)]
    options = {"shown": 2, "seed": 0, "batch_size": 4}
    board, numbers, text = write_denoising(
        tmp_path, model, images, levels=[25.0], **options
    )
    psnr = {row["method"]: float(row["psnr_db"]) for row in table(numbers)}
    assert psnr["model"] == pytest.approx(psnr["noisy"], abs=0.011)
    assert psnr["wavelet"] > psnr["noisy"]
    # Deviation 25 of 255, of which clipping takes away up to a half: digits are black.
    assert 20 * np.log10(255 / 25) < psnr["noisy"] < 20 * np.log10(255 / 25) + 3.1
    assert tiles(board, 2, 8)[:, 0].tolist() == images[[0, 5], ..., 0].tolist()
    assert text.read_text().splitlines()[2].startswith("| noisy | ")


@pytest.mark.slow
def test_the_noise_of_an_image_is_its_own_in_any_batch() -> None:
    images = DIGITS.held_out[np.arange(4)]
    by_two, at_once = (compare(MODEL, images, 25.0, 0, size) for size in (2, 4))
    for one, other in zip(by_two, at_once, strict=True):
        np.testing.assert_allclose(one.images, other.images, atol=1e-5)


@pytest.mark.slow
def test_denoise_is_the_mean_or_draws_and_says_what_noise_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    noisy = np.clip(128 + 30 * rng.standard_normal((8, 8)), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "gray.png")
    options = {"fit": "crop", "seed": 0, "batch_size": 2}

    def edit(name: str, num: int = 1, **how: object) -> list[np.ndarray]:
        mode = Denoise((tmp_path / "gray.png",), **how)
        written = write_edits(tmp_path / name, MODEL, mode, num=num, **options)
        return [np.asarray(Image.open(path)).astype(int) for path in written[:num]]

    edit("blind")
    assert "gray.png: noise of deviation " in capsys.readouterr().out
    (known,), (weak,) = edit("known", noise=30), edit("weak", noise=0)
    # The model sees 0.3 tanh of what is there: more noise, more of it taken off.
    assert known.std() < weak.std() < noisy.std() + 1
    one, other = edit("drawn", num=2, noise=30, draw=True)
    assert (one != other).mean() > 0.5
    assert capsys.readouterr().out == ""


def test_a_board_has_room_for_its_words_and_no_less_words_than_images() -> None:
    images = np.zeros((2, 3, 8, 8, 1), np.uint8)
    plain, both = board(images), board(images, above=["a", "b", "c"], beside=["d", "e"])
    np.testing.assert_array_equal(both[-plain.shape[0] :, -plain.shape[1] :], plain)
    assert both.shape[0] > plain.shape[0] and both.shape[1] > plain.shape[1]
    assert both[: -plain.shape[0]].min() < 128
    colours = np.random.default_rng(0).integers(0, 256, (1, 1, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(
        board(colours)[4:-4, 4:-4], enlarge(colours[0], 128)[0]
    )
    with pytest.raises(ValueError, match="there are 2 words above and 0 beside"):
        board(images, above=["a", "b"])


@pytest.mark.slow
def test_the_commands_draw_from_a_file_of_weights(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("figure", "--workdir", workdir, "--out", tmp_path, "--seed", 1)
    assert run(*line, "nearest-neighbours", "--num", 2, "--k", 3) == 0
    said = capsys.readouterr().out
    assert (
        "weights: EMA" in said and f"wrote {tmp_path / 'neighbours_pixels.png'}" in said
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "neighbours_pixels.csv", "neighbours_pixels.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("figure", ("strips", "--frames", 1), "--frames is 1; give at least 2"),
        ("figure", ("strips", "--picture", "no.png"), "no.png can't be read: No such"),
        ("figure", ("strips", "--data", "no.zip"), "give --data, where it is"),
        ("figure", ("strips", "--out", __file__), "is a file; give a folder"),
        ("figure", ("progressive", "--num", 2), "--num is 2; give at least 6"),
        ("figure", ("shared-latents", "--t", 11), "--t is 11; give steps of noise, 0"),
        ("figure", ("shared-latents", "--copies", 0), "--copies is 0; give at least"),
        ("figure", ("interpolate", "a", "b", "--lambdas", 2), "--lambdas is 2; give"),
        ("figure", ("nearest-neighbours", "--middle", 0), "the share is 0.0; give a"),
        (
            "figure",
            ("progressive", "--features", "x"),
            "--features is 'x'; give one of",
        ),
        (
            "figure",
            ("nearest-neighbours", "--samples", __file__),
            "is a file of another kind",
        ),
        ("figure", ("denoising", "--noise", 1e6), "--noise is 1e+06; this model knows"),
        ("figure", ("denoising", "--num", 0), "--num is 0; give at least 1"),
        ("figure", ("denoising", "--num", 361), "361 held-out images, and digits has"),
        ("figure", ("denoising", "--noise", 0), "--noise is 0; give deviations above"),
        ("figure", ("nearest-neighbours", "--k", 5000), "give at most 1437"),
        ("figure", ("progressive", "--batch-size", 0), "--batch-size is 0; give at"),
        ("edit", ("denoise", "x.png", "--draw"), "give --noise as well"),
        (
            "edit",
            ("denoise", "x.png", "--noise", -1),
            "--noise is -1; this model knows",
        ),
    ],
)
def test_bad_input_is_answered_in_one_sentence_and_nothing_is_written(
    name: str,
    arguments: tuple,
    sentence: str,
    workdir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = () if "--out" in arguments else ("--out", tmp_path / "out")
    assert run(name, "--workdir", workdir, *out, *arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_images_of_another_size_are_refused_unless_they_may_be_changed(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "large.npz", tmp_path / "out"
    large = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    np.savez(data, images=large)
    line = ("figure", "--workdir", workdir, "--out", out, "nearest-neighbours")
    given = (*line, "--num", 1, "--k", 2, "--data", data)
    assert run(*given) == 2
    said = capsys.readouterr().err
    assert "are (16, 16, 3) and the model's (8, 8, 1)" in said and "--fit crop" in said
    assert run(*given, "--fit", "crop") == 0
    np.savez(tmp_path / "samples.npz", images=DIGITS.held_out[np.arange(3)])
    given = ("--samples", tmp_path / "samples.npz")
    assert run(*line, *given, "--k", 2) == 0  # all three, though six are usual
    assert run(*line, "--num", 5, *given) == 2
    said = capsys.readouterr().err
    assert "--num is 5, and" in said and "holds 3 images; give at most 3" in said


def test_a_model_of_another_project_has_no_images_of_its_own() -> None:
    data = dataclasses.replace(MODEL.config.data, source=NOT_GIVEN)
    other = MODEL._replace(config=dataclasses.replace(MODEL.config, data=data))
    with pytest.raises(ValueError, match="comes without its images; give --data"):
        images_of(other, None)
    assert len(images_of(other, "digits").train) == 1437


def test_every_command_of_the_page_is_one() -> None:
    lines = [words for words in commands("docs/figures.md") if words[0] == "figure.py"]
    kinds = [
        command.parse(script("figure").Figure, words[1:]).kind
        for words in lines
        if "--help" not in words
    ]
    assert len({type(kind) for kind in kinds}) == 6
