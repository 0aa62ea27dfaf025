"""The network as the losses see it: with labels, dropout and its own guess."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from ddpm_jax import keys as per_image
from ddpm_jax.data.dataset import Batch
from ddpm_jax.guidance import drop_labels
from ddpm_jax.images import to_model_range
from ddpm_jax.prediction import self_conditioned
from ddpm_jax.prediction import training_loss
from ddpm_jax.schedules import Schedule
from ddpm_jax.unet import UNet


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

    So those who know nothing of guesses, such as the likelihood, ask it as it was asked
    for half of the images it was trained on.
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
    prediction: str = "eps",
    loss: str = "simple",
    variance: str = "fixed_large",
    weight: str = "none",
    clip_x0: bool = True,
    self_condition: bool = False,
    num_classes: int | None = None,
    label_dropout: float = 0.0,
) -> jax.Array:
    """`training_loss` [B] of a network, with dropout where dropout_keys [B] are given.

    Dropout includes that of labels [B], a share label_dropout of which becomes
    num_classes. t [B] is drawn uniformly from keys where it is not given. clip_x0 is
    for the guess of a network with self_condition.
    """
    if labels is not None:
        if dropout_keys is not None:
            assert num_classes is not None  # or there would be no labels
            labels = drop_labels(dropout_keys, labels, num_classes, label_dropout)
        network = partial(network, labels=labels)
    network = partial(network, dropout_keys=dropout_keys)
    if self_condition:
        network = self_conditioned(
            network,
            per_image.one_each(keys, x_0.shape[0]),
            schedule=schedule,
            prediction=prediction,
            clip_x0=clip_x0,
        )
    return training_loss(
        params,
        keys,
        x_0,
        network=network,
        schedule=schedule,
        prediction=prediction,
        loss=loss,
        variance=variance,
        weight=weight,
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
