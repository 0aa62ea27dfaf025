"""Samples of a trained model: from a workdir to uint8 images."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax

from ddpm_jax import parallel
from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.build import sample_frames
from ddpm_jax.build import sample_images
from ddpm_jax.checkpoint import restore_weights
from ddpm_jax.config import Config
from ddpm_jax.config import from_dict
from ddpm_jax.config import schedule_of
from ddpm_jax.data.decode import Policy
from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.decode import decode
from ddpm_jax.figures import forward_frames
from ddpm_jax.figures import save_chain
from ddpm_jax.figures import save_strip
from ddpm_jax.images import save_grid
from ddpm_jax.images import save_npz
from ddpm_jax.samplers.ddpm import Frames
from ddpm_jax.weights import SUFFIX
from ddpm_jax.weights import load_weights
from ddpm_jax.workdir import read_config


class Trained(NamedTuple):
    """A model as a checkpoint holds it."""

    config: Config
    parts: Parts
    params: optax.Params
    step: int
    ema: bool


def load_trained(
    workdir: str | Path, *, step: int | None = None, ema: bool = True
) -> Trained:
    """Reads the model of a workdir, or of a .safetensors file of EMA weights.

    Of a workdir it is the newest checkpoint, or that of step; ema chooses the running
    average of the parameters, which the paper samples from.

    Raises:
      FileNotFoundError: if there is no such checkpoint; names those there are.
      ValueError: if the checkpoint is damaged.
    """
    if Path(workdir).suffix == SUFFIX:
        if step is not None or not ema:
            raise ValueError(
                f"{workdir} holds the EMA of one step; no other can be had"
            )
        params, found, stored = load_weights(workdir)
    elif not Path(workdir).is_dir():
        there = "is a file" if Path(workdir).exists() else "does not exist"
        raise FileNotFoundError(
            f"{workdir} {there}; give the folder of a run, or a {SUFFIX} file"
        )
    else:
        params, found, stored = restore_weights(workdir, step=step, ema=ema)
    config = from_dict(stored)
    parts = build(config)
    check_weights(parts, params, workdir)
    return Trained(config, parts, params, found, ema)


def check_weights(parts: Parts, params: optax.Params, workdir: str | Path) -> None:
    """Raises ValueError, naming a tensor, unless the weights are the network's."""
    wanted = jax.eval_shape(partial(init_params, parts), jax.random.key(0))
    name = partial(jax.tree_util.keystr, simple=True, separator="/")
    shapes = [
        {name(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (params, wanted)
    ]
    for tensor in sorted(shapes[0].keys() | shapes[1].keys()):
        got, want = (side.get(tensor, "absent") for side in shapes)
        if got != want:
            raise ValueError(
                f"{tensor} is {got} in {workdir} and {want} in the network of its "
                "config; the file does not hold one whole model"
            )


def describe(trained: Trained) -> str:
    """One line on which weights these are.

    An average still holds decay ** step of the untrained parameters that it began as.
    """
    if not trained.ema:
        return f"weights: parameters of step {trained.step}, not averaged"
    decay = trained.config.train.ema_decay
    held = decay**trained.step
    line = f"weights: EMA ({decay:g}) of step {trained.step}, "
    line += f"{held:.1%} of it still the untrained network's"
    if held > 0.05:
        line += "; expect noise, or try --no-ema"
    return line


def draw(
    trained: Trained, *, num: int, seed: int = 0, batch_size: int = 64
) -> Iterator[np.ndarray]:
    """Yields images 0..num-1 of a seed in batches: uint8 [n, H, W, C].

    Image i depends on (seed, i) alone, up to the rounding of float sums.
    """
    shared = parallel.replicate((trained.params, jax.random.key(seed)))
    sample = partial(sample_images, parts=trained.parts)
    index = np.arange(num)
    compiled = parallel.compile_map(sample, shared, index[:batch_size])
    for start in range(0, num, batch_size):
        yield compiled(shared, index[start : start + batch_size])


def draw_frames(
    trained: Trained, *, num: int, seed: int = 0, frame_steps: tuple[int, ...]
) -> tuple[np.ndarray, Frames]:
    """The same images 0..num-1, and frames [num, F, H, W, C] of their chains."""
    shared = parallel.replicate((trained.params, jax.random.key(seed)))
    sample = partial(sample_frames, parts=trained.parts, frame_steps=frame_steps)
    index = np.arange(num)
    x_0, frames = parallel.compile_map(sample, shared, index)(shared, index)
    return x_0, frames


def even_steps(num_timesteps: int, count: int) -> tuple[int, ...]:
    """About count different t from T-1 down to 0, evenly spaced.

    Example:
      >>> even_steps(1000, 5)
      (999, 749, 500, 250, 0)
    """
    steps = np.linspace(num_timesteps - 1, 0, min(count, num_timesteps))
    return tuple(int(t) for t in steps.round())


def write_samples(
    out: Path, trained: Trained, *, num: int, seed: int, batch_size: int
) -> list[Path]:
    """Draws images, and writes out/grid.png (the first 100) and out/samples.npz."""
    from tqdm import tqdm

    with tqdm(total=num, unit="image", dynamic_ncols=True, disable=None) as bar:
        parts = []
        for images in draw(trained, num=num, seed=seed, batch_size=batch_size):
            parts.append(images)
            bar.update(len(images))
    images = np.concatenate(parts)
    return [
        save_grid(out / "grid.png", images[:100]),
        save_npz(out / "samples.npz", images),
    ]


def write_chain(
    out: Path, trained: Trained, *, num: int, seed: int, count: int
) -> list[Path]:
    """Draws num images again and writes how they came to be, in count frames."""
    steps = even_steps(trained.parts.schedule.num_timesteps, count)
    x_0, frames = draw_frames(trained, num=num, seed=seed, frame_steps=steps)
    return save_chain(out, x_0, frames)


def write_forward(
    out: Path, picture: Path, *, workdir: Path | None, seed: int, count: int
) -> Path:
    """Writes out/forward.png: a picture under more and more noise.

    Its size and its schedule are those of the model in workdir, or its own and the
    paper's.
    """
    config = Config() if workdir is None else read_config(workdir)
    schedule = schedule_of(config)
    policy = Policy(config.data.image_size, config.data.channels, config.data.fit)
    images = read_image(picture, policy)[None]
    steps = even_steps(schedule.num_timesteps, count)[::-1]
    frames = forward_frames(schedule, images, steps, jax.random.key(seed))
    strip = np.concatenate([images[:, None], frames], axis=1)
    return save_strip(out / "forward.png", strip)


def read_image(path: Path, policy: Policy) -> np.ndarray:
    """Reads a picture as uint8 [H, W, C]; ValueError in one sentence if it can't."""
    try:
        return decode(path.read_bytes(), policy)
    except Unusable as error:
        raise ValueError(f"{path} can't be used: {error}") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
