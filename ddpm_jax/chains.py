"""Which chain draws a model's images, and the images that it draws."""

from collections.abc import Callable
from functools import partial
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ddpm_jax import keys as per_image
from ddpm_jax.build import Parts
from ddpm_jax.images import to_uint8
from ddpm_jax.reverse import LEARNED
from ddpm_jax.samplers import SAMPLERS
from ddpm_jax.samplers.ddpm import Frames
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.samplers.ddpm import ddpm_sample_frames
from ddpm_jax.time_grids import make_time_grid


class Chain(NamedTuple):
    """Which chain draws images; the default is the paper's."""

    sampler: str = "ddpm"  # a name in SAMPLERS
    steps: int | None = None  # None: all T
    spacing: str = "uniform"  # a name in SPACINGS: where the steps lie
    eta: float = 0.0  # of ddim
    threshold: float | None = None  # percentile of dynamic thresholding


def chain_of(parts: Parts, chain: Chain) -> Callable[..., jax.Array]:
    """A chain as a function of (params, keys, shape), with the model's own options.

    The paper's, of all T steps, is `ddpm_sample` itself.

    Raises:
      ValueError: if the model and the schedule do not allow such a chain.

    Example:
      >>> from ddpm_jax.build import build
      >>> from ddpm_jax.config import Config, Data
      >>> parts = build(Config(data=Data(image_size=(32, 32), channels=3)))
      >>> sorted(chain_of(parts, Chain("ddim", 50)).keywords)
      ['clip_x0', 'eps_fn', 'eta', 'grid', 'threshold', 'variance']
    """
    if chain == Chain():
        return partial(ddpm_sample, schedule=parts.schedule, **parts.sampler)
    options: dict[str, Any] = {"threshold": chain.threshold, **parts.sampler}
    if chain.sampler == "ddim":
        options["eta"] = chain.eta
    elif chain.eta:
        raise ValueError(
            f"eta is {chain.eta} and the sampler {chain.sampler}; only ddim has an eta"
        )
    steps = chain.steps if chain.steps is not None else parts.schedule.num_timesteps
    grid = make_time_grid(parts.schedule, steps, chain.spacing)
    return partial(SAMPLERS[chain.sampler], grid=grid, **options)


def check_chain(parts: Parts, chain: Chain) -> None:
    """Raises ValueError if a chain is refused, before any network is compiled."""
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
    return to_uint8(chain_of(parts, chain)(params, keys, shape))


def sample_frames(
    shared: tuple[optax.Params, jax.Array],
    index: jax.Array,
    *,
    parts: Parts,
    frame_steps: tuple[int, ...],
) -> tuple[jax.Array, Frames]:
    """Like `sample_images`, with frames [B, F, H, W, C] of the chains, all uint8."""
    params, key = shared
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
