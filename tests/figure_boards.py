"""What tests of figures share: a model without parameters, and boards that are read."""

import csv
import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tiny
from PIL import Image

from ddpm_jax.build import build
from ddpm_jax.data import load
from ddpm_jax.loading import Trained
from ddpm_jax.paper_figures.boards import GAP
from ddpm_jax.paper_figures.boards import TILE

DIGITS = load("digits")


def untrained() -> Trained:
    """A model without parameters: it sees a little noise wherever a pixel is bright."""
    data = dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=1)
    config = dataclasses.replace(tiny.CONFIG, data=data)
    parts = build(config)
    sampler = parts.sampler | {"eps_fn": lambda params, x_t, t: 0.3 * jnp.tanh(x_t)}
    return Trained(config, parts._replace(sampler=sampler), {}, 6, True)


MODEL = untrained()


def tiles(path: Path, rows: int, columns: int) -> np.ndarray:
    """The images [rows, columns, 8, 8] of a board; words are above and on the left."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    side, pixel = TILE + GAP, TILE // 8
    part = pixels[-rows * side :, -columns * side :]
    cut = part.reshape(rows, side, columns, side).swapaxes(1, 2)
    return cut[:, :, :TILE:pixel, :TILE:pixel]


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))
