"""Weights in one file: a round trip, and files that are not what they should be."""

import json
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.flax import save_file

from ddpm_jax.weights import load_weights
from ddpm_jax.weights import save_weights

PARAMS = {"params": {"a": {"kernel": np.linspace(0, 1, 6).reshape(2, 3)}, "b": 2.5}}


def test_weights_survive_the_round_trip_to_the_digits_of_their_type(
    tmp_path: Path,
) -> None:
    for dtype, tolerance in ((jnp.float32, 1e-7), (jnp.bfloat16, 2**-8)):
        path = save_weights(
            tmp_path / "w", PARAMS, step=7, config={"x": [1, 2]}, dtype=dtype
        )
        params, step, config = load_weights(path)[:3]
        assert (step, config) == (7, {"x": [1, 2]})
        for got, exact in zip(
            jax.tree.leaves(params), jax.tree.leaves(PARAMS), strict=True
        ):
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, exact, rtol=tolerance)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_files_that_are_not_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_weights(tmp_path / "nowhere.safetensors")
    path = save_weights(tmp_path / "w", PARAMS, step=7, config={})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="is damaged or no safe.*; get it again$"):
        load_weights(path)
    save_file({"a": jnp.ones(2)}, path)
    with pytest.raises(
        ValueError, match="has no config inside; give a file that export"
    ):
        load_weights(path)


@pytest.mark.parametrize(
    ("dtype", "shape", "size", "sentence"),
    [
        ("F8_E4M3", [4], 4, "numbers of a type that is not read here; give"),
        ("F32", [2**62, 4], 16, "damaged or no safe.*overflow.*; get it again$"),
        ("F32", [0, 2**62, 2**62], 0, "damaged or no safe.*too big.*; get it again$"),
    ],
)
def test_a_header_that_declares_what_can_not_be_is_refused(
    tmp_path: Path, dtype: str, shape: list[int], size: int, sentence: str
) -> None:
    path = tmp_path / "w.safetensors"
    array = {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"params/a": array}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with pytest.raises(ValueError, match=f"^{path} .*{sentence}"):
        load_weights(path)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"step": "x"}, "invalid literal for int"),
        ({"config": "{"}, "Expecting"),
        ({"config": "[]"}, r"its config is \[\]"),
        ({"about": "5"}, "what it says of its weights is 5"),
        ({"about": '{"ema": "yes", "origin": null, "spacing": "uniform"}'}, "'yes'"),
        (
            {"about": '{"ema": 1, "origin": null, "spacing": "", "classes": 5}'},
            "'classes': 5",
        ),
    ],
)
def test_what_a_file_says_of_itself_is_checked(
    tmp_path: Path, changed: dict[str, str], sentence: str
) -> None:
    path = tmp_path / "w.safetensors"
    said = {"step": "1", "config": "{}"}
    save_file({"params/a": jnp.ones(2)}, path, said)
    assert load_weights(path)[1:] == (1, {}, True, None, "ddpm", "uniform", ())
    save_file({"params/a": jnp.ones(2)}, path, said | changed)
    with pytest.raises(ValueError, match=f"^{path} is no file of this.*{sentence}"):
        load_weights(path)


def test_an_array_that_holds_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for names in (("params", "params/x"), ("params/x", "params")):
        tensors = {name: jnp.ones(2) for name in names}
        save_file(tensors, path, {"step": "1", "config": "{}"})
        with pytest.raises(ValueError, match="params is an array and holds params/x"):
            load_weights(path)


def test_what_is_known_of_weights_goes_with_them(tmp_path: Path) -> None:
    known = {"ema": False, "origin": "of others", "sampler": "ddim"}
    known |= {"spacing": "leading", "classes": ("cat", "dog")}
    path = save_weights(tmp_path / "m0.5", PARAMS, step=1, config={}, **known)
    assert path.name == "m0.5.safetensors"
    stored = load_weights(path)
    assert {name: getattr(stored, name) for name in known} == known


def test_a_file_of_before_the_sampler_was_kept_is_read(tmp_path: Path) -> None:
    about = {"ema": False, "origin": "x", "spacing": "leading"}
    said = {"step": "1", "config": "{}", "about": json.dumps(about)}
    save_file({"params/a": jnp.ones(2)}, tmp_path / "w.safetensors", said)
    stored = load_weights(tmp_path / "w.safetensors")
    assert stored[3:] == (False, "x", "ddpm", "leading", ())
