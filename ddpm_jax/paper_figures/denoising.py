"""How well a model takes noise off, beside filters that were never trained."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax import parallel
from ddpm_jax.build import Parts
from ddpm_jax.chains import model_on
from ddpm_jax.chains import variance_remarks
from ddpm_jax.denoise_mode import HALF
from ddpm_jax.denoise_mode import check_level
from ddpm_jax.editing.denoise import denoise
from ddpm_jax.editing.denoise import denoise_sample
from ddpm_jax.editing.denoise import denoising_grid
from ddpm_jax.editing.noise_level import estimate_noise
from ddpm_jax.files import replacing
from ddpm_jax.images import to_model_range
from ddpm_jax.images import to_uint8
from ddpm_jax.loading import Trained
from ddpm_jax.meter import image_bar
from ddpm_jax.paper_figures.boards import save_board
from ddpm_jax.paper_figures.denoising_table import Answer
from ddpm_jax.paper_figures.denoising_table import as_columns
from ddpm_jax.paper_figures.denoising_table import as_markdown
from ddpm_jax.paper_figures.denoising_table import caption
from ddpm_jax.paper_figures.kinds import evenly
from ddpm_jax.paper_figures.plain_denoisers import METHODS
from ddpm_jax.paper_figures.plain_denoisers import best_of
from ddpm_jax.paper_figures.plain_denoisers import check_installed
from ddpm_jax.paper_figures.plain_denoisers import psnr
from ddpm_jax.tables import write_csv
from ddpm_jax.time_grids import TimeGrid

STEPS = 100
"""Most steps of a draw."""


def write_denoising(
    out: Path,
    trained: Trained,
    images: np.ndarray,
    *,
    levels: Sequence[float],
    shown: int,
    seed: int,
    batch_size: int,
) -> list[Path]:
    """Adds noise of some levels, in values of 0..255, to uint8 images; takes it off.

    out/denoising_25.png, say, shows what each method made of some of the images, evenly
    spaced; the mean PSNR at all levels is in out/denoising_10_25.csv, say, and .md.

    Raises:
      ValueError: if a level is none that the model knows.
      ModuleNotFoundError: without scikit-image; says how to install it.
    """
    check_installed()
    for level in levels:
        check_level(trained.parts, level)
    written, table = [], {}
    rows = evenly(len(images), shown)
    for level in levels:
        print(f"noise of deviation {level:g} ...", flush=True)
        answers = compare(trained, images, level, seed, batch_size)
        table[level] = answers
        written.append(
            save_board(
                out / f"denoising_{level:g}.png",
                np.stack([to_pixels(x.images[rows]) for x in answers], axis=1),
                above=[caption(x) for x in answers],
            )
        )
    stem = "_".join(["denoising", *(f"{level:g}" for level in table)])
    written.append(write_csv(out / f"{stem}.csv", as_columns(table)))
    with replacing(out / f"{stem}.md") as file:
        file.write(as_markdown(table).encode())
    print(as_markdown(table))
    return [*written, out / f"{stem}.md"]


def compare(
    trained: Trained, images: np.ndarray, level: float, seed: int, batch_size: int
) -> list[Answer]:
    """The answers of all methods to images under noise of a level."""
    rows = {"image": images, "number": np.arange(len(images), dtype=np.int32)}
    ours = answer_all(trained, rows, level / HALF, seed, batch_size)
    truth = np.asarray(to_model_range(jnp.asarray(images)), np.float64)
    answers = [answer("clean", "", truth, truth)]
    answers.append(answer("noisy", "", ours["noisy"], truth))
    for name in METHODS:
        tried = best_of(name, ours["noisy"], truth, level / HALF)
        setting = f"best parameter {tried.parameter:g}"
        answers.append(answer(name, setting, tried.images, truth))
    found = ours["found"] * HALF
    return [
        *answers,
        answer("model", "noise known", ours["known"], truth),
        answer(
            "model, blind",
            f"noise estimated as {found.mean():.1f} ± {found.std():.1f}",
            ours["blind"],
            truth,
        ),
        answer("model, a draw", "noise known", ours["draw"], truth),
    ]


def answer(name: str, setting: str, images: np.ndarray, truth: np.ndarray) -> Answer:
    """An answer, judged as an image: what is beyond black and white is clipped."""
    clipped = np.clip(images, -1, 1)
    return Answer(name, setting, clipped, psnr(clipped, truth))


def answer_all(
    trained: Trained,
    rows: dict[str, np.ndarray],
    noise: float,
    seed: int,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """The model's answers to all rows, a batch at a time."""
    shared = parallel.replicate((trained.params, jax.random.key(seed)))
    count = len(rows["number"])
    size = min(batch_size, count)
    grid = denoising_grid(trained.parts.schedule, noise, STEPS)
    for line in variance_remarks(trained.parts, grid):
        print(line)
    function = partial(answer_rows, parts=trained.parts, noise=noise, grid=grid)
    first = {name: x[:size] for name, x in rows.items()}
    compiled = parallel.compile_map(function, shared, first)
    batches = []
    with image_bar(count, 0) as bar:
        for start in range(0, count, size):
            part = {name: x[start : start + size] for name, x in rows.items()}
            batches.append(compiled(shared, part))
            bar.update(len(part["number"]))
    return {
        name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
    }


def answer_rows(
    shared: tuple[object, jax.Array],
    rows: dict[str, jax.Array],
    *,
    parts: Parts,
    noise: float,
    grid: TimeGrid,
) -> dict[str, jax.Array]:
    """The noisy images, [n, H, W, C], what the model makes of them, and the estimate.

    The noise of image i is a function of (key, i), whatever the level.
    """
    params, key = shared
    keys = per_image.fold_in_each(key, rows["number"])
    eps = per_image.normal(per_image.fold_in(keys, grid.num_timesteps), parts.shape)
    noisy = to_model_range(rows["image"]) + noise * eps
    found = estimate_noise(noisy)
    clean = partial(denoise, params, noisy, schedule=parts.schedule, **parts.sampler)
    drawn = denoise_sample(params, keys, noisy, **model_on(grid, parts))
    return {
        "noisy": noisy,
        "found": found,
        "known": clean(noise=noise),
        "blind": clean(noise=found),
        "draw": drawn,
    }


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as uint8."""
    return np.asarray(to_uint8(jnp.asarray(images)))
