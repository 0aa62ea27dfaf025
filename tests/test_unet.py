"""The U-Net against the paper's counts, closed forms and a float64 transcription."""

from collections.abc import Callable
from functools import partial
from typing import Any
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.errors import InvalidRngError
from flax.traverse_util import flatten_dict
from jax.typing import ArrayLike

from ddpm_jax.unet import Attention
from ddpm_jax.unet import Downsample
from ddpm_jax.unet import GroupNorm
from ddpm_jax.unet import ResBlock
from ddpm_jax.unet import UNet
from ddpm_jax.unet import Upsample
from ddpm_jax.unet import check_shape
from ddpm_jax.unet import time_embedding

# Parameters are nested dicts of arrays, which no static type describes.
Tree: TypeAlias = Any

CIFAR: dict[str, Any] = {}
LSUN = {"ch_mult": (1, 1, 2, 2, 4, 4), "dropout": 0.0}
# Eight high, twelve wide; attention on the lower level, which is four high.
TINY = UNet(
    ch=8,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(4,),
    dropout=0.5,
    num_groups=4,
)
X = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)
T = np.array([3, 999])


def param_shapes(init: Callable[..., Tree], *args: ArrayLike) -> Tree:
    return jax.eval_shape(partial(init, jax.random.key(0)), *args)


def random_params(init: Callable[..., Tree], *args: ArrayLike) -> Tree:
    """Parameters of which none is zero or one, so that every layer counts."""
    rng = np.random.default_rng(1)

    def draw(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        fan_in = max(np.prod(shape.shape[:-1]), 4)
        return rng.normal(size=shape.shape, scale=fan_in**-0.5).astype(np.float32)

    return jax.tree.map(draw, param_shapes(init, *args))


@pytest.fixture(scope="module")
def params() -> Tree:
    return random_params(TINY.init, X, T)


@pytest.fixture(scope="module")
def eps_hat(params: Tree) -> jax.Array:
    return jax.jit(TINY.apply)(params, X, T)


# The network once more, in NumPy and float64, from the paper's appendix B.


def np_swish(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def np_conv(
    p: Tree, x: np.ndarray, stride: int = 1, pad: tuple[int, int] = (1, 1)
) -> np.ndarray:
    x = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    rows = range(0, x.shape[1] - 2, stride)
    columns = range(0, x.shape[2] - 2, stride)
    windows = [[x[:, i : i + 3, j : j + 3] for j in columns] for i in rows]
    return np.einsum("hwbijc,ijcd->bhwd", windows, p["kernel"]) + p["bias"]


def np_dense(p: Tree, x: np.ndarray) -> np.ndarray:
    return x @ p["kernel"] + p["bias"]


def np_group_norm(p: Tree, x: np.ndarray, groups: int = 4) -> np.ndarray:
    out = np.empty(x.shape, np.float64)
    for b in range(x.shape[0]):
        for c in np.split(np.arange(x.shape[-1]), groups):
            group = x[b][..., c].astype(np.float64)
            out[b][..., c] = (group - group.mean()) / np.sqrt(group.var() + 1e-6)
    return out * p["scale"] + p["bias"]


def np_time_embedding(t: np.ndarray, dim: int) -> np.ndarray:
    half = dim // 2
    rows = []
    for step in t:
        freqs = [np.exp(-i * np.log(10000) / (half - 1)) for i in range(half)]
        rows.append(
            [np.sin(step * f) for f in freqs] + [np.cos(step * f) for f in freqs]
        )
    return np.array(rows)


def np_attention(p: Tree, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    h = np_group_norm(p["norm"], x)
    for b in range(len(x)):
        pixels = h[b].reshape(-1, x.shape[-1])
        q, k, v = (np_dense(p[name], pixels) for name in ("q", "k", "v"))
        weights = np.exp(q @ k.T / np.sqrt(x.shape[-1]))
        weights /= weights.sum(axis=1, keepdims=True)
        out[b] = x[b] + np_dense(p["proj_out"], weights @ v).reshape(x[b].shape)
    return out


def np_block(p: Tree, x: np.ndarray, temb: np.ndarray) -> np.ndarray:
    h = np_conv(p["conv1"], np_swish(np_group_norm(p["norm1"], x)))
    h = h + np_dense(p["temb_proj"], np_swish(temb))[:, None, None, :]
    h = np_conv(p["conv2"], np_swish(np_group_norm(p["norm2"], h)))
    return h + (np_dense(p["nin_shortcut"], x) if "nin_shortcut" in p else x)


def np_tiny_unet(p: Tree, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """TINY layer by layer: two levels, one block down and two up on each."""
    temb = np_dense(p["temb_dense0"], np_time_embedding(t, 8))
    temb = np_dense(p["temb_dense1"], np_swish(temb))
    a = np_conv(p["conv_in"], x)
    b = np_block(p["down_0_block_0"], a, temb)
    c = np_conv(p["down_0_downsample"]["conv"], b, stride=2, pad=(0, 1))
    d = np_attention(p["down_1_attn_0"], np_block(p["down_1_block_0"], c, temb))
    h = np_block(p["mid_block_1"], d, temb)
    h = np_block(p["mid_block_2"], np_attention(p["mid_attn_1"], h), temb)
    h = np_block(p["up_1_block_0"], np.concatenate([h, d], -1), temb)
    h = np_attention(p["up_1_attn_0"], h)
    h = np_block(p["up_1_block_1"], np.concatenate([h, c], -1), temb)
    h = np_attention(p["up_1_attn_1"], h)
    h = np_conv(p["up_1_upsample"]["conv"], np.kron(h, np.ones((1, 2, 2, 1))))
    h = np_block(p["up_0_block_0"], np.concatenate([h, b], -1), temb)
    h = np_block(p["up_0_block_1"], np.concatenate([h, a], -1), temb)
    return np_conv(p["conv_out"], np_swish(np_group_norm(p["norm_out"], h)))


def test_unet_is_the_papers_network(params: Tree, eps_hat: jax.Array) -> None:
    wide = jax.tree.map(np.float64, params["params"])
    expected = np_tiny_unet(wide, X.astype(np.float64), T)
    assert expected.std() > 0.1
    np.testing.assert_allclose(eps_hat, expected, atol=2e-4)


@pytest.mark.parametrize(
    "fields, size, count, tensors",
    [
        (CIFAR, 32, 35_746_307, 328),
        (LSUN, 256, 113_673_219, 450),
        (LSUN | {"ch": 192}, 256, 255_677_955, 450),
    ],
)
def test_parameter_counts_are_the_papers(
    fields: dict[str, Any], size: int, count: int, tensors: int
) -> None:
    shapes = param_shapes(
        UNet(**fields).init, jnp.zeros((1, size, size, 3)), jnp.zeros(1)
    )
    leaves = jax.tree.leaves(shapes)
    assert len(leaves) == tensors
    assert sum(leaf.size for leaf in leaves) == count


@pytest.mark.parametrize("fields, size, level", [(CIFAR, 32, 1), (LSUN, 256, 4)])
def test_attention_follows_every_block_at_16_pixels_and_the_middle(
    fields: dict[str, Any], size: int, level: int
) -> None:
    shapes = param_shapes(
        UNet(**fields).init, jnp.zeros((1, size, size, 3)), jnp.zeros(1)
    )
    down = {f"down_{level}_attn_{i}" for i in range(2)}
    up = {f"up_{level}_attn_{i}" for i in range(3)}
    found = {name for name in shapes["params"] if "attn" in name}
    assert found == down | up | {"mid_attn_1"}


def test_the_network_starts_with_the_papers_initialisation_and_eps_hat_zero() -> None:
    # Every kind of layer, few of each; rbg compiles in a quarter of threefry's time.
    model = TINY.clone(num_res_blocks=0, attention_resolutions=())
    key = jax.random.key(0, impl="rbg")
    eps_hat, initial_params = jax.jit(model.init_with_output)(key, X, T)
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
    np.testing.assert_allclose(norm.apply(p, x), expected, atol=tolerance)


def test_group_norm_of_bfloat16_has_float32_statistics() -> None:
    x = np.random.default_rng(0).normal(10, 1, (1, 16, 16, 8))
    x = jnp.asarray(x, jnp.bfloat16)
    norm = GroupNorm(num_groups=4, dtype=jnp.bfloat16)
    p = random_params(norm.init, x)
    y = norm.apply(p, x)
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
    np.testing.assert_allclose(attention.apply(p, x), expected, atol=2e-5)


def test_dropout_sits_between_norm2_swish_and_conv2() -> None:
    block = ResBlock(8, dropout=0.25, num_groups=4)
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 8)).astype(np.float32)
    temb = np.ones((1, 4), np.float32)
    p = random_params(partial(block.init, train=False), x, temb)
    identity = np.zeros((3, 3, 8, 8), np.float32)
    identity[1, 1] = np.eye(8)
    p["params"]["conv2"] = {"kernel": identity, "bias": np.zeros(8, np.float32)}
    whole = np.asarray(block.apply(p, x, temb, train=False)) - x
    rngs = {"dropout": jax.random.key(0)}
    dropped = np.asarray(block.apply(p, x, temb, train=True, rngs=rngs)) - x
    kept = np.abs(dropped) > 1e-6
    assert kept.mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(dropped[kept], (whole / 0.75)[kept], atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_dropout_acts_in_every_block_when_training(params: Tree, train: bool) -> None:
    found: dict[str, tuple[float, bool | None]] = {}

    def record(
        call: Callable[..., jax.Array],
        args: tuple[ArrayLike, ...],
        kwargs: dict[str, ArrayLike],
        context: nn.module.InterceptorContext,
    ) -> jax.Array:
        if isinstance(context.module, nn.Dropout):
            name = context.module.path[0]
            found[name] = context.module.rate, context.module.deterministic
        return call(*args, **kwargs)

    rngs = {"dropout": jax.random.key(0)}
    with nn.intercept_methods(record):
        jax.eval_shape(partial(TINY.apply, train=train, rngs=rngs), params, X, T)
    blocks = {name for name in params["params"] if "block" in name}
    assert found == dict.fromkeys(blocks, (0.5, not train))


def test_dropout_needs_its_key_in_training_only(params: Tree) -> None:
    jax.eval_shape(TINY.apply, params, X, T)
    with pytest.raises(InvalidRngError, match="dropout"):
        jax.eval_shape(partial(TINY.apply, train=True), params, X, T)


def apply_one_by_one(
    model: UNet, params: Tree, x: np.ndarray, t: np.ndarray, keys: jax.Array
) -> jax.Array:
    def one(x: jax.Array, t: jax.Array, key: jax.Array) -> Tree:
        rngs = {"dropout": key}
        return model.apply(params, x[None], t[None], train=True, rngs=rngs)[0]

    return jax.jit(jax.vmap(one))(x, t, keys)


def test_images_one_by_one_are_the_batch(params: Tree, eps_hat: jax.Array) -> None:
    keys = jax.random.split(jax.random.key(0), 2)
    found = apply_one_by_one(TINY.clone(dropout=0.0), params, X, T, keys)
    np.testing.assert_allclose(found, eps_hat, atol=1e-5)


def test_the_dropout_mask_of_an_image_is_its_keys_alone() -> None:
    model = TINY.clone(ch_mult=(1,), num_res_blocks=0)
    params = random_params(model.init, X, T)
    keys = jax.random.split(jax.random.key(0), 2)
    same, t = np.stack([X[0], X[0]]), np.array([5, 5])
    both = apply_one_by_one(model, params, same, t, keys)
    alone = apply_one_by_one(model, params, same[1:], t[1:], keys[1:])
    np.testing.assert_allclose(both[1:], alone, atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 0.1


@pytest.mark.parametrize("shape", [(1, 8, 16, 1), (2, 12, 4, 3), (3, 4, 4, 4)])
def test_other_channels_and_non_square_sizes_work(shape: tuple[int, ...]) -> None:
    model = TINY.clone(out_channels=shape[-1])
    init = partial(model.init_with_output, jax.random.key(0))
    eps_hat, _ = jax.eval_shape(init, jnp.zeros(shape), jnp.zeros(shape[0]))
    assert (eps_hat.shape, eps_hat.dtype) == (shape, jnp.float32)


def test_bfloat16_keeps_float32_parameters_and_output(
    params: Tree, eps_hat: jax.Array
) -> None:
    model = TINY.clone(dtype=jnp.bfloat16)
    leaves = jax.tree.leaves(param_shapes(model.init, X, T))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
    found = jax.jit(model.apply)(params, X, T)
    assert found.dtype == jnp.float32
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
