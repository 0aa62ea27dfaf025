"""The figure of the process, forward and reverse, as every text on DDPM draws it."""

from pathlib import Path

import jax
import numpy as np

from ddpm_jax.figures import forward_frames
from ddpm_jax.loading import Trained
from ddpm_jax.paper_figures.boards import save_board
from ddpm_jax.sampling import draw_frames
from ddpm_jax.sampling import even_steps


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
