"""Which chain draws a model's images, and the images that it draws."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ddpm_jax import keys as per_image
from ddpm_jax import parallel
from ddpm_jax.build import Parts
from ddpm_jax.classes import numbers_of
from ddpm_jax.denoiser import LEARNED
from ddpm_jax.images import to_uint8
from ddpm_jax.labels import check_labels
from ddpm_jax.labels import guidance_remarks
from ddpm_jax.labels import labelled
from ddpm_jax.samplers import SAMPLERS
from ddpm_jax.samplers.ancestral import variance_on
from ddpm_jax.samplers.ddpm import Frames
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.samplers.ddpm import ddpm_sample_frames
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import make_time_grid

MOST_SIGNAL = 0.01
"""How much alpha_bar where a chain begins may be above the schedule's last."""


class Chain(NamedTuple):
    """Which chain draws images; the default is the paper's."""

    sampler: str = "ddpm"  # a name in SAMPLERS
    steps: int | None = None  # None: all T
    spacing: str = "uniform"  # a name in SPACINGS: where the steps lie
    eta: float = 0.0  # of ddim
    threshold: float | None = None  # quantile of dynamic thresholding
    label: tuple[int, ...] = ()  # classes of images 0, 1, ... in turn; (): of none
    guidance: float = 1.0  # scale of classifier-free guidance; 1: none

    def takes_all_steps(self) -> bool:
        """Whether it is the paper's chain, whatever the label.

        Example:
          >>> Chain(label=(3,)).takes_all_steps(), Chain("ddim").takes_all_steps()
          (True, False)
        """
        return self._replace(label=(), guidance=1.0) == Chain()


def chain_of_options(
    options: object, *, sampler: str, spacing: str, classes: tuple[str, ...] = ()
) -> Chain:
    """The chain that options name by the fields of `Chain`, with defaults for the rest.

    sampler and spacing are the model's own, for options that name none. Only a shorter
    chain takes the spacing, and the samplers of Karras et al. (2022) that paper's.
    Labels may be names of the model's classes.

    Raises:
      ValueError: if a label is neither a number nor such a name.

    Example:
      >>> from types import SimpleNamespace
      >>> options = SimpleNamespace(sampler=None, steps=5)
      >>> chain = chain_of_options(options, sampler="ddim", spacing="leading")
      >>> chain.sampler, chain.steps, chain.spacing
      ('ddim', 5, 'leading')
    """
    fields = [name for name in Chain._fields if hasattr(options, name)]
    given = {name: getattr(options, name) for name in fields}
    given["label"] = numbers_of(given.get("label", ()), classes)
    if given.get("sampler") is None:
        given["sampler"] = sampler
    if given.get("spacing") is None:
        own = own_spacing(given["sampler"], spacing)
        given["spacing"] = own if given.get("steps") else "uniform"
    return Chain(**given)


def own_spacing(sampler: str, spacing: str = "uniform") -> str:
    """The spacing that a sampler has if none is named: its authors', or the model's.

    Example:
      >>> own_spacing("heun"), own_spacing("ddim")
      ('karras', 'uniform')
    """
    return "karras" if sampler in ("heun", "edm") else spacing


def chain_of(parts: Parts, chain: Chain) -> Callable[..., jax.Array]:
    """A chain as a function of (params, keys, shape), with the model's own options.

    The paper's, of all T steps, is `ddpm_sample` itself. The model of the parts is
    taken as it is: `sample_images` is where label and guidance come in.

    Raises:
      ValueError: if the model and the schedule do not allow such a chain.

    Example:
      >>> from ddpm_jax.build import build
      >>> from ddpm_jax.config import Config, Data
      >>> parts = build(Config(data=Data(image_size=(32, 32), channels=3)))
      >>> sorted(chain_of(parts, Chain("ddim", 50)).keywords)
      ['clip_x0', 'eps_fn', 'eta', 'grid', 'threshold', 'variance']
    """
    if chain.takes_all_steps():
        return partial(ddpm_sample, schedule=parts.schedule, **parts.sampler)
    grid = grid_of_steps(parts, chain.steps, chain.spacing)
    options = {"threshold": chain.threshold, **model_on(grid, parts)}
    if chain.sampler == "ddim":
        options["eta"] = chain.eta
    elif chain.eta:
        raise ValueError(
            f"eta is {chain.eta} and the sampler {chain.sampler}; only ddim has an eta"
        )
    return partial(SAMPLERS[chain.sampler], **options)


def grid_of_steps(
    parts: Parts, steps: int | None, spacing: str = "uniform", usual: int | None = None
) -> TimeGrid:
    """The times of --steps; of as many as are usual, or the model has, if not given.

    Raises:
      ValueError: if there are more steps than the model has, or none.
    """
    total = parts.schedule.num_timesteps
    if steps is None:
        steps = min(usual or total, total)
    if not 1 <= steps <= total:
        raise ValueError(f"--steps is {steps}; give 1..{total}, the steps of the model")
    return make_time_grid(parts.schedule, steps, spacing)


def model_on(grid: TimeGrid, parts: Parts) -> dict[str, Any]:
    """A model's arguments for a sampler, on a grid; see `variance_on`."""
    variance = variance_on(grid, parts.sampler["variance"])
    return {**parts.sampler, "variance": variance, "grid": grid}


def remarks(parts: Parts, chain: Chain) -> list[str]:
    """What a chain does that its options do not say: lines for a script to print."""
    said = guidance_remarks(chain.guidance)
    if chain.takes_all_steps():
        return said
    grid = grid_of_steps(parts, chain.steps, chain.spacing)
    if chain.sampler == "ddpm":
        said += variance_remarks(parts, grid)
    first, last = grid.times[0], grid.num_timesteps - 1
    signal, least = grid.alpha[0] ** 2, math.exp(grid.log_alphas_cumprod[-1])
    if signal - least > MOST_SIGNAL:
        said.append(
            f"remark: this chain of spacing {chain.spacing} begins at t = {first} and "
            f"not at {last}: the model is shown noise where it knows images of "
            f"alpha_bar {signal:.2g}; trailing and uniform begin at {last}"
        )
    return said


def variance_remarks(parts: Parts, grid: TimeGrid) -> list[str]:
    """A line, if the variance that a model has learned is not used on a grid."""
    learned = parts.sampler["variance"]
    if variance_on(grid, learned) == learned:
        return []
    return [
        "remark: the model has learned the variance of single steps; the longer ones "
        "of this chain have the posterior's (fixed_small)"
    ]


def check_chain(parts: Parts, chain: Chain) -> None:
    """Raises ValueError if a chain is refused, before any network is compiled."""
    check_labels(parts, chain.label, chain.guidance)
    sample = chain_of(parts, chain)

    def no_network(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        learned = parts.sampler["variance"] in LEARNED
        return jnp.concatenate([x_t, x_t], axis=-1) if learned else x_t

    model = {name: no_network for name in parts.sampler if name in ("eps_fn", "x0_fn")}
    shape = (1, *parts.shape)
    jax.eval_shape(lambda key: sample({}, key, shape, **model), jax.random.key(0))


def sample_images(
    shared: tuple[optax.Params, jax.Array],
    index: jax.Array,
    *,
    parts: Parts,
    chain: Chain = Chain(),  # noqa: B008, a tuple of constants
) -> jax.Array:
    """Draws the images that index [B] names: uint8 [B, H, W, C].

    shared is (params, key); image i is drawn from fold_in(key, i).
    """
    params, key = shared
    keys = per_image.fold_in_each(key, index)
    shape = (*index.shape, *parts.shape)
    parts = labelled(parts, index, chain.label, chain.guidance)
    return to_uint8(chain_of(parts, chain)(params, keys, shape))


def compile_images(
    parts: Parts,
    chain: Chain,
    shared: tuple[optax.Params, jax.Array],
    batch_size: int,
) -> Callable[..., np.ndarray]:
    """Compiles a function of shared and 1 to batch_size numbers: uint8 [n, H, W, C].

    It is `sample_images` on all devices; shared, of replicated arrays, is an example.
    """
    sample = partial(sample_images, parts=parts, chain=chain)
    return parallel.compile_map(sample, shared, np.arange(batch_size))


def sample_frames(
    shared: tuple[optax.Params, jax.Array],
    index: jax.Array,
    *,
    parts: Parts,
    chain: Chain = Chain(),  # noqa: B008, a tuple of constants
    frame_steps: tuple[int, ...],
) -> tuple[jax.Array, Frames]:
    """Like `sample_images`, with frames [B, F, H, W, C] of the chains, all uint8.

    All T steps are taken; of chain the label and the guidance count.
    """
    params, key = shared
    parts = labelled(parts, index, chain.label, chain.guidance)
    x_0, frames = ddpm_sample_frames(
        params,
        per_image.fold_in_each(key, index),
        (*index.shape, *parts.shape),
        frame_steps=frame_steps,
        schedule=parts.schedule,
        **parts.sampler,
    )
    batch_first = jax.tree.map(lambda x: to_uint8(jnp.moveaxis(x, 0, 1)), frames)
    return to_uint8(x_0), batch_first
