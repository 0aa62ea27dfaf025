"""The network as the losses see it: with labels, dropout and its own guess."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from ddpm_jax import keys as per_image
from ddpm_jax.data.dataset import Batch
from ddpm_jax.denoiser import ModelFn
from ddpm_jax.guidance import drop_labels
from ddpm_jax.images import to_model_range
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
    objective: Callable[..., jax.Array],
    guessing: Callable[..., ModelFn] | None = None,
    null_label: int | None = None,
    label_dropout: float = 0.0,
) -> jax.Array:
    """The objective [B] of a network, with dropout where dropout_keys [B] are given.

    Dropout includes that of labels [B], of which a share label_dropout becomes
    null_label. t [B] is drawn uniformly from keys where it is not given.

    Args:
      network: `apply_network` of a model.
      objective: `training_loss`, but for the network and t.
      guessing: `self_conditioned`, but for the network and its keys, if it is.
    """
    if labels is not None:
        if dropout_keys is not None:
            assert null_label is not None  # or there would be no labels
            labels = drop_labels(dropout_keys, labels, null_label, label_dropout)
        network = partial(network, labels=labels)
    network = partial(network, dropout_keys=dropout_keys)
    if guessing is not None:
        network = guessing(network, per_image.one_each(keys, x_0.shape[0]))
    return objective(params, keys, x_0, network=network, t=t)


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
