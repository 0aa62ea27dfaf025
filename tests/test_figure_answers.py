"""What a figure shows is what the functions behind it say, each in its place."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from figure_boards import DIGITS
from figure_boards import MODEL
from figure_boards import table
from figure_boards import tiles

from ddpm_jax import keys as per_image
from ddpm_jax.chains import model_on
from ddpm_jax.denoise_mode import HALF
from ddpm_jax.editing.denoise import denoise
from ddpm_jax.editing.denoise import denoise_sample
from ddpm_jax.editing.denoise import denoising_grid
from ddpm_jax.editing.interpolate import interpolate
from ddpm_jax.editing.noise_level import estimate_noise
from ddpm_jax.editing.shared_latents import share_latent
from ddpm_jax.figures import forward_frames
from ddpm_jax.images import to_model_range
from ddpm_jax.images import to_uint8
from ddpm_jax.neighbours import nearest
from ddpm_jax.paper_figures.denoising import answer_all
from ddpm_jax.paper_figures.denoising import compare
from ddpm_jax.paper_figures.denoising import write_denoising
from ddpm_jax.paper_figures.features import Compared
from ddpm_jax.paper_figures.features import flat
from ddpm_jax.paper_figures.latents import write_interpolation
from ddpm_jax.paper_figures.latents import write_shared
from ddpm_jax.paper_figures.neighbours import blocks
from ddpm_jax.paper_figures.neighbours import write_neighbours
from ddpm_jax.paper_figures.plain_denoisers import psnr
from ddpm_jax.paper_figures.process import write_strips
from ddpm_jax.paper_figures.progressive import distance
from ddpm_jax.paper_figures.progressive import reference_of
from ddpm_jax.paper_figures.progressive import write_progressive
from ddpm_jax.sampling import draw
from ddpm_jax.sampling import draw_frames
from ddpm_jax.time_grids import make_time_grid

PARTS = MODEL.parts
SIX = DIGITS.held_out[np.arange(6)]


def rounded(images: jax.Array) -> np.ndarray:
    return np.asarray(to_uint8(jnp.asarray(images)))[..., 0].astype(int)


def keys_of(seed: int, count: int) -> jax.Array:
    return per_image.fold_in_each(jax.random.key(seed), jnp.arange(count))


@pytest.mark.slow
def test_the_rows_of_the_strips_are_x_t_of_both_processes_and_the_prediction(
    tmp_path: Path,
) -> None:
    image = DIGITS.held_out[np.array([3])]
    path, = write_strips(tmp_path, MODEL, image[0], seed=1, count=4)  # fmt: skip
    times = (0, 3, 6, 9)
    noised = forward_frames(PARTS.schedule, image, times, jax.random.key(1))
    _, frames = draw_frames(MODEL, num=1, seed=1, frame_steps=times)
    shown = tiles(path, 3, 5)[:, 1:].astype(int)
    for row, expected in zip(shown, (noised, frames.x_t, frames.x_0), strict=True):
        assert abs(row - np.asarray(expected)[0, ..., 0]).max() <= 1
    # The forward process goes away from its image, to the right.
    assert (np.diff(abs(shown[0] - image[0, ..., 0]).mean((1, 2))) > 0).all()


@pytest.mark.slow
def test_the_curves_are_of_the_prediction_and_of_x_t_in_any_batches(
    tmp_path: Path,
) -> None:
    compared = Compared("pixels", flat)
    options = {"seed": 0, "num": 5, "shown": 3, "frames": 4}
    options |= {"reference": reference_of(DIGITS.train, compared)}
    written = write_progressive(tmp_path, MODEL, **options, batch_size=2)
    assert [path.name for path in written] == [
        "progressive_pixels.png",
        "progressive_pixels.csv",
        "progressive_pixels_curve.png",
    ]
    times = tuple(range(9, -1, -1))
    x_0, frames = draw_frames(MODEL, num=5, seed=0, frame_steps=times)
    rows = table(written[1])
    assert [int(row["t"]) for row in rows] == list(times)
    truth = x_0[:, None].astype(float)
    for name, images in (("predicted_x_0", frames.x_0), ("x_t", frames.x_t)):
        expected = np.sqrt(np.square(images - truth).mean((0, 2, 3, 4)))
        got = [float(row[f"rmse_of_{name}"]) for row in rows]
        np.testing.assert_allclose(got, expected, rtol=0.01)
    for row, images in zip(rows, np.asarray(frames.x_0).swapaxes(0, 1), strict=True):
        expected = distance(flat(images), options["reference"])
        got = float(row["frechet_distance_pixels_5"])
        assert got == pytest.approx(expected, rel=0.01)
    shown = tiles(written[0], 3, 5).astype(int)
    predicted = np.asarray(frames.x_0)[:3, ..., 0][:, [0, 3, 6, 9]]
    assert abs(shown[:, :4] - predicted).max() <= 1
    assert abs(shown[:, 4] - x_0[:3, ..., 0]).max() <= 1


@pytest.mark.slow
def test_the_prediction_comes_nearer_to_the_sample_and_ends_on_it(
    tmp_path: Path,
) -> None:
    options = {"seed": 0, "num": 2, "shown": 2, "frames": 4, "batch_size": 2}
    written = write_progressive(tmp_path, MODEL, **options)
    rows = table(written[1])
    assert set(rows[0]) == {"t", "rmse_of_predicted_x_0", "rmse_of_x_t"}
    assert float(rows[0]["rmse_of_predicted_x_0"]) > 20
    assert float(rows[-1]["rmse_of_predicted_x_0"]) == 0
    shown = tiles(written[0], 2, 5)
    np.testing.assert_array_equal(shown[:, -1], shown[:, -2])


@pytest.mark.slow
def test_a_data_set_is_at_no_distance_from_itself_and_samples_are_at_some() -> None:
    reference = reference_of(DIGITS.train, Compared("pixels", flat))
    everything = flat(DIGITS.train[np.arange(1437)])
    assert distance(everything, reference) == pytest.approx(0, abs=1e-4)
    assert distance(flat(np.concatenate(list(draw(MODEL, num=5)))), reference) > 1


@pytest.mark.slow
def test_copies_part_at_the_t_of_their_row(tmp_path: Path) -> None:
    options = {"image": 0, "copies": 3, "steps": 5, "seed": 1}
    path, = write_shared(tmp_path, MODEL, t=(8, 4), **options)  # fmt: skip
    grid = make_time_grid(PARTS.schedule, 5)
    for row, num_steps in zip(tiles(path, 2, 4).astype(int), (4, 2), strict=True):
        options = {"copies": 3, "num_steps": num_steps, **model_on(grid, PARTS)}
        share = partial(share_latent, {}, shape=(1, *PARTS.shape), **options)
        family = jax.jit(share)(keys_of(1, 1))
        assert abs(row[0] - rounded(family.x_t)[0]).max() <= 1
        assert abs(row[1:] - rounded(family.x_0)[0]).max() <= 1


@pytest.mark.slow
def test_an_interpolation_takes_all_steps_from_the_t_of_its_row(
    tmp_path: Path,
) -> None:
    options = {"lambdas": (0.0, 0.3, 1.0), "steps": 5, "seed": 2}
    written = write_interpolation(tmp_path, MODEL, SIX[:2], t=(6, 10), **options)
    ends = to_model_range(jnp.asarray(SIX[:2]))
    grid = make_time_grid(PARTS.schedule, 5)
    for row, num_steps in zip(tiles(written[-1], 2, 5), (3, 5), strict=True):
        model = {"num_steps": num_steps, **model_on(grid, PARTS)}
        mixed = partial(interpolate, {}, lambdas=options["lambdas"], **model)
        expected = jax.jit(mixed)(keys_of(2, 1), ends[:1], ends[1:])
        assert abs(row[1:4].astype(int) - rounded(expected)[0]).max() <= 1


@pytest.mark.slow
def test_the_model_answers_with_noise_known_estimated_and_by_a_draw() -> None:
    level, seed = 40.0, 1
    rows = {"image": SIX, "number": np.arange(6, dtype=np.int32)}
    noisy = answer_all(MODEL, rows, level / HALF, seed, 6)["noisy"]
    truth = np.asarray(to_model_range(jnp.asarray(SIX)))
    assert (noisy - truth).std() * HALF == pytest.approx(level, rel=0.15)
    grid = denoising_grid(PARTS.schedule, level / HALF, 100)
    mean = partial(denoise, {}, schedule=PARTS.schedule, **PARTS.sampler)
    sample = partial(denoise_sample, {}, **model_on(grid, PARTS))
    expected = {
        "clean": truth,
        "noisy": noisy,
        "model": jax.jit(partial(mean, noise=level / HALF))(noisy),
        "model, blind": jax.jit(mean)(noisy, noise=estimate_noise(noisy)),
        "model, a draw": jax.jit(sample)(keys_of(seed, 6), noisy),
    }
    answers = {x.name: x for x in compare(MODEL, SIX, level, seed, batch_size=4)}
    for name, images in expected.items():
        clipped = np.clip(images, -1, 1)
        np.testing.assert_allclose(answers[name].images, clipped, atol=1e-4)
        np.testing.assert_allclose(answers[name].psnr, psnr(clipped, truth), atol=0.01)
        others = [x.images for other, x in answers.items() if other != name]
        assert min(abs(x - clipped).mean() for x in others) > 0.005


@pytest.mark.slow
def test_a_board_of_answers_has_them_in_the_order_of_the_table(tmp_path: Path) -> None:
    options = {"shown": 3, "seed": 1, "batch_size": 6}
    board, numbers, text = write_denoising(tmp_path, MODEL, SIX, levels=[40], **options)
    assert [path.name for path in (board, numbers, text)] == [
        "denoising_40.png",
        "denoising_40.csv",
        "denoising_40.md",
    ]
    answers = compare(MODEL, SIX, 40, 1, 6)
    assert [row["method"] for row in table(numbers)] == [x.name for x in answers[1:]]
    errors = [float(row["standard_error_db"]) for row in table(numbers)]
    by_hand = [x.psnr.std(ddof=1) / 6**0.5 for x in answers[1:]]
    np.testing.assert_allclose(errors, by_hand, atol=0.0051)
    for column, answer in enumerate(answers):
        shown = tiles(board, 3, 8)[:, column].astype(int)
        # Images are often sorted by class: those that are shown are evenly spaced.
        assert abs(shown - rounded(answer.images)[[0, 2, 5]]).max() <= 1


def test_neighbours_are_found_in_one_pass_and_compared_with_all_of_the_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def features(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        return flat(images)

    write_neighbours(tmp_path / "near", SIX, DIGITS, features=features, k=2)
    assert sum(seen) == 1437 + 6 + 256
    places = np.linspace(0, 359, 256).round().astype(int)
    every = nearest(flat(DIGITS.held_out[places]), [flat(DIGITS.train[:])], 1)
    usual = f"{np.median(every.distance):.4g} of 256 held-out images"
    assert usual in capsys.readouterr().out


def test_blocks_are_all_images_in_order_and_of_large_ones_there_are_fewer() -> None:
    numbers = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    large = np.broadcast_to(numbers, (3, 4096, 2048, 1))
    parts = list(blocks(large))
    assert [len(part) for part in parts] == [2, 1]
    assert np.concatenate(parts)[:, 0, 0, 0].tolist() == [0, 1, 2]
