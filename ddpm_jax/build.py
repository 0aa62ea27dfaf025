"""From a Config to functions: the network, its schedule, its loss and its sampler."""

from collections.abc import Callable
from functools import partial
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ddpm_jax import keys as per_image
from ddpm_jax.config import Config
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import schedule_of
from ddpm_jax.images import to_model_range
from ddpm_jax.prediction import model_functions
from ddpm_jax.prediction import training_loss
from ddpm_jax.reverse import LEARNED
from ddpm_jax.reverse import ModelFn
from ddpm_jax.schedules import Schedule
from ddpm_jax.timesteps import T_SAMPLINGS
from ddpm_jax.timesteps import Drawn
from ddpm_jax.timesteps import History
from ddpm_jax.timesteps import empty_history
from ddpm_jax.unet import UNet
from ddpm_jax.unet import check_shape


class Parts(NamedTuple):
    """What a config describes, ready to be called."""

    model: UNet
    shape: tuple[int, int, int]  # (H, W, C) of an image
    schedule: Schedule
    network: ModelFn  # (params, x_t, t) -> [B, H, W, C], or 2C if variance is learned
    sampler: dict[str, Any]  # eps_fn or x0_fn, variance and clip_x0, for ddpm_sample
    loss_fn: Callable[..., jax.Array]  # (params, keys, x_0, dropout_keys, t) -> [B]
    draw_t: Callable[..., Drawn] | None  # for train_step; None: loss_fn draws t
    history: History | None  # of a TrainState before step 0


def build(config: Config) -> Parts:
    """Makes the parts of a config whose data.image_size and channels are known.

    Raises:
      ValueError: if the U-Net can't take such images.

    Example:
      >>> from ddpm_jax.config import Data
      >>> data = Data(image_size=(32, 32), channels=3)
      >>> sorted(build(Config(data=data)).sampler)
      ['clip_x0', 'eps_fn', 'variance']
    """
    if config.data.image_size is None or config.data.channels is None:
        raise ValueError(
            "data.image_size and data.channels are not set; take the config.json of a "
            "run, or set both"
        )
    shape = (*config.data.image_size, config.data.channels)
    objective = config.objective
    model = make_model(config.model, shape, objective.variance in LEARNED)
    schedule = schedule_of(config)
    network = partial(apply_network, model, config.model.precision)
    draw_t = T_SAMPLINGS[objective.t_sampling]
    by_loss = objective.t_sampling == "importance"
    return Parts(
        model=model,
        shape=shape,
        schedule=schedule,
        network=network,
        sampler={
            **model_functions(
                network,
                schedule=schedule,
                prediction=objective.prediction,
                variance=objective.variance,
            ),
            "clip_x0": objective.clip_x0,
        },
        loss_fn=partial(
            network_loss,
            network=network,
            schedule=schedule,
            objective=objective,
        ),
        draw_t=draw_t and partial(draw_t, num_timesteps=schedule.num_timesteps),
        history=empty_history(schedule.num_timesteps) if by_loss else None,
    )


def make_model(config: Model, shape: tuple[int, int, int], learned: bool) -> UNet:
    """The U-Net for images (H, W, C), with 2C outputs if it learns the variance."""
    height, width, channels = shape
    check_shape(
        height,
        width,
        ch=config.ch,
        ch_mult=config.ch_mult,
        num_groups=config.num_groups,
    )
    return UNet(
        out_channels=2 * channels if learned else channels,
        ch=config.ch,
        ch_mult=config.ch_mult,
        num_res_blocks=config.num_res_blocks,
        attention_resolutions=config.attention_resolutions,
        dropout=config.dropout,
        num_groups=config.num_groups,
        dtype=jnp.dtype(config.dtype),
        # A model trained with cuDNN's attention can be drawn from without a GPU.
        attention=config.attention if jax.default_backend() == "gpu" else "xla",
        remat=config.remat,
    )


def init_params(parts: Parts, key: jax.Array) -> optax.Params:
    """Draws the network's parameters."""
    x, t = jnp.zeros((1, *parts.shape)), jnp.zeros(1, jnp.int32)
    return parts.model.init(key, x, t)


def apply_network(
    model: UNet,
    precision: str,
    params: optax.Params,
    x_t: jax.Array,
    t: jax.Array,
    dropout_keys: jax.Array | None = None,
) -> jax.Array:
    """Applies the U-Net to x_t [B, H, W, C], with dropout where keys [B] are given."""
    with jax.default_matmul_precision(precision):
        return jnp.asarray(model.apply(params, x_t, t, dropout_keys))


def network_loss(
    params: optax.Params,
    keys: jax.Array,
    x_0: jax.Array,
    dropout_keys: jax.Array | None = None,
    t: jax.Array | None = None,
    *,
    network: Callable[..., jax.Array],
    schedule: Schedule,
    objective: Objective,
) -> jax.Array:
    """The objective [B] of a network, with dropout where keys [B] are given.

    t [B] is drawn uniformly from keys where it is not given.
    """
    return training_loss(
        params,
        keys,
        x_0,
        network=partial(network, dropout_keys=dropout_keys),
        schedule=schedule,
        prediction=objective.prediction,
        loss=objective.loss,
        variance=objective.variance,
        weight=objective.loss_weight,
        t=t,
    )


def held_out_loss(
    shared: tuple[optax.Params, jax.Array],
    examples: tuple[jax.Array, jax.Array],
    *,
    loss_fn: Callable[..., jax.Array],
) -> jax.Array:
    """The loss [B] of uint8 images [B, H, W, C], with the same noise at every call.

    shared is (params, key); examples are (images, index [B]), and the noise of an
    image is drawn from fold_in(key, index).
    """
    (params, key), (images, index) = shared, examples
    return loss_fn(params, per_image.fold_in_each(key, index), to_model_range(images))
