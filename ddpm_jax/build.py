"""From a Config to functions: the network, its schedule, its loss and its sampler."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ddpm_jax.config import Config
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import schedule_of
from ddpm_jax.denoiser import LEARNED
from ddpm_jax.denoiser import ModelFn
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.guidance import classifier_free_eps
from ddpm_jax.network import apply_network
from ddpm_jax.network import network_loss
from ddpm_jax.network import with_guess
from ddpm_jax.prediction import model_functions
from ddpm_jax.prediction import self_conditioned
from ddpm_jax.prediction import training_loss
from ddpm_jax.schedules import Schedule
from ddpm_jax.timesteps import T_SAMPLINGS
from ddpm_jax.timesteps import Drawn
from ddpm_jax.timesteps import History
from ddpm_jax.timesteps import empty_history
from ddpm_jax.unet import UNet
from ddpm_jax.unet import check_heads
from ddpm_jax.unet import check_shape


class Parts(NamedTuple):
    """What a config describes, ready to be called."""

    model: UNet
    shape: tuple[int, int, int]  # (H, W, C) of an image
    schedule: Schedule
    # (params, x_t, t) -> [B, H, W, C], or 2C if variance is learned
    network: Callable[..., jax.Array]
    sampler: ModelOptions  # eps_fn or x0_fn, variance and clip_x0
    objective: Objective
    loss_fn: Callable[..., jax.Array]  # network_loss: (params, keys, x_0, ...) -> [B]
    label_dropout: float  # 0: the network always saw a label
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
    if objective.self_condition:
        network = partial(with_guess, network, shape[-1])
    draw_t = T_SAMPLINGS[objective.t_sampling]
    by_loss = objective.t_sampling == "importance"
    return Parts(
        model=model,
        shape=shape,
        schedule=schedule,
        network=network,
        sampler=sampler_of(network, schedule, objective),
        objective=objective,
        loss_fn=partial(
            network_loss,
            network=network,
            objective=objective_of(schedule, objective),
            guessing=guessing_of(schedule, objective),
            null_label=config.model.num_classes,
            label_dropout=config.train.label_dropout,
        ),
        label_dropout=config.train.label_dropout,
        draw_t=draw_t and partial(draw_t, num_timesteps=schedule.num_timesteps),
        history=empty_history(schedule.num_timesteps) if by_loss else None,
    )


def objective_of(schedule: Schedule, objective: Objective) -> Callable[..., jax.Array]:
    """What a network minimises: `training_loss`, but for the network."""
    return partial(
        training_loss,
        schedule=schedule,
        prediction=objective.prediction,
        loss=objective.loss,
        variance=objective.variance,
        weight=objective.loss_weight,
    )


def guessing_of(
    schedule: Schedule, objective: Objective
) -> Callable[..., ModelFn] | None:
    """How a self-conditioned network comes by its guess, or None if it has none."""
    if not objective.self_condition:
        return None
    return partial(
        self_conditioned,
        schedule=schedule,
        prediction=objective.prediction,
        clip_x0=objective.clip_x0,
    )


def sampler_of(
    network: ModelFn, schedule: Schedule, objective: Objective
) -> ModelOptions:
    """The options of a sampler that say what the network is: eps_fn or x0_fn, ..."""
    model = model_functions(
        network,
        schedule=schedule,
        prediction=objective.prediction,
        variance=objective.variance,
        self_condition=objective.self_condition,
    )
    options: ModelOptions = {**model, "clip_x0": objective.clip_x0}
    return {**options, "self_condition": True} if objective.self_condition else options


def conditioned(parts: Parts, labels: jax.Array, scale: float = 1.0) -> Parts:
    """The parts of a network that is told labels [B], and guided by them at scale.

    Scale 1 is the conditional network as it is. Another one asks it twice at a time, on
    2B images; it is applied to whatever the network predicts, since eps, x_0, v and the
    posterior mean are, at a given x_t, linear in one another.
    """
    network = partial(parts.network, labels=labels)
    if scale != 1:
        assert parts.model.num_classes is not None  # check_labels has seen to it
        network = partial(
            classifier_free_eps,
            eps_fn=parts.network,
            labels=labels,
            null_label=parts.model.num_classes,
            scale=scale,
        )
    sampler = sampler_of(network, parts.schedule, parts.objective)
    return parts._replace(network=network, sampler=sampler)


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
    check_heads(
        height,
        ch=config.ch,
        ch_mult=config.ch_mult,
        attention_resolutions=config.attention_resolutions,
        attention_head_dim=config.attention_head_dim,
    )
    return UNet(
        out_channels=2 * channels if learned else channels,
        ch=config.ch,
        ch_mult=config.ch_mult,
        num_res_blocks=config.num_res_blocks,
        attention_resolutions=config.attention_resolutions,
        attention_head_dim=config.attention_head_dim,
        dropout=config.dropout,
        num_groups=config.num_groups,
        norm_epsilon=config.norm_epsilon,
        downsample_padding=config.downsample_padding,
        freq_shift=config.freq_shift,
        dtype=jnp.dtype(config.dtype),
        # A model trained with cuDNN's attention can be drawn from without a GPU.
        attention=config.attention if jax.default_backend() == "gpu" else "xla",
        remat=config.remat,
        num_classes=config.num_classes,
    )


def init_params(parts: Parts, key: jax.Array) -> optax.Params:
    """Draws the network's parameters."""
    height, width, channels = parts.shape
    if parts.objective.self_condition:
        channels *= 2
    x, t = jnp.zeros((1, height, width, channels)), jnp.zeros(1, jnp.int32)
    return parts.model.init(key, x, t)
