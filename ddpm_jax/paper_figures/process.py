"""Figures of the process: its strips, and how a sample comes to be.

The forward and the reverse process are shown as every text on DDPM draws them; the
progress of samples is Figures 6 and 10 of Ho et al. (2020).
"""

from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from ddpm_jax.data import Images
from ddpm_jax.figures import forward_frames
from ddpm_jax.metrics.frechet import frechet_distance
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import statistics_of
from ddpm_jax.metrics.statistics import stream
from ddpm_jax.paper_figures.boards import save_board
from ddpm_jax.paper_figures.features import FeatureFn
from ddpm_jax.paper_figures.neighbours import blocks
from ddpm_jax.plots import FRECHET
from ddpm_jax.plots import NOISY
from ddpm_jax.plots import PREDICTED
from ddpm_jax.plots import plot_progress
from ddpm_jax.sampling import Trained
from ddpm_jax.sampling import draw_frames
from ddpm_jax.sampling import even_steps
from ddpm_jax.tables import write_csv


def write_strips(
    out: Path, trained: Trained, image: np.ndarray, *, seed: int, count: int
) -> list[Path]:
    """Writes out/strips.png: both processes at the same t, one above the other.

    image is uint8 [H, W, C], which the forward process takes apart; the reverse one
    makes another, image 0 of the seed.
    """
    schedule = trained.parts.schedule
    steps = even_steps(schedule.num_timesteps, count)[::-1]
    noised = forward_frames(schedule, image[None], steps, jax.random.key(seed))
    x_0, frames = draw_frames(trained, num=1, seed=seed, frame_steps=steps)
    rows = [
        np.concatenate([first[None], rest])
        for first, rest in (
            (image, noised[0]),
            (x_0[0], frames.x_t[0]),
            (x_0[0], frames.x_0[0]),
        )
    ]
    path = save_board(
        out / "strips.png",
        np.stack(rows),
        above=["image", *(f"t = {t}" for t in steps)],
        beside=[
            "forward, x_t:\nnoise is added,\nto the right",
            "reverse, x_t:\nnoise is taken off,\nto the left",
            "reverse:\nthe x_0 that is\npredicted",
        ],
    )
    return [path]


Distance = Callable[[np.ndarray], float]
"""How far uint8 images [B, H, W, C], taken together, are from what they should be."""


def write_progressive(
    out: Path,
    trained: Trained,
    *,
    seed: int,
    num: int,
    shown: int,
    frames: int,
    distance: Distance | None = None,
) -> list[Path]:
    """Writes how the predicted x_0 of num samples come to be: a board and curves.

    out/progressive.png shows shown samples in frames columns; out/progressive.csv and
    progressive_curve.png have how far the prediction is from the final sample, as RMSE
    in values of 0..255, at up to 50 t, and its distance to the data, if one is given.
    """
    steps = even_steps(trained.parts.schedule.num_timesteps, 50)
    print(f"drawing {num} samples ...", flush=True)
    x_0, kept = draw_frames(trained, num=num, seed=seed, frame_steps=steps)
    predicted, noisy = np.asarray(kept.x_0), np.asarray(kept.x_t)
    columns = np.linspace(0, len(steps) - 1, min(frames, len(steps)))
    chosen = columns.round().astype(int)
    board = save_board(
        out / "progressive.png",
        np.concatenate([predicted[:shown, chosen], x_0[:shown, None]], axis=1),
        above=[*(f"t = {steps[i]}" for i in chosen), "sample"],
    )
    curves = {"t": np.array(steps), PREDICTED: rmse(predicted, x_0)}
    curves[NOISY] = rmse(noisy, x_0)
    if distance is not None:
        curves[FRECHET] = np.array([distance(x) for x in predicted.swapaxes(0, 1)])
    first, pairs = curves[PREDICTED][0], zip(steps, curves[PREDICTED], strict=True)
    half = next(t for t, gap in pairs if 2 * gap <= first)
    print(
        f"predicted at t = {steps[0]}, x_0 is {first:.0f} of 255 off the sample "
        f"(RMSE, mean of {num}); half as much at t = {half}"
    )
    table = write_csv(out / "progressive.csv", curves)
    return [board, table, *plot_progress(out / "progressive_curve.png", curves)]


def rmse(frames: np.ndarray, x_0: np.ndarray) -> np.ndarray:
    """RMSE [F] of uint8 frames [B, F, H, W, C] to where they led, [B, H, W, C].

    Example:
      >>> x_0 = np.zeros((2, 4, 4, 1), np.uint8)
      >>> rmse(x_0[:, None] + np.uint8([[[[[3]]], [[[0]]]]]), x_0).tolist()
      [3.0, 0.0]
    """
    error = np.square(frames.astype(float) - x_0[:, None].astype(float))
    root: np.ndarray = np.sqrt(error.mean(axis=(0, 2, 3, 4)))
    return root


def distance_to(images: Images, features: FeatureFn) -> Distance:
    """The Frechet distance to the images of a data set, in some features."""

    def statistics(batches: Iterable[np.ndarray]) -> Statistics:
        return statistics_of(stream(map(features, batches)))

    truth = statistics(blocks(images))

    def distance(drawn: np.ndarray) -> float:
        found = statistics([drawn])
        return frechet_distance(found.mu, found.sigma, truth.mu, truth.sigma)

    return distance
