"""A network that is told labels is measured with those of the images themselves."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny
from test_ode_likelihood import flow_log_density
from test_ode_likelihood import known

from ddpm_jax import keys as per_image
from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.dequantisation import bits_of
from ddpm_jax.dequantisation import dequantise
from ddpm_jax.evaluation import nll
from ddpm_jax.evaluation import nll_ode
from ddpm_jax.evaluation.image_rows import examples
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.evaluation.task import Task
from ddpm_jax.images import to_model_range
from ddpm_jax.likelihood import bits_per_dim
from ddpm_jax.loading import Trained

KEY = jax.random.key(0)
LABELS, STD = jnp.array([2, 7, 4]), 0.3
IMAGES = np.random.default_rng(0).integers(60, 200, (3, 8, 8, 1), np.uint8)
ROWS = {"image": jnp.asarray(IMAGES), "index": jnp.array([4, 9, 5]), "label": LABELS}


def config_of(num_classes: int) -> Config:
    model = dataclasses.replace(tiny.MODEL, num_classes=num_classes)
    data = Data(source="digits", image_size=(8, 8), channels=1)
    return dataclasses.replace(tiny.CONFIG, model=model, data=data)


def mean_of(label: jax.Array) -> jax.Array:
    """The mean of the pixels of a class, where their deviation is STD."""
    return 0.1 * label - 0.4


@pytest.fixture(scope="module")
def parts() -> Parts:
    """Those of a network that knows each class in closed form."""
    real = build(config_of(10))
    schedule = real.schedule

    def network(
        params: object, x_t: jax.Array, t: jax.Array, *, labels: jax.Array
    ) -> jax.Array:
        log_ab = oracles.log_ab_at(schedule, t).reshape(-1, 1, 1, 1)
        alpha, noise = jnp.exp(0.5 * log_ab), -jnp.expm1(log_ab)
        gap = x_t - alpha * mean_of(labels).reshape(-1, 1, 1, 1)
        return jnp.sqrt(noise) * gap / (alpha**2 * STD**2 + noise)

    return real._replace(network=network)


@pytest.mark.slow
def test_the_terms_of_an_image_are_those_of_its_class(parts: Parts) -> None:
    got = nll.image_terms(({}, KEY), ROWS, parts=parts, draws=1, cdf="exact")
    for i, label in enumerate(LABELS.tolist()):
        alone = bits_per_dim(
            {},
            per_image.fold_in_each(KEY, ROWS["index"][i : i + 1]),
            to_model_range(ROWS["image"][i : i + 1]),
            eps_fn=oracles.gaussian_eps(0.1 * label - 0.4, STD, parts.schedule),
            schedule=parts.schedule,
        )
        np.testing.assert_allclose(got["terms"][i], alone.terms[0, 0], rtol=1e-3)


@pytest.mark.slow
def test_the_density_of_an_image_is_that_of_its_class(parts: Parts) -> None:
    got = nll_ode.image_bits(({}, KEY), ROWS, parts=parts, settings=Settings())
    keys = per_image.fold_in_each(KEY, ROWS["index"])
    x = np.asarray(dequantise(keys, to_model_range(ROWS["image"])), np.float64)
    for i, label in enumerate(LABELS.tolist()):
        data = known(
            np.full(64, 0.1 * label - 0.4), STD**2 * np.eye(64), parts.schedule
        )
        density = flow_log_density(data, x[i].reshape(1, 64))
        exact = bits_of(jnp.asarray(density), 64)[0]
        assert float(got["bits"][i]) == pytest.approx(float(exact), abs=2e-3)


def task_of(num_classes: int, out: Path) -> Task:
    config = config_of(num_classes)
    trained = Trained(config, build(config), {}, 0, False)
    return Task(trained, Settings(num=4), out)


def test_each_image_comes_with_its_own_label(tmp_path: Path) -> None:
    task = task_of(10, tmp_path)
    rows = task.measured.images.rows
    found = examples(task, rows)
    np.testing.assert_array_equal(found["label"], task.labels[rows])
    np.testing.assert_array_equal(found["image"], task.dataset.held_out[rows])
    assert task.conditioning() == {"label": "each image's own"}


def test_images_of_other_classes_are_refused(tmp_path: Path) -> None:
    sentence = "the model knows 7 classes and digits has 10; give --data with labels"
    with pytest.raises(ValueError, match=sentence):
        nll.protocol(task_of(7, tmp_path))


def test_a_self_conditioned_model_is_shown_no_guess(parts: Parts) -> None:
    def x0_fn(params: object, seen: jax.Array, t: jax.Array) -> jax.Array:
        return seen[..., 1:] + 0.5  # nothing but its guess, which is 0

    bound = partial(
        bits_per_dim, x0_fn=x0_fn, schedule=parts.schedule, self_condition=True
    )
    got = jax.jit(bound)({}, KEY, np.zeros((2, 4, 4, 1), "f"))
    assert np.unique(got.mse).tolist() == [0.25]
