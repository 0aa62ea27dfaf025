"""Figures of the latents: what they share, and what lies between two of them.

Figures 7, 8 and 9 of Ho et al. (2020).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax import parallel
from ddpm_jax.build import Parts
from ddpm_jax.chains import grid_of_steps
from ddpm_jax.chains import model_on
from ddpm_jax.chains import variance_remarks
from ddpm_jax.editing.interpolate import interpolate
from ddpm_jax.editing.shared_latents import share_latent
from ddpm_jax.images import save_png
from ddpm_jax.images import to_model_range
from ddpm_jax.images import to_uint8
from ddpm_jax.loading import Trained
from ddpm_jax.paper_figures.boards import save_board
from ddpm_jax.time_grids import TimeGrid


def write_shared(
    out: Path,
    trained: Trained,
    *,
    image: int,
    copies: int,
    t: tuple[int, ...],
    steps: int | None,
    seed: int,
) -> list[Path]:
    """Writes out/shared_latents.png: a row of copies for each t at which they part.

    The first copy is the sample of that number, as `sample.py` draws it.
    """
    grid, counts = chain_at(trained.parts, t, steps)
    for line in variance_remarks(trained.parts, grid):
        print(line)
    rows = []
    for time, count in zip(t, counts, strict=True):
        draw = partial(
            draw_shared, parts=trained.parts, copies=copies, num_steps=count, grid=grid
        )
        index = np.array([image])
        rows.append(mapped(trained, seed, draw, index)[0])
        spread = rows[-1][1:].std(0)
        print(
            f"{copies} samples that part at t = {time} spread by "
            f"{np.sqrt(np.square(spread).mean()):.1f} of 255 about their mean",
            flush=True,
        )
    path = save_board(
        out / "shared_latents.png",
        np.stack(rows),
        above=["x_t", "sample", *(f"copy {n}" for n in range(1, copies))],
        beside=[f"t = {time}" for time in t],
    )
    return [path]


def draw_shared(
    shared: tuple[object, jax.Array],
    index: jax.Array,
    *,
    parts: Parts,
    copies: int,
    num_steps: int,
    grid: TimeGrid,
) -> jax.Array:
    """x_t and copies of images index [B]: uint8 [B, 1 + copies, H, W, C]."""
    params, key = shared
    keys = per_image.fold_in_each(key, index)
    family = share_latent(
        params,
        keys,
        (*index.shape, *parts.shape),
        copies=copies,
        num_steps=num_steps,
        **model_on(grid, parts),
    )
    return to_uint8(jnp.concatenate([family.x_t[:, None], family.x_0], axis=1))


def write_interpolation(
    out: Path,
    trained: Trained,
    ends: np.ndarray,
    *,
    lambdas: tuple[float, ...],
    t: tuple[int, ...],
    steps: int | None,
    seed: int,
) -> list[Path]:
    """Writes a board of images between two, uint8 [2, H, W, C], and each as a file.

    out/interpolation.png has a row for each t and a column for each lambda, and the
    ends as they are on the left and on the right.
    """
    grid, counts = chain_at(trained.parts, t, steps)
    for line in variance_remarks(trained.parts, grid):
        print(line)
    rows, written = [], []
    for time, count in zip(t, counts, strict=True):
        draw = partial(
            draw_between,
            parts=trained.parts,
            lambdas=lambdas,
            num_steps=count,
            grid=grid,
        )
        pair = {"first": ends[:1], "second": ends[1:], "number": np.zeros(1, np.int32)}
        images = mapped(trained, seed, draw, pair)[0]
        rows.append(np.concatenate([ends[:1], images, ends[1:]]))
        print(f"{len(lambdas)} images by way of t = {time}", flush=True)
        written += [
            save_png(out / f"t{time}_lambda{weight:g}.png", image)
            for weight, image in zip(lambdas, images, strict=True)
        ]
    path = save_board(
        out / "interpolation.png",
        np.stack(rows),
        above=["first", *(f"lambda\n{weight:g}" for weight in lambdas), "second"],
        beside=[f"t = {time}" for time in t],
    )
    return [*written, path]


def draw_between(
    shared: tuple[object, jax.Array],
    pairs: dict[str, jax.Array],
    *,
    parts: Parts,
    lambdas: tuple[float, ...],
    num_steps: int,
    grid: TimeGrid,
) -> jax.Array:
    """L images between each of B pairs of uint8 pictures: uint8 [B, L, H, W, C]."""
    params, key = shared
    x_0 = interpolate(
        params,
        per_image.fold_in_each(key, pairs["number"]),
        to_model_range(pairs["first"]),
        to_model_range(pairs["second"]),
        lambdas=lambdas,
        num_steps=num_steps,
        **model_on(grid, parts),
    )
    return to_uint8(x_0)


def mapped(
    trained: Trained, seed: int, function: Callable[..., jax.Array], rows: parallel.Tree
) -> np.ndarray:
    """Calls function((params, key), rows) on all devices, once."""
    shared = parallel.replicate((trained.params, jax.random.key(seed)))
    drawn: np.ndarray = parallel.compile_map(function, shared, rows)(shared, rows)
    return drawn


def chain_at(
    parts: Parts, t: tuple[int, ...], steps: int | None
) -> tuple[TimeGrid, list[int]]:
    """A chain of steps, all T if None, and how many of them lie below each t.

    t counts steps of noise, 0..T, as the paper does.

    Raises:
      ValueError: if there is no t, or one is out of range, or steps are.
    """
    total = parts.schedule.num_timesteps
    wrong = [time for time in t if not 0 <= time <= total]
    if wrong or not t:
        got = wrong[0] if wrong else "not given"
        raise ValueError(f"--t is {got}; give steps of noise, 0 to {total}")
    grid = grid_of_steps(parts, steps)
    return grid, [round(time * grid.num_steps / total) for time in t]
