"""Pictures of a trained model, and of the two processes, as files."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ddpm_jax import processes
from ddpm_jax import sample_files
from ddpm_jax.chains import Chain
from ddpm_jax.chains import remarks
from ddpm_jax.config import Config
from ddpm_jax.config import schedule_of
from ddpm_jax.data.decode import Policy
from ddpm_jax.figures import forward_frames
from ddpm_jax.figures import save_chain
from ddpm_jax.figures import save_strip
from ddpm_jax.files import locked
from ddpm_jax.images import class_columns
from ddpm_jax.images import save_grid
from ddpm_jax.labels import labels_in_turn
from ddpm_jax.loading import Trained
from ddpm_jax.loading import weights_identity
from ddpm_jax.meter import image_bar
from ddpm_jax.pictures import read_image
from ddpm_jax.sampling import compile_sampler
from ddpm_jax.sampling import draw_frames
from ddpm_jax.sampling import even_steps
from ddpm_jax.workdir import read_config


def write_samples(
    out: Path,
    trained: Trained,
    chain: Chain,
    *,
    start: int,
    num: int,
    seed: int,
    batch_size: int,
) -> list[Path]:
    """Draws images start..start+num-1 into out/samples.npz, and a grid of 100 of them.

    They are written as they come: the same call after a kill goes on with those that
    are missing. Several processes share the work.

    Raises:
      ValueError: if out holds parts of another draw, or another process draws there.
    """
    stop, first = start + num, processes.first_process()
    written = [out / "grid.png", out / sample_files.SAMPLES]
    for line in remarks(trained.parts, chain):
        print(line)
    draw = identity(trained, chain, seed)
    with locked(out, "is drawing") if first else nullcontext():
        if sample_files.is_finished(out, draw, start, stop):
            print(f"{out} holds these images already")
            return written
        own, _ = sample_files.share_missing(out, draw, start, stop, batch_size)
        if first and (out / sample_files.SAMPLES).exists():
            print(f"remark: {written[1]} holds another draw, until this is finished")
        write_parts(out, trained, chain, own, num=num, seed=seed)
        processes.wait_for_all("parts")
        if first:
            finish(out, trained, chain, draw, start, stop)
    return written if first else []


def finish(
    out: Path,
    trained: Trained,
    chain: Chain,
    draw: dict[str, Any],
    start: int,
    stop: int,
) -> None:
    """Makes of the parts a grid of the first 100 images, and samples.npz of all."""
    shape = trained.parts.shape
    some = sample_files.read(out, start, min(stop, start + 100), shape)
    columns = class_columns(len(chain.label))
    save_grid(out / "grid.png", np.concatenate(list(some)), columns)
    labels = None
    if chain.label:
        labels = np.asarray(labels_in_turn(chain.label, np.arange(start, stop)))
    sample_files.finish(out, draw, start, stop, shape, labels)


def write_parts(
    out: Path,
    trained: Trained,
    chain: Chain,
    batches: list[np.ndarray],
    *,
    num: int,
    seed: int,
) -> None:
    """Draws batches of images of a seed, and writes each as it comes."""
    missing = sum(map(len, batches))
    if not missing:
        return
    if jax.process_count() > 1:
        num = missing
    if missing < num:
        print(f"going on: {num - missing} of {num} images are there")
    size = max(map(len, batches))
    print("compiling; later starts find the program in the cache ...", flush=True)
    sample = compile_sampler(trained, seed=seed, batch_size=size, chain=chain)
    with image_bar(num, num - missing) as bar:
        for index in batches:
            sample_files.add(out, int(index[0]), sample(index))
            bar.update(len(index))


def identity(trained: Trained, chain: Chain, seed: int) -> dict[str, Any]:
    """What tells the images of a draw from those of another."""
    chosen = chain._asdict() | {"label": list(chain.label)}  # as JSON has it
    return {"seed": seed, **weights_identity(trained), "chain": chosen}


def write_chain(
    out: Path,
    trained: Trained,
    chain: Chain,
    *,
    start: int,
    num: int,
    seed: int,
    count: int,
) -> list[Path]:
    """Draws num images again and writes how they came to be, in count frames."""
    steps = even_steps(trained.parts.schedule.num_timesteps, count)
    x_0, frames = draw_frames(
        trained, num=num, start=start, seed=seed, chain=chain, frame_steps=steps
    )
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
