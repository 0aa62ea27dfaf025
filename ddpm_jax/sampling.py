"""Samples of a trained model: uint8 images, and the chains that they came by."""

from collections.abc import Callable
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from ddpm_jax import parallel
from ddpm_jax.chains import Chain
from ddpm_jax.chains import chain_of_options
from ddpm_jax.chains import compile_images
from ddpm_jax.chains import sample_frames
from ddpm_jax.loading import Trained
from ddpm_jax.loading import check_has_classes
from ddpm_jax.samplers.ddpm import Frames


def choose_chain(trained: Trained, options: object) -> Chain:
    """The chain that options name, with the model's own sampler, spacing and classes.

    Raises:
      ValueError: as `chain_of_options`, if there are labels and no classes, or if a
        chain of all steps is given a spacing.
    """
    if getattr(options, "spacing", None) and getattr(options, "steps", None) is None:
        raise ValueError(
            "--spacing is of a chain of fewer steps than the model's; give --steps as "
            "well, or leave it out"
        )
    check_has_classes(trained, getattr(options, "label", ()))
    return chain_of_options(
        options,
        sampler=trained.sampler,
        spacing=trained.spacing,
        classes=trained.classes,
    )


def compile_sampler(
    trained: Trained,
    *,
    seed: int,
    batch_size: int,
    chain: Chain = Chain(),  # noqa: B008, a tuple of constants
) -> Callable[[np.ndarray], np.ndarray]:
    """Compiles a function of 1 to batch_size numbers of images: uint8 [n, H, W, C].

    Image i depends on (seed, i) alone, up to the rounding of float sums.
    """
    shared = parallel.replicate((trained.params, jax.random.key(seed)))
    compiled = compile_images(trained.parts, chain, shared, batch_size)
    return partial(compiled, shared)


def draw(
    trained: Trained, *, num: int, seed: int = 0, batch_size: int = 64
) -> Iterator[np.ndarray]:
    """Yields images 0..num-1 of a seed in batches: uint8 [n, H, W, C]."""
    sample = compile_sampler(trained, seed=seed, batch_size=min(batch_size, num))
    for start in range(0, num, batch_size):
        yield sample(np.arange(start, min(start + batch_size, num)))


def compile_frames(
    trained: Trained,
    *,
    seed: int,
    batch_size: int,
    chain: Chain = Chain(),  # noqa: B008, a tuple of constants
    frame_steps: tuple[int, ...],
) -> Callable[[np.ndarray], tuple[np.ndarray, Frames]]:
    """Compiles `compile_sampler`'s function with frames [n, F, H, W, C] beside x_0."""
    shared = parallel.replicate((trained.params, jax.random.key(seed)))
    sample = partial(
        sample_frames, parts=trained.parts, chain=chain, frame_steps=frame_steps
    )
    compiled = parallel.compile_map(sample, shared, np.arange(batch_size))
    return partial(compiled, shared)


def draw_frames(
    trained: Trained,
    *,
    num: int,
    start: int = 0,
    seed: int = 0,
    chain: Chain = Chain(),  # noqa: B008, a tuple of constants
    frame_steps: tuple[int, ...],
) -> tuple[np.ndarray, Frames]:
    """Images start..start+num-1 again, and frames [num, F, H, W, C] of their chains."""
    sample = compile_frames(
        trained, seed=seed, batch_size=num, chain=chain, frame_steps=frame_steps
    )
    return sample(np.arange(start, start + num))


def even_steps(num_timesteps: int, count: int) -> tuple[int, ...]:
    """count different t from T-1 down to 0, evenly spaced.

    Raises:
      ValueError: if there are not so many.

    Example:
      >>> even_steps(1000, 5)
      (999, 749, 500, 250, 0)
    """
    if count > num_timesteps:
        raise ValueError(
            f"--frames is {count} and the chain has {num_timesteps} steps; give 2 to "
            f"{num_timesteps}"
        )
    steps = np.linspace(num_timesteps - 1, 0, count)
    return tuple(int(t) for t in steps.round())
