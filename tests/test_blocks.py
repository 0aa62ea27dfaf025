"""The layers of the U-Net against closed forms and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_unet import np_attention
from numpy_unet import np_group_norm
from numpy_unet import np_time_embedding
from numpy_unet import random_params

from ddpm_jax.blocks import Attention
from ddpm_jax.blocks import Downsample
from ddpm_jax.blocks import GroupNorm
from ddpm_jax.blocks import ResBlock
from ddpm_jax.blocks import Upsample
from ddpm_jax.blocks import dropout
from ddpm_jax.blocks import time_embedding
from ddpm_jax.keys import image_keys


@pytest.mark.parametrize(
    "mean, std, tolerance",
    [(0, 1, 2e-6), (100, 0.1, 3e-3), (0, 1e-3, 2e-6), (0, 1e-5, 2e-6)],
)
def test_group_norm_keeps_its_digits(mean: float, std: float, tolerance: float) -> None:
    x = np.random.default_rng(0).normal(mean, std, (2, 6, 5, 8)).astype(np.float32)
    x[..., :2] *= 3
    norm = GroupNorm(num_groups=4)
    p = random_params(norm.init, x)
    expected = np_group_norm(p["params"], x)
    np.testing.assert_allclose(jax.jit(norm.apply)(p, x), expected, atol=tolerance)


def test_group_norm_of_bfloat16_has_float32_statistics() -> None:
    x = np.random.default_rng(0).normal(10, 1, (1, 16, 16, 8))
    x = jnp.asarray(x, jnp.bfloat16)
    norm = GroupNorm(num_groups=4, dtype=jnp.bfloat16)
    p = random_params(norm.init, x)
    y = jax.jit(norm.apply)(p, x)
    expected = np_group_norm(p["params"], np.asarray(x, np.float64))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float64(y), expected, rtol=2**-8, atol=1e-4)


def test_downsample_pads_at_the_bottom_and_right_only() -> None:
    kernel = np.arange(1.0, 10.0).reshape(3, 3, 1, 1)
    p = {"params": {"conv": {"kernel": kernel, "bias": np.zeros(1)}}}
    first, last = np.zeros((2, 1, 4, 4, 1), np.float32)
    first[0, 0, 0], last[0, 3, 3] = 1, 1
    np.testing.assert_array_equal(
        Downsample().apply(p, first)[0, :, :, 0], [[1, 0], [0, 0]]
    )
    np.testing.assert_array_equal(
        Downsample().apply(p, last)[0, :, :, 0], [[0, 0], [0, 5]]
    )


def test_upsample_repeats_pixels_before_it_convolves() -> None:
    kernel = np.zeros((3, 3, 1, 1))
    kernel[1, 1] = 1
    p = {"params": {"conv": {"kernel": kernel, "bias": np.zeros(1)}}}
    x = np.arange(6.0, dtype=np.float32).reshape(1, 2, 3, 1)
    expected = x.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(Upsample().apply(p, x), expected)


@pytest.mark.parametrize("steps", [[0, 1, 500, 999], [0.25, 998.5]])
@pytest.mark.parametrize("dim", [4, 128])
def test_time_embedding_is_sines_then_cosines(dim: int, steps: list[float]) -> None:
    t = np.array(steps)
    found = time_embedding(jnp.asarray(t), dim)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np_time_embedding(t, dim), atol=1e-4)


@pytest.mark.parametrize("dim", [2, 7])
def test_time_embedding_refuses_dimensions_without_a_formula(dim: int) -> None:
    with pytest.raises(ValueError, match=f"dimension {dim} is not even and at least 4"):
        time_embedding(jnp.zeros(1), dim)


def test_attention_is_a_softmax_over_all_positions() -> None:
    x = 3 * np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype(np.float32)
    attention = Attention(num_groups=4)
    p = random_params(attention.init, x)
    expected = np_attention(p["params"], x.astype(np.float64))
    np.testing.assert_allclose(jax.jit(attention.apply)(p, x), expected, atol=2e-5)


def test_dropout_sits_between_norm2_swish_and_conv2() -> None:
    block = ResBlock(8, dropout=0.25, num_groups=4)
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 8)).astype(np.float32)
    temb = np.ones((1, 4), np.float32)
    p = random_params(block.init, x, temb)
    identity = np.zeros((3, 3, 8, 8), np.float32)
    identity[1, 1] = np.eye(8)
    p["params"]["conv2"] = {"kernel": identity, "bias": np.zeros(8, np.float32)}
    apply, keys = jax.jit(block.apply), image_keys(jax.random.key(0), 1)
    whole = np.asarray(apply(p, x, temb)) - x
    dropped = np.asarray(apply(p, x, temb, keys)) - x
    kept = np.abs(dropped) > 1e-6
    assert kept.mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(dropped[kept], (whole / 0.75)[kept], atol=1e-5)


def test_dropout_masks_each_image_by_its_own_key() -> None:
    keys, x = image_keys(jax.random.key(0), 3), jnp.ones((3, 40, 25))
    y = np.asarray(dropout(keys, x, 0.1))
    assert set(y.ravel().tolist()) == {0.0, float(np.float32(1 / 0.9))}
    assert (y == 0).mean() == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / y.size))
    assert not np.array_equal(y[0], y[1])
    alone = dropout(image_keys(jax.random.key(0), 1, start=2), x[2:], 0.1)
    np.testing.assert_array_equal(alone, y[2:])
