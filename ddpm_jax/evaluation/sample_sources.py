"""Which images are samples, and which are compared with them: sources of features.

Samples are drawn by a chain of the model, or read from a file or a folder; then they
are nobody's, but for what a draw.json beside them says.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_jax import sample_files
from ddpm_jax.chains import remarks
from ddpm_jax.command import ChainOptions
from ddpm_jax.data import crc32_of
from ddpm_jax.data.dataset import Subset
from ddpm_jax.evaluation.feature_rows import Source
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.loading import Trained
from ddpm_jax.loading import weights_identity
from ddpm_jax.model_images import samples_in
from ddpm_jax.sampling import choose_chain
from ddpm_jax.sampling import compile_sampler

NUM_SAMPLES = 50_000


def samples_of(trained: Trained, settings: Settings) -> Source:
    """The samples that the options name, drawn or read.

    Raises:
      ValueError, FileNotFoundError: if there are no such samples to read.
    """
    if settings.samples is not None:
        check_no_chain(settings)
        num, shape = settings.num_samples, trained.parts.shape
        return read_samples(settings.samples, num, shape)
    num = settings.num_samples or NUM_SAMPLES
    chain = choose_chain(trained, settings)

    def compile(size: int) -> Callable[[np.ndarray], np.ndarray]:
        return compile_sampler(
            trained, seed=settings.seed, batch_size=size, chain=chain
        )

    steps = chain.steps or trained.parts.schedule.num_timesteps
    protocol: dict[str, Any] = {
        **weights_identity(trained),
        "samples": num,
        "sampler": chain._replace(steps=steps)._asdict(),
        "seed": settings.seed,
        "rounding": "to the nearest of 256 values",
    }
    if lines := remarks(trained.parts, chain):
        protocol["remarks"] = [line.removeprefix("remark: ") for line in lines]
    return Source(num, trained.parts.shape, compile, protocol)


def check_no_chain(settings: Settings) -> None:
    """Raises ValueError for an option of a chain where nothing is drawn."""
    for field in dataclasses.fields(ChainOptions):
        if getattr(settings, field.name) != field.default:
            raise ValueError(
                f"--samples are drawn already, and --{field.name} is of a chain that "
                "draws them; leave one of the two out"
            )


def read_samples(path: Path, num: int | None, shape: tuple[int, int, int]) -> Source:
    """The first num images [H, W, C] of an .npz, a folder or a zip, or all.

    Raises:
      ValueError, FileNotFoundError: if there are fewer, or as `samples_in`.
    """
    images = samples_in(path, shape)
    if num is not None and num > len(images):
        raise ValueError(
            f"--num-samples is {num}, and {path} holds {len(images)} images; give at "
            "most so many"
        )
    samples = Subset(images, np.arange(num or len(images)))
    protocol = {
        "samples": len(samples),
        "samples from": str(path),
        "crc32 of the samples": crc32_of(samples),
        "drawn by": drawn_by(path, len(images)) or "unknown",
    }
    return of_images(samples, protocol)


def drawn_by(path: Path, count: int) -> dict[str, Any]:
    """What draw.json of sample.py says of a samples.npz of count images, if it does."""
    if path.name != sample_files.SAMPLES:
        return {}
    draw = sample_files.read_draw(path.parent)
    start, stop = draw.get("images", (0, 0))
    return draw if stop - start == count else {}


def of_images(images: Subset, protocol: dict[str, Any]) -> Source:
    """Images as a source."""
    shape = images.shape[1:]
    return Source(len(images), shape, lambda size: images.__getitem__, protocol)
