"""Trains the classifiers whose features come with the package: metrics/weights/.

    python tools/train_classifier.py digits_cnn
    python tools/train_classifier.py cifar10_cnn cifar10-train-jpeg.zip

The second takes a zip of CIFAR-10's training images, a folder for each class. Both
print the accuracy on images that they were not trained on, and write it into the file.
"""

import io
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from ddpm_jax.data import load_digits
from ddpm_jax.data import split_rows
from ddpm_jax.images import to_model_range
from ddpm_jax.metrics.classifier import Classifier
from ddpm_jax.metrics.extractors import WEIGHTS
from ddpm_jax.weights import save_weights

BATCH_SIZE = 64


class Plan(NamedTuple):
    """How one of them is trained."""

    channels: tuple[int, ...]
    epochs: int
    flip: bool
    held_out: int


PLANS = {
    "digits_cnn": Plan((32, 64, 128), epochs=40, flip=False, held_out=360),
    "cifar10_cnn": Plan((32, 64, 128), epochs=4, flip=True, held_out=5000),
}


def read_zip(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, H, W, C] of a zip, and the numbers of their folders [N]."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(x for x in archive.namelist() if x.endswith((".jpg", ".png")))
        images = [np.asarray(Image.open(io.BytesIO(archive.read(x)))) for x in names]
    folders = [Path(name).parent.name for name in names]
    return np.stack(images), np.unique(folders, return_inverse=True)[1]


def train(plan: Plan, images: np.ndarray, labels: np.ndarray) -> tuple[dict, float]:
    """Trains on all but the held-out images; returns parameters and accuracy on those.

    Images are moved by up to an eighth of their size, and flipped where plan says so.
    """
    train_rows, test_rows = split_rows(len(images), plan.held_out, seed=0)
    model = Classifier(plan.channels, num_classes=int(labels.max()) + 1)
    x = to_model_range(jnp.asarray(images))
    params = model.init(jax.random.key(0), x[:1])
    steps = len(train_rows) // BATCH_SIZE * plan.epochs
    optimiser = optax.adamw(
        optax.cosine_onecycle_schedule(steps, 3e-3), weight_decay=1e-2
    )
    shift = images.shape[1] // 8

    def loss_of(params: dict, x: jax.Array, y: jax.Array) -> jax.Array:
        _, logits = model.apply(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def augment(key: jax.Array, x: jax.Array) -> jax.Array:
        flip_key, shift_key = jax.random.split(key)
        padded = jnp.pad(x, ((shift, shift), (shift, shift), (0, 0)), mode="edge")
        start = jax.random.randint(shift_key, (2,), 0, 2 * shift + 1)
        moved = jax.lax.dynamic_slice(padded, (*start, 0), x.shape)
        flip = plan.flip & jax.random.bernoulli(flip_key)
        return jnp.where(flip, moved[:, ::-1], moved)

    @jax.jit
    def step(
        params: dict, state: optax.OptState, key: jax.Array, x: jax.Array, y: jax.Array
    ) -> tuple[dict, optax.OptState, jax.Array]:
        x = jax.vmap(augment)(jax.random.split(key, len(x)), x)
        loss, gradients = jax.value_and_grad(loss_of)(params, x, y)
        updates, state = optimiser.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    state, number = optimiser.init(params), 0
    for epoch in range(plan.epochs):
        order = np.random.default_rng(epoch).permutation(train_rows)
        for rows in order[: len(order) // BATCH_SIZE * BATCH_SIZE].reshape(
            -1, BATCH_SIZE
        ):
            key = jax.random.fold_in(jax.random.key(1), number)
            params, state, loss = step(params, state, key, x[rows], labels[rows])
            number += 1
        print(f"epoch {epoch + 1}: loss {float(loss):.3f}", flush=True)
    predict = jax.jit(lambda params, x: model.apply(params, x)[1].argmax(-1))
    parts = np.array_split(test_rows, -(-len(test_rows) // 500))
    right = [np.asarray(predict(params, x[rows])) == labels[rows] for rows in parts]
    return params, float(np.concatenate(right).mean())


def main() -> None:
    """Trains the one that is named, and writes its weights."""
    name = sys.argv[1]
    plan = PLANS[name]
    images, labels = load_digits() if len(sys.argv) < 3 else read_zip(sys.argv[2])
    params, accuracy = train(plan, images, labels)
    config = {
        "channels": plan.channels,
        "shape": images.shape[1:],
        "held_out_accuracy": round(accuracy, 4),
        "held_out_images": plan.held_out,
    }
    # What is stored is float16's: half the bytes, and features equal to 3 digits.
    path = save_weights(WEIGHTS / name, params, step=0, config=config, dtype="float16")
    print(f"accuracy {accuracy:.4f} on {plan.held_out} held-out images; {path.name}")


if __name__ == "__main__":
    main()
