"""Every sampler at several numbers of steps: draws, measures, and makes a picture.

python tools/sampler_page.py NAME --workdir WORKDIR --source SOURCE draws the same
images with each sampler, which takes hours of a small machine: it goes on where it was
stopped. Then it writes docs/samplers/NAME.json and NAME.png and prints the tables of
docs/samplers.md. SOURCE is where the training images are, as in data.source.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import NamedTuple
from typing import get_args

import jax
import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont
from tyro.conf import Positional

from ddpm_jax import command
from ddpm_jax.chains import Chain
from ddpm_jax.chains import own_spacing
from ddpm_jax.config import Sampler
from ddpm_jax.data import Dataset
from ddpm_jax.data.dataset import Images
from ddpm_jax.files import replacing
from ddpm_jax.images import enlarge
from ddpm_jax.images import grid
from ddpm_jax.images import save_png
from ddpm_jax.loading import Trained
from ddpm_jax.loading import load_trained
from ddpm_jax.metrics.extractors import extract_all
from ddpm_jax.metrics.extractors import make_extractor
from ddpm_jax.metrics.frechet import frechet_distance
from ddpm_jax.metrics.names import metric_name
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import statistics_of
from ddpm_jax.metrics.statistics import stream
from ddpm_jax.samplers import SAMPLERS
from ddpm_jax.sampling import compile_sampler
from ddpm_jax.train_loop import load_data

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "samplers"
SHOWN = 4  # images of a cell of the picture


@dataclass(frozen=True)
class Options:
    """Draws with every sampler, and measures what it drew."""

    name: Positional[str]
    """What the files are called."""
    workdir: Path
    """The model: the folder of a run, or a .safetensors file."""
    source: str
    """The training images: digits, or a folder or a zip."""
    extractors: tuple[str, ...] = ("pixels8",)
    """Whose features are compared; names of EXTRACTORS."""
    num: int = 1000
    """Images of each cell."""
    batch_size: int = 250
    """Images drawn at a time; all batches but the first are timed."""
    samplers: tuple[Sampler, ...] = get_args(Sampler)
    """Which ones; the page is of all, drawn at once or some at a time."""
    steps: tuple[int, ...] = (5, 10, 20, 50, 1000)
    """Steps of the chains."""
    measured: tuple[int, ...] = (5, 10, 20, 50, 1000)
    """Those that are measured; of the others only the pictures are drawn."""


class Cell(NamedTuple):
    """What a sampler drew in some steps."""

    sampler: str
    steps: int
    images: np.ndarray  # uint8 [n, H, W, C]
    seconds: float  # of processor time for an image; nan if it was not timed


def main(arguments: list[str]) -> int:
    """Draws what is missing, measures, and writes the files and the tables."""
    options = command.parse(Options, arguments)
    command.check_range(options, num=(SHOWN, None), batch_size=(1, None))
    command.set_up_jax()
    trained = load_trained(options.workdir)
    data = dataclasses.replace(trained.config.data, source=options.source)
    dataset = load_data(dataclasses.replace(trained.config, data=data))
    drawn = list(cells(trained, options))
    record = measure(drawn, dataset, options)
    with replacing(OUT / f"{options.name}.json") as file:
        file.write(json.dumps(record, indent=1).encode() + b"\n")
    save_png(OUT / f"{options.name}.png", picture(drawn))
    print(tables(record))
    return 0


def network_calls(sampler: str, steps: int) -> int:
    """How often a sampler calls the network: Heun's method twice, but at the end."""
    return 2 * steps - 1 if sampler in ("heun", "edm") else steps


def cells(trained: Trained, options: Options) -> Iterator[Cell]:
    """Yields what each sampler draws."""
    folder = ROOT / "runs" / "samplers" / options.name
    for steps in options.steps:
        num = options.num if steps in options.measured else SHOWN
        for sampler in options.samplers:
            yield cell_of(folder, trained, sampler, steps, num, options.batch_size)


def cell_of(
    folder: Path,
    trained: Trained,
    sampler: str,
    steps: int,
    num: int,
    batch_size: int,
) -> Cell:
    """What a sampler draws: from its file, or anew if that has too few images."""
    chain = Chain(sampler, steps, own_spacing(sampler))
    path = folder / f"{sampler}_{chain.spacing}_{steps}.npz"
    if path.exists():
        with np.load(path) as file:
            found = Cell(sampler, steps, file["images"], float(file["seconds"]))
        if len(found.images) >= num:
            return found
    images, seconds = draw(trained, chain, num, batch_size)
    with replacing(path) as file:
        np.savez(file, images=images, seconds=seconds)
    print(f"drew {sampler} in {steps} steps", flush=True)
    return Cell(sampler, steps, images, seconds)


def draw(
    trained: Trained, chain: Chain, num: int, batch_size: int
) -> tuple[np.ndarray, float]:
    """Draws images 0..num-1 of seed 0, and times all batches but the first.

    The time is the processor's, so that other work beside it counts little.
    """
    size = min(num, batch_size)
    sample = compile_sampler(trained, seed=0, batch_size=size, chain=chain)
    parts, seconds = [], []
    for start in range(0, num, size):
        began = time.process_time()
        parts.append(sample(np.arange(start, min(start + size, num))))
        seconds.append((time.process_time() - began) / len(parts[-1]))
    jax.clear_caches()
    return np.concatenate(parts), float(np.median(seconds[1:] or [np.nan]))


def measure(drawn: list[Cell], dataset: Dataset, options: Options) -> dict[str, Any]:
    """What is known of each cell, with its distances to the training images.

    A cell of fewer images than are measured has none. Those of held-out images show
    what a perfect model would have, of so many.
    """
    cells = [known(cell) for cell in drawn]
    held_out = dataset.held_out[np.arange(min(options.num, len(dataset.held_out)))]
    record: dict[str, Any] = {}
    for name in options.extractors:
        train = statistics(dataset.train, name)
        metric = metric_name("fid", name, options.num)
        for line, cell in zip(cells, drawn, strict=True):
            some = cell.images[: options.num]
            whole = len(some) == options.num
            line[metric] = distance(statistics(some, name), train) if whole else None
        metric = metric_name("fid", name, len(held_out))
        record[f"{metric}, held out"] = distance(statistics(held_out, name), train)
    return {**record, "cells": cells}


def known(cell: Cell) -> dict[str, Any]:
    """What is known of a cell without looking at its images."""
    timed = not np.isnan(cell.seconds)
    return {
        "sampler": cell.sampler,
        "steps": cell.steps,
        "network calls": network_calls(cell.sampler, cell.steps),
        "ms an image": round(1000 * cell.seconds, 3) if timed else None,
    }


def statistics(images: Images, name: str, batch_size: int = 1000) -> Statistics:
    """Mean and covariance of an extractor's features of images [N, H, W, C]."""
    extractor, count = make_extractor(name), len(images)
    size = min(batch_size, count)
    rows = (np.arange(count)[start : start + size] for start in range(0, count, size))
    found = extract_all(extractor, (images[part] for part in rows), size)
    return statistics_of(stream(np.asarray(f.features) for f in found), extractor.name)


def distance(one: Statistics, other: Statistics) -> float:
    """The squared Frechet distance."""
    return frechet_distance(one.mu, one.sigma, other.mu, other.sigma)


def tables(record: dict[str, Any]) -> str:
    """A table in Markdown for everything that is known of the cells."""
    cells = record["cells"]
    columns = [name for name in cells[0] if name not in ("sampler", "steps")]
    first = [
        f"{name}: {value:.4g}" for name, value in record.items() if name != "cells"
    ]
    return "\n\n".join([*first, *(table(cells, column) for column in columns)])


def table(cells: list[dict[str, Any]], column: str) -> str:
    """One column of the cells: a row for each sampler, a column for each step count."""
    found = {(cell["sampler"], cell["steps"]): cell[column] for cell in cells}
    steps = sorted({cell["steps"] for cell in cells})
    rows = [[column, *(f"{count} steps" for count in steps)]]
    rows.append(["---"] * len(rows[0]))
    for sampler in SAMPLERS:
        values = [found.get((sampler, count)) for count in steps]
        rows.append([sampler, *("" if v is None else f"{v:.4g}" for v in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def picture(drawn: list[Cell], margin: int = 72, line: int = 20) -> np.ndarray:
    """The first images of every cell, [H, W, 3]: rows of samplers, columns of steps."""
    blocks = {(cell.sampler, cell.steps): block(cell.images) for cell in drawn}
    height, width, _ = next(iter(blocks.values())).shape
    columns = sorted({cell.steps for cell in drawn})
    board = np.full(
        (line + len(SAMPLERS) * height, margin + len(columns) * width, 3), 255, np.uint8
    )
    corners = {
        (sampler, steps): (line + row * height, margin + column * width)
        for row, sampler in enumerate(SAMPLERS)
        for column, steps in enumerate(columns)
    }
    for key, images in blocks.items():
        y, x = corners[key]
        board[y : y + height, x : x + width] = images
    labelled = Image.fromarray(board)
    pen, font = ImageDraw.Draw(labelled), ImageFont.load_default(13)
    for (sampler, steps), (y, x) in corners.items():
        pen.text((4, y + height // 2 - 8), sampler, "black", font)
        pen.text((x + 4, 2), f"{steps} steps", "black", font)
    return np.asarray(labelled)


def block(images: np.ndarray) -> np.ndarray:
    """The first images in a row, [H, W, 3], with a gap on the right and below."""
    shown = np.broadcast_to(images[:SHOWN], (SHOWN, *images.shape[1:3], 3))
    row = grid(enlarge(shown, at_least=32), columns=SHOWN, gap=2)
    return np.pad(row, ((0, 4), (0, 8), (0, 0)), constant_values=255)


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
