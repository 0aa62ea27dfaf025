"""From pictures and a trained model to edited pictures, as files."""

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax import parallel
from ddpm_jax.build import Parts
from ddpm_jax.build import conditioned
from ddpm_jax.data.decode import Policy
from ddpm_jax.edit_modes import Edit
from ddpm_jax.edit_modes import Mode
from ddpm_jax.images import save_grid
from ddpm_jax.images import save_png
from ddpm_jax.images import to_model_range
from ddpm_jax.images import to_uint8
from ddpm_jax.labels import check_labels
from ddpm_jax.labels import guidance_remarks
from ddpm_jax.loading import Trained
from ddpm_jax.meter import image_bar
from ddpm_jax.pictures import Pictures
from ddpm_jax.pictures import read_mask
from ddpm_jax.pictures import read_pictures

GRID, GRID_ROWS = "before_after.png", 16


def write_edits(
    out: Path,
    trained: Trained,
    mode: Mode,
    *,
    fit: str,
    num: int,
    seed: int,
    batch_size: int,
    label: tuple[int, ...] = (),
    guidance: float = 1.0,
) -> list[Path]:
    """Edits the pictures of a mode, num times each, into out/NAME_0.png and so on.

    A model of classes is told label, one for all pictures or one for each, and guided.
    What becomes of a picture depends on it, the seed and the number of its variation,
    and on nothing else. All that is read is read, and may be refused, before anything
    is compiled or written.

    Raises:
      ValueError: in one sentence, if a picture, the mask or an option can't be used.
    """
    check_labels(trained.parts, label, guidance)
    for folder in filter(Path.is_dir, mode.images):
        if out.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"{out} is among the pictures of {folder}, and the next run would edit "
                "what this one writes; give another --out"
            )
    task = mode.task(trained.parts)
    if num > 1 and not task.draws:
        raise ValueError(
            f"--num is {num} and the mean of a picture is one; give --draw, or leave "
            "out --num"
        )
    policy = Policy(task.image_size, task.channels, fit)
    pictures = read_pictures(mode.images, policy)
    painted = np.zeros((*task.image_size, 1), bool)
    if task.mask is not None:
        painted = read_mask(task.mask, pictures.paths, policy)
    names = names_of(out, pictures.paths, num, task.mask)
    if task.estimates is not None:
        for path, remark in zip(
            pictures.paths, task.estimates(pictures.images), strict=True
        ):
            print(f"{path}: {remark}")
    if there := sum(name.exists() for name in names):
        print(f"remark: {there} of the files are there already, and written over")
    for remark in guidance_remarks(guidance):
        print(remark)
    rows = rows_of(pictures, painted, num, label)
    function = partial(
        edit_rows, edit=task.edit, parts=trained.parts, guidance=guidance
    )
    shared = parallel.replicate((trained.params, jax.random.key(seed)))
    drawn = draw_rows(function, shared, rows, names, batch_size)
    before = task.before(pictures.images, painted)
    return [*names, save_before_after(out / GRID, before, drawn)]


def draw_rows(
    function: Callable[..., jax.Array],
    shared: parallel.Tree,
    rows: dict[str, np.ndarray],
    names: list[Path],
    batch_size: int,
) -> np.ndarray:
    """Calls function(shared, rows) on batches of rows, and writes an image for each."""
    size, drawn = min(batch_size, len(names)), []
    compiled = parallel.compile_map(function, shared, take(rows, slice(size)))
    with image_bar(len(names), 0) as bar:
        for start in range(0, len(names), size):
            part = slice(start, start + size)
            drawn.append(compiled(shared, take(rows, part)))
            for name, image in zip(names[part], drawn[-1], strict=True):
                save_png(name, image)
            bar.update(len(names[part]))
    return np.concatenate(drawn)


def edit_rows(
    shared: tuple[object, jax.Array],
    rows: dict[str, jax.Array],
    *,
    edit: Edit,
    parts: Parts,
    guidance: float = 1.0,
) -> jax.Array:
    """Edits rows of uint8 pictures: uint8 [n, H, W, C].

    shared is (params, key); variation v is drawn from fold_in(key, v), as image v of
    `sample_images` is.
    """
    params, key = shared
    keys = per_image.fold_in_each(key, rows["variation"])
    if "label" in rows:
        parts = conditioned(parts, rows["label"], guidance)
    x_0 = edit(parts, params, keys, to_model_range(rows["image"]), rows["painted"])
    return to_uint8(x_0)


def rows_of(
    pictures: Pictures, painted: np.ndarray, num: int, label: tuple[int, ...] = ()
) -> dict[str, np.ndarray]:
    """One row for each variation of each picture, in the order of `names_of`.

    Raises:
      ValueError: unless there is no label, one, or one for each picture.
    """
    count = len(pictures.paths)
    if len(label) not in (0, 1, count):
        raise ValueError(
            f"--label gives {len(label)} classes and there are {count} pictures; give "
            "one for all, or one for each picture in their order"
        )
    picture, variation = np.divmod(np.arange(count * num), num)
    told = {"label": np.resize(label, count)[picture]} if label else {}
    return told | {
        "image": pictures.images[picture],
        "painted": np.broadcast_to(painted, (len(picture), *painted.shape)),
        "variation": variation.astype(np.int32),
    }


def take(rows: dict[str, np.ndarray], part: slice) -> dict[str, np.ndarray]:
    """Some of the rows."""
    return {name: array[part] for name, array in rows.items()}


def names_of(
    out: Path, pictures: Sequence[Path], num: int, mask: Path | None
) -> list[Path]:
    """The files of num variations of each picture; ValueError if one is an input.

    Example:
      >>> [p.name for p in names_of(Path("out"), [Path("a.jpg")], 2, None)]
      ['a_0.png', 'a_1.png']
    """
    names = [out / f"{path.stem}_{v}.png" for path in pictures for v in range(num)]
    inputs = {path.resolve() for path in [*pictures, *([mask] if mask else [])]}
    for name in (*names, out / GRID):
        if name.resolve() in inputs:
            raise ValueError(
                f"{name} is one of the pictures, and would be written over; give "
                "another --out"
            )
    return names


def save_before_after(path: Path, before: np.ndarray, drawn: np.ndarray) -> Path:
    """A row for each of the first pictures: as it was, then its variations."""
    columns = drawn.reshape(len(before), -1, *drawn.shape[1:])[:GRID_ROWS]
    rows = np.concatenate([before[:GRID_ROWS, None], columns], axis=1)
    return save_grid(path, rows.reshape(-1, *drawn.shape[1:]), columns=rows.shape[1])
