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
from ddpm_jax.data.dataset import Batch
from ddpm_jax.guidance import classifier_free_eps
from ddpm_jax.guidance import drop_labels
from ddpm_jax.images import to_model_range
from ddpm_jax.prediction import model_functions
from ddpm_jax.prediction import self_conditioned
from ddpm_jax.prediction import training_loss
from ddpm_jax.reverse import LEARNED
from ddpm_jax.reverse import ModelFn
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
    sampler: dict[str, Any]  # eps_fn or x0_fn, variance and clip_x0, for ddpm_sample
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
            schedule=schedule,
            objective=objective,
            num_classes=config.model.num_classes,
            label_dropout=config.train.label_dropout,
        ),
        label_dropout=config.train.label_dropout,
        draw_t=draw_t and partial(draw_t, num_timesteps=schedule.num_timesteps),
        history=empty_history(schedule.num_timesteps) if by_loss else None,
    )


def sampler_of(
    network: ModelFn, schedule: Schedule, objective: Objective
) -> dict[str, Any]:
    """The options of a sampler that say what the network is: eps_fn or x0_fn, ..."""
    model = model_functions(
        network,
        schedule=schedule,
        prediction=objective.prediction,
        variance=objective.variance,
        self_condition=objective.self_condition,
    )
    options = {**model, "clip_x0": objective.clip_x0}
    return options | ({"self_condition": True} if objective.self_condition else {})


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


def apply_network(
    model: UNet,
    precision: str,
    params: optax.Params,
    x_t: jax.Array,
    t: jax.Array,
    dropout_keys: jax.Array | None = None,
    labels: jax.Array | None = None,
) -> jax.Array:
    """Applies the U-Net to x_t [B, H, W, C], with dropout where keys [B] are given."""
    with jax.default_matmul_precision(precision):
        return jnp.asarray(model.apply(params, x_t, t, dropout_keys, labels))


def with_guess(
    network: Callable[..., jax.Array],
    channels: int,
    params: optax.Params,
    x_t: jax.Array,
    t: jax.Array,
    dropout_keys: jax.Array | None = None,
    labels: jax.Array | None = None,
) -> jax.Array:
    """Asks a self-conditioned network; x_t of C channels alone comes without a guess.

    So those who know nothing of guesses, such as the functions that edit, ask it as it
    was asked for half of the images it was trained on.
    """
    if x_t.shape[-1] == channels:
        x_t = jnp.concatenate([x_t, jnp.zeros_like(x_t)], axis=-1)
    return network(params, x_t, t, dropout_keys, labels)


def network_loss(
    params: optax.Params,
    keys: jax.Array,
    x_0: jax.Array,
    dropout_keys: jax.Array | None = None,
    labels: jax.Array | None = None,
    t: jax.Array | None = None,
    *,
    network: Callable[..., jax.Array],
    schedule: Schedule,
    objective: Objective,
    num_classes: int | None = None,
    label_dropout: float = 0.0,
) -> jax.Array:
    """The objective [B] of a network, with dropout where keys [B] are given.

    Dropout includes that of labels [B]. t [B] is drawn uniformly from keys where it is
    not given.
    """
    if labels is not None:
        if dropout_keys is not None:
            assert num_classes is not None  # or there would be no labels
            labels = drop_labels(dropout_keys, labels, num_classes, label_dropout)
        network = partial(network, labels=labels)
    network = partial(network, dropout_keys=dropout_keys)
    if objective.self_condition:
        network = self_conditioned(
            network,
            per_image.one_each(keys, x_0.shape[0]),
            schedule=schedule,
            prediction=objective.prediction,
            clip_x0=objective.clip_x0,
        )
    return training_loss(
        params,
        keys,
        x_0,
        network=network,
        schedule=schedule,
        prediction=objective.prediction,
        loss=objective.loss,
        variance=objective.variance,
        weight=objective.loss_weight,
        t=t,
    )


def held_out_loss(
    shared: tuple[optax.Params, jax.Array],
    examples: tuple[Batch, jax.Array],
    *,
    loss_fn: Callable[..., jax.Array],
) -> jax.Array:
    """The loss [B] of a batch of uint8 images, with the same noise at every call.

    shared is (params, key); examples are (batch, index [B]), and the noise of an
    image is drawn from fold_in(key, index).
    """
    (params, key), (batch, index) = shared, examples
    keys, x_0 = per_image.fold_in_each(key, index), to_model_range(batch.images)
    return loss_fn(params, keys, x_0, labels=batch.labels)
