"""The network once more, in NumPy and float64, from the paper's appendix B."""

from collections.abc import Callable
from functools import partial
from typing import Any
from typing import TypeAlias

import jax
import numpy as np
from jax.typing import ArrayLike

# Parameters are nested dicts of arrays, which no static type describes.
Tree: TypeAlias = Any


def param_shapes(init: Callable[..., Tree], *args: ArrayLike) -> Tree:
    return jax.eval_shape(partial(init, jax.random.key(0)), *args)


def random_params(init: Callable[..., Tree], *args: ArrayLike) -> Tree:
    """Parameters of which none is zero or one, so that every layer counts."""
    rng = np.random.default_rng(1)

    def draw(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        fan_in = max(np.prod(shape.shape[:-1]), 4)
        return rng.normal(size=shape.shape, scale=fan_in**-0.5).astype(np.float32)

    return jax.tree.map(draw, param_shapes(init, *args))


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
