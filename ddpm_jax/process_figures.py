"""Figures of the process: its strips, and how a sample comes to be.

The forward and the reverse process are shown as every text on DDPM draws them; the
progress of samples is Figures 6 and 10 of Ho et al. (2020).
"""

import csv
import io
from pathlib import Path

import jax
import numpy as np

from ddpm_jax.boards import save_board
from ddpm_jax.figures import forward_frames
from ddpm_jax.files import replacing
from ddpm_jax.sampling import Trained
from ddpm_jax.sampling import draw_frames
from ddpm_jax.sampling import even_steps

HOW = 'pip install "ddpm_jax[figures]"'


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
            "forward, x_t\nnoise is added\n→",
            "reverse, x_t\nnoise is taken off\n←",
            "reverse, the x_0\nthat is predicted\n←",
        ],
    )
    return [path]


def write_progressive(
    out: Path, trained: Trained, *, seed: int, num: int, shown: int, frames: int
) -> list[Path]:
    """Writes how the predicted x_0 of num samples come to be: a board and a curve.

    out/progressive.png shows shown samples in frames columns; out/progressive.csv and
    progressive_curve.png have how far the prediction is from the final sample, as RMSE
    in values of 0..255, at up to 50 t.
    """
    steps = even_steps(trained.parts.schedule.num_timesteps, 50)
    x_0, kept = draw_frames(trained, num=num, seed=seed, frame_steps=steps)
    columns = np.linspace(0, len(steps) - 1, min(frames, len(steps))).round()
    chosen = columns.astype(int)
    board = save_board(
        out / "progressive.png",
        np.concatenate([kept.x_0[:shown, chosen], x_0[:shown, None]], axis=1),
        above=[*(f"t = {steps[i]}" for i in chosen), "sample"],
    )
    predicted, noisy = (distances(np.asarray(x), x_0) for x in (kept.x_0, kept.x_t))
    first, pairs = predicted[0], zip(steps, predicted, strict=True)
    half = next(t for t, distance in pairs if 2 * distance <= first)
    print(
        f"predicted at t = {steps[0]}, x_0 is {first:.0f} of 255 off the sample "
        f"(RMSE, mean of {num}); half as much at t = {half}"
    )
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["t", "rmse_of_predicted_x_0", "rmse_of_x_t"])
    writer.writerows(
        (t, f"{a:.3f}", f"{b:.3f}")
        for t, a, b in zip(steps, predicted, noisy, strict=True)
    )
    with replacing(out / "progressive.csv") as file:
        file.write(table.getvalue().encode())
    curve = plot_progress(out / "progressive_curve.png", steps, predicted, noisy)
    return [board, out / "progressive.csv", *curve]


def distances(frames: np.ndarray, x_0: np.ndarray) -> np.ndarray:
    """RMSE [F] of uint8 frames [B, F, H, W, C] to where they led, [B, H, W, C].

    Example:
      >>> x_0 = np.zeros((2, 4, 4, 1), np.uint8)
      >>> distances(x_0[:, None] + np.uint8([[[[[3]]], [[[0]]]]]), x_0).tolist()
      [3.0, 0.0]
    """
    error = np.square(frames.astype(float) - x_0[:, None].astype(float))
    rmse: np.ndarray = np.sqrt(error.mean(axis=(0, 2, 3, 4)))
    return rmse


def plot_progress(
    path: Path, steps: tuple[int, ...], predicted: np.ndarray, noisy: np.ndarray
) -> list[Path]:
    """Plots distances over the t of a chain, from noise on the left to the sample.

    Where matplotlib is missing it says so in one line, and no file is written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print(f"remark: no {path.name}, for which {HOW}")
        return []
    # Not pyplot, which has a global state and looks for a screen.
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, noisy, color="0.6", label="$x_t$")
    axes.plot(steps, predicted, color="C0", label="predicted $x_0$")
    axes.set(
        xlabel="t, from noise to the sample",
        ylabel="RMSE to the sample (of 255)",
        xlim=(steps[0], steps[-1]),
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return [path]
