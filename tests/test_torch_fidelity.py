"""The same weights and features give what torch-fidelity gives, without torch.

tools/make_metric_fixtures.py wrote what it said.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from seeded import probes
from seeded import seeded_features
from seeded import seeded_images
from seeded import seeded_tensor

from ddpm_jax.metrics.frechet import frechet_distance
from ddpm_jax.metrics.inception import BLOCKS
from ddpm_jax.metrics.inception import Inception
from ddpm_jax.metrics.inception import resize
from ddpm_jax.metrics.inception_score import inception_score
from ddpm_jax.metrics.inception_weights import check_shapes
from ddpm_jax.metrics.inception_weights import convert
from ddpm_jax.metrics.kid import kernel_distance
from ddpm_jax.metrics.precision_recall import precision_recall
from ddpm_jax.metrics.statistics import moments_of
from ddpm_jax.metrics.statistics import statistics_of

FIXTURE = Path(__file__).parent / "fixtures/torch_fidelity.npz"
THEIRS = dict(np.load(FIXTURE, allow_pickle=False))
SHAPES = json.loads(str(THEIRS["shapes"]))
FEATURES, REFERENCE, LOGITS = seeded_features()


@functools.cache
def variables() -> dict[str, Any]:
    """Their state dict with seeded tensors, converted."""
    return convert({name: seeded_tensor(name, tuple(s)) for name, s in SHAPES.items()})


@functools.cache
def outputs() -> dict[str, np.ndarray]:
    """What every part of the network says of a small image, by their names."""

    def apply(variables: dict[str, Any], images: jax.Array) -> Any:  # noqa: ANN401
        x = (resize(images.astype(jnp.float32), 107) - 128) / 128
        return Inception().apply(variables, x, capture_intermediates=True)

    images = seeded_images("inception", (1, 32, 28, 3))
    (features, logits), kept = jax.jit(apply)(variables(), images)
    found = {"2048": features, "logits_unbiased": logits}
    inner = {name: kept["intermediates"][name]["__call__"][0] for name in BLOCKS}
    inner["MaxPool_2"] = kept["intermediates"]["stem"]["__call__"][0]
    return {name: np.asarray(x) for name, x in (found | inner).items()}


def metric(name: str) -> float:
    return float(THEIRS[f"metric/{name}"])


@pytest.mark.slow
def test_every_tensor_of_their_file_has_its_place() -> None:
    check_shapes(variables(), "their file")
    kept = ("conv.weight", "bn.bias", "fc.weight")
    sizes = [np.prod(s) for name, s in SHAPES.items() if name.endswith(kept)]
    assert sum(x.size for x in jax.tree.leaves(variables())) == sum(sizes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MaxPool_2", *BLOCKS, "2048", "logits_unbiased"])
def test_every_part_of_the_network_agrees(name: str) -> None:
    theirs = THEIRS[f"network/{name}"]
    got = probes(name, outputs()[name])
    np.testing.assert_allclose(got, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_fid_agrees() -> None:
    (mu_1, sigma_1, *_), (mu_2, sigma_2, *_) = (
        statistics_of(moments_of(x)) for x in (FEATURES, REFERENCE)
    )
    got = frechet_distance(mu_1, sigma_1, mu_2, sigma_2)
    assert got == pytest.approx(metric("frechet_inception_distance"), rel=1e-6)


def test_kid_agrees() -> None:
    mean, std = kernel_distance(FEATURES, REFERENCE, num_subsets=20, subset_size=80)
    assert mean == pytest.approx(metric("kernel_inception_distance_mean"), rel=1e-6)
    assert std == pytest.approx(metric("kernel_inception_distance_std"), rel=1e-6)


def test_the_inception_score_agrees() -> None:
    mean, std = inception_score(LOGITS)
    assert mean == pytest.approx(metric("inception_score_mean"), rel=1e-6)
    assert std == pytest.approx(metric("inception_score_std"), rel=1e-6)


def test_precision_and_recall_agree() -> None:
    precision, recall = precision_recall(FEATURES, REFERENCE)
    assert 0 < precision < 1
    assert precision == pytest.approx(metric("precision"), rel=1e-6)
    assert recall == pytest.approx(metric("recall"), rel=1e-6)
