"""Weights of the original code, and pesser's: without a config, and yet whole."""

from pathlib import Path

import jax
import numpy as np
import pytest
from torch_weights import save_torch

from ddpm_jax.build import build
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Model
from ddpm_jax.interop.names import pesser_name
from ddpm_jax.interop.names import tensorflow_name
from ddpm_jax.interop.original import EMA
from ddpm_jax.interop.original import config_of
from ddpm_jax.interop.tensors import Shapes
from ddpm_jax.loading import describe
from ddpm_jax.loading import load_trained
from ddpm_jax.pretrained import read_pretrained
from ddpm_jax.pretrained import shapes_of

# 32 channels, as few as 32 groups allow.
MODEL = Model(ch=32, ch_mult=(1, 2), num_res_blocks=1, attention_resolutions=(16,))


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    data = Data(image_size=(32, 32), channels=3)
    return shapes_of(build(Config(model=MODEL, data=data)))


def numbers(shapes: Shapes, add: float = 0.0) -> dict[str, np.ndarray]:
    """A tensor for each of our names, of which no two numbers are alike."""
    rng = np.random.Generator(np.random.Philox(0))
    return {
        name: (rng.random(shape) + add).astype(np.float32)
        for name, shape in shapes.items()
    }


def check(params: dict[str, dict[str, object]], wanted: dict[str, np.ndarray]) -> None:
    leaves = jax.tree.leaves_with_path(params["params"])
    assert len(leaves) == len(wanted)
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        np.testing.assert_array_equal(leaf, wanted[name], err_msg=name)


@pytest.mark.slow
def test_an_npz_with_tensorflows_names_gives_the_averages(
    tmp_path: Path, shapes: Shapes
) -> None:
    raw, averaged = numbers(shapes), numbers(shapes, add=1)
    arrays = {"global_step": np.array(7), "beta1_power": np.array(0.9)}
    for name in shapes:
        theirs = tensorflow_name(name, 2)
        arrays |= {theirs: raw[name], f"{theirs}{EMA}": averaged[name]}
        arrays |= {f"{theirs}/Adam": raw[name], f"{theirs}/Adam_1": raw[name]}
    path = tmp_path / "model.npz"
    np.savez(path, **arrays)
    check(read_pretrained(path).params, averaged)
    check(read_pretrained(path, ema=False).params, raw)
    trained = load_trained(path)
    assert trained.config.model == MODEL
    assert trained.config.data.image_size == (32, 32)
    assert trained.config.objective.variance == "fixed_large"
    assert describe(trained).endswith("model.npz, of the original code, the averages")


def to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """A tensor as pesser has it, where attention and shortcuts are convolutions."""
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    array = np.ascontiguousarray(array.T)
    dense = array.ndim == 1 or "temb" in name
    return array if dense else array[:, :, None, None]


@pytest.mark.slow
def test_a_file_of_pesser_gives_the_same_network(
    tmp_path: Path, shapes: Shapes
) -> None:
    wanted = numbers(shapes)
    tensors = {
        pesser_name(name, 2): to_torch(name, array) for name, array in wanted.items()
    }
    path = tmp_path / "ema_cifar10.ckpt"
    save_torch(path, tensors)
    check(read_pretrained(path).params, wanted)
    assert load_trained(path).config.model == MODEL
    # Another conversion calls the convolution of a downsampling so.
    old = {
        name.replace("downsample.conv", "downsample.op"): x
        for name, x in tensors.items()
    }
    assert old.keys() != tensors.keys()
    save_torch(path, old)
    check(read_pretrained(path).params, wanted)


def published(ch_mult: tuple[int, ...], attends: int) -> dict[str, np.ndarray]:
    """The biases of a published network by their TensorFlow names."""
    biases = {"conv_in/bias": 128, "conv_out/bias": 3}
    for level, mult in enumerate(ch_mult):
        for i in range(2):
            biases[f"down_{level}_block_{i}/conv1/bias"] = 128 * mult
    biases[f"down_{attends}_attn_0/q/bias"] = 128 * ch_mult[attends]
    return {tensorflow_name(name, 0): np.zeros(n) for name, n in biases.items()}


@pytest.mark.parametrize(
    ("ch_mult", "attends", "size", "variance"),
    [
        ((1, 2, 2, 2), 1, 32, "fixed_large"),
        ((1, 1, 2, 2, 4, 4), 4, 256, "fixed_small"),
    ],
)
def test_the_published_networks_are_known_by_their_tensors(
    ch_mult: tuple[int, ...], attends: int, size: int, variance: str
) -> None:
    tensors = published(ch_mult, attends)
    found = config_of(tensors, tensorflow_name, source="here")
    assert found["model"]["ch"] == 128
    assert found["model"]["ch_mult"] == list(ch_mult)
    assert found["model"]["num_res_blocks"] == 2
    assert found["model"]["attention_resolutions"] == [16]
    assert found["data"] == {"image_size": [size, size], "channels": 3}
    assert found["objective"] == {"variance": variance}


@pytest.mark.parametrize("name", ["model.ckpt", "model.ckpt.index"])
def test_a_tensorflow_checkpoint_is_named_with_index_and_without(name: str) -> None:
    path = Path(__file__).parent / "fixtures" / "tensorflow" / name
    with pytest.raises(ValueError, match=f"model/bfloat16 in .*{name} has no average"):
        load_trained(path)


def test_other_weights_are_refused(tmp_path: Path, shapes: Shapes) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, a=np.ones(3))
    with pytest.raises(ValueError, match="begin with model/.*; docs/pretrained.md"):
        read_pretrained(path)
    np.savez(path, **{"model/conv_in/b": np.ones(3, np.float32)})
    with pytest.raises(ValueError, match="hold the original network.*; give a folder"):
        read_pretrained(path)
    deep = {f"model/down_{i}/block_0/conv1/b": np.ones(3, np.float32) for i in range(9)}
    np.savez(path, **deep)
    with pytest.raises(ValueError, match="does not hold the original network"):
        read_pretrained(path)
    np.savez(path, **{"model/a": np.array([{}])})
    with pytest.raises(ValueError, match="can't be read as an .npz file: .*pickle"):
        read_pretrained(path)
    arrays = {tensorflow_name(name, 2): x for name, x in numbers(shapes).items()}
    np.savez(path, **arrays)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="can't be read as an .npz file.*; make it"):
        read_pretrained(path)
    np.savez(path, **{**arrays, "model/up_0/extra/W": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match="model/up_0/extra/W in .* has no place"):
        read_pretrained(path)
    del arrays["model/mid/attn_1/k/W"]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="model/mid/attn_1/k/W is missing in"):
        read_pretrained(path)
