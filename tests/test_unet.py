"""The U-Net against the paper's counts, closed forms and a float64 transcription."""

from functools import cache
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from numpy_unet import Tree
from numpy_unet import np_tiny_unet
from numpy_unet import param_shapes
from numpy_unet import random_params

from ddpm_jax import blocks
from ddpm_jax.keys import image_keys
from ddpm_jax.unet import UNet
from ddpm_jax.unet import check_shape

CIFAR: dict[str, Any] = {}
LSUN: dict[str, Any] = {"ch_mult": (1, 1, 2, 2, 4, 4), "dropout": 0.0}
# Eight high, twelve wide; attention on the lower level, which is four high.
TINY = UNet(
    ch=8,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(4,),
    dropout=0.5,
    num_groups=4,
)
# The least that has a way down, a middle and a way up.
SMALL = TINY.clone(ch_mult=(1,), num_res_blocks=0, attention_resolutions=())
X = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)
T = np.array([3, 999])
apply_small = jax.jit(SMALL.apply)


@pytest.fixture(scope="module")
def params() -> Tree:
    return random_params(TINY.init, X, T)


@pytest.fixture(scope="module")
def eps_hat(params: Tree) -> np.ndarray:
    return np.asarray(jax.jit(TINY.apply)(params, X, T))


@pytest.fixture(scope="module")
def small_params() -> Tree:
    return random_params(SMALL.init, X, T)


def test_unet_is_the_papers_network(params: Tree, eps_hat: np.ndarray) -> None:
    wide = jax.tree.map(np.float64, params["params"])
    expected = np_tiny_unet(wide, X.astype(np.float64), T)
    assert expected.std() > 0.1
    np.testing.assert_allclose(eps_hat, expected, atol=2e-4)


@cache
def shapes_of(size: int, **fields: Any) -> Tree:  # noqa: ANN401
    x = jnp.zeros((1, size, size, 3))
    return param_shapes(UNet(**fields).init, x, jnp.zeros(1))


@pytest.mark.parametrize(
    "fields, size, count, tensors",
    [
        (CIFAR, 32, 35_746_307, 328),
        pytest.param(LSUN, 256, 113_673_219, 450, marks=pytest.mark.slow),
        pytest.param(LSUN | {"ch": 192}, 256, 255_677_955, 450, marks=pytest.mark.slow),
    ],
)
def test_parameter_counts_are_the_papers(
    fields: dict[str, Any], size: int, count: int, tensors: int
) -> None:
    leaves = jax.tree.leaves(shapes_of(size, **fields))
    assert len(leaves) == tensors
    assert sum(leaf.size for leaf in leaves) == count


@pytest.mark.parametrize(
    "fields, size, level",
    [(CIFAR, 32, 1), pytest.param(LSUN, 256, 4, marks=pytest.mark.slow)],
)
def test_attention_follows_every_block_at_16_pixels_and_the_middle(
    fields: dict[str, Any], size: int, level: int
) -> None:
    shapes = shapes_of(size, **fields)
    down = {f"down_{level}_attn_{i}" for i in range(2)}
    up = {f"up_{level}_attn_{i}" for i in range(3)}
    found = {name for name in shapes["params"] if "attn" in name}
    assert found == down | up | {"mid_attn_1"}


@pytest.mark.slow
def test_the_network_starts_with_the_papers_initialisation_and_eps_hat_zero() -> None:
    # Every kind of layer, few of each; rbg compiles in a quarter of threefry's time.
    model = TINY.clone(num_res_blocks=0, attention_resolutions=())
    key = jax.random.key(0, impl="rbg")
    drawn = jax.jit(model.init_with_output)(key, X, T)
    eps_hat, initial_params = jax.tree.map(np.asarray, drawn)
    assert 0 < np.abs(eps_hat).max() < 1e-4
    zero_layers = {"conv2", "proj_out", "conv_out"}
    for path, leaf in flatten_dict(initial_params["params"]).items():
        if path[-1] != "kernel":
            assert np.all(leaf == (path[-1] == "scale")), path
            continue
        scale = 1e-10 if path[-2] in zero_layers else 1.0
        fan_avg = np.prod(leaf.shape[:-2]) * (leaf.shape[-2] + leaf.shape[-1]) / 2
        bound = np.sqrt(3 * scale / fan_avg)
        assert 0.95 * bound < np.abs(leaf).max() <= bound * 1.000001, path
        assert leaf.var() == pytest.approx(bound**2 / 3, rel=0.25), path


def test_dropout_draws_another_mask_in_every_block(small_params: Tree) -> None:
    keys, seen = image_keys(jax.random.key(0), 2), []

    def record(keys: jax.Array, x: jax.Array, rate: float) -> jax.Array:
        assert rate == 0.5
        seen.append(jax.random.key_data(keys))
        return x

    def drawn_with(keys: jax.Array) -> list[jax.Array]:
        SMALL.apply(small_params, X, T, keys)
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "dropout", record)
        masks = {np.asarray(own).tobytes() for own in jax.jit(drawn_with)(keys)}
    named = {name for name in small_params["params"] if "block" in name}
    assert len(masks) == len(seen) == len(named)


def test_there_is_no_dropout_without_keys_or_without_a_rate(small_params: Tree) -> None:
    def draws(model: UNet, *keys: jax.Array) -> int:
        return str(jax.make_jaxpr(model.apply)(small_params, X, T, *keys)).count(
            "random_bits["
        )

    keys = image_keys(jax.random.key(0), 2)
    named = {name for name in small_params["params"] if "block" in name}
    assert draws(SMALL) == draws(SMALL.clone(dropout=0.0), keys) == 0
    assert draws(SMALL, keys) == len(named)


@pytest.mark.slow
def test_images_one_by_one_are_the_batch(small_params: Tree) -> None:
    keys, other = (image_keys(jax.random.key(seed), 2) for seed in (0, 1))
    both = np.asarray(apply_small(small_params, X, T, keys))
    for i in range(2):
        one = slice(i, i + 1)
        alone = apply_small(small_params, X[one], T[one], keys[one])
        np.testing.assert_allclose(both[one], alone, atol=1e-5)
    assert np.abs(apply_small(small_params, X, T, other) - both).max() > 0.1


@pytest.mark.slow
def test_computing_blocks_again_changes_neither_names_nor_gradients(
    small_params: Tree,
) -> None:
    keys = image_keys(jax.random.key(0), 2)

    def gradient(model: UNet) -> Tree:
        """By the first layer's kernel, which every block is on the way back to."""

        def loss(kernel: np.ndarray) -> jax.Array:
            first = small_params["params"]["conv_in"] | {"kernel": kernel}
            params = {"params": small_params["params"] | {"conv_in": first}}
            return jnp.square(model.apply(params, X, T, keys)).mean()

        return jax.jit(jax.grad(loss))(small_params["params"]["conv_in"]["kernel"])

    again = SMALL.clone(remat=True)
    assert "remat" in str(jax.make_jaxpr(again.apply)(small_params, X, T))
    shapes = [param_shapes(model.init, X, T) for model in (SMALL, again)]
    assert shapes[0] == shapes[1]
    kept = gradient(SMALL)
    assert np.abs(kept).max() > 1e-3
    np.testing.assert_allclose(gradient(again), kept, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 16, 1), (2, 12, 4, 3), (3, 4, 4, 4)])
def test_other_channels_and_non_square_sizes_work(shape: tuple[int, ...]) -> None:
    model = TINY.clone(out_channels=shape[-1])
    init = partial(model.init_with_output, jax.random.key(0))
    eps_hat, _ = jax.eval_shape(init, jnp.zeros(shape), jnp.zeros(shape[0]))
    assert (eps_hat.shape, eps_hat.dtype) == (shape, jnp.float32)


@pytest.mark.slow
def test_bfloat16_keeps_float32_parameters_and_output(
    params: Tree, eps_hat: np.ndarray
) -> None:
    model = TINY.clone(dtype=jnp.bfloat16)
    leaves = jax.tree.leaves(param_shapes(model.init, X, T))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
    found = np.asarray(jax.jit(model.apply)(params, X, T))
    assert found.dtype == np.float32
    assert 1e-6 < np.abs(found - eps_hat).max() < 5e-2 * np.abs(eps_hat).max()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"height": 28}, "height 28 is not .* multiple of 8 .*: use 24 or 32"),
        ({"width": 33}, "width 33 is not .* multiple of 8 .*: use 32 or 40"),
        ({"height": 4}, r"height 4 is not .* multiple of 8 \(4 levels\): use 8$"),
        ({"width": 0}, "width 0 is not a positive multiple of 8 .*: use 8$"),
        ({"ch": 48}, "48 .* multiple of num_groups 32: change ch, ch_mult or"),
        ({"ch_mult": (1, 0)}, r"ch \* mult = 128 \* 0 channels are not a positive"),
        ({"ch_mult": ()}, r"ch_mult is empty, .* use \(1,\)"),
    ],
)
def test_illegal_shapes_raise_a_sentence(change: dict[str, Any], sentence: str) -> None:
    sizes: dict[str, Any] = {"height": 32, "width": 32, "ch": 128, "num_groups": 32}
    sizes["ch_mult"] = (1, 2, 2, 2)
    check_shape(**sizes)
    with pytest.raises(ValueError, match=sentence):
        check_shape(**sizes | change)


@pytest.mark.parametrize(
    "x_shape, t_shape, sentence",
    [
        ((1, 9, 8, 3), (1,), "height 9 is not a positive multiple of 2"),
        ((8, 8, 3), (8,), r"x \(8, 8, 3\) must be \[B, H, W, C\]"),
        ((2, 8, 8, 3), (), r"and t \(\) \[B\]"),
    ],
)
def test_the_network_checks_its_inputs(
    x_shape: tuple[int, ...], t_shape: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        param_shapes(TINY.init, jnp.zeros(x_shape), jnp.zeros(t_shape))
