"""Files of other projects that are odd, wrong or mean harm: one sentence each."""

import json
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from diffusers_files import SCHEDULERS
from diffusers_files import WEIGHTS
from diffusers_files import change
from diffusers_files import described
from diffusers_files import write as write_diffusers
from safetensors.numpy import save_file
from test_tf_checkpoint import HEADER
from test_tf_checkpoint import block
from test_tf_checkpoint import varint
from test_tf_checkpoint import write as write_tensorflow
from test_torch_file import global_
from test_torch_file import plain
from test_torch_file import tensor
from test_torch_file import write_zip
from torch_weights import save_torch

from ddpm_jax.interop.diffusers import read_folder
from ddpm_jax.interop.names import tensorflow_name
from ddpm_jax.interop.original import EMA
from ddpm_jax.interop.original import averages
from ddpm_jax.interop.original import config_of
from ddpm_jax.interop.original import read_npz
from ddpm_jax.interop.scheduler_config import DEFAULTS as SCHEDULER
from ddpm_jax.interop.scheduler_config import KINDS as SCHEDULER_KINDS
from ddpm_jax.interop.scheduler_config import SCHEDULERS as CLASSES
from ddpm_jax.interop.scheduler_config import from_scheduler_config
from ddpm_jax.interop.table import MAGIC
from ddpm_jax.interop.table import read_table
from ddpm_jax.interop.tensors import to_params
from ddpm_jax.interop.tf_checkpoint import read_tf_checkpoint
from ddpm_jax.interop.torch_file import read_torch_file
from ddpm_jax.interop.unet_config import DEFAULTS as UNET
from ddpm_jax.interop.unet_config import KINDS as UNET_KINDS
from ddpm_jax.interop.unet_config import from_unet_config
from ddpm_jax.loading import describe
from ddpm_jax.loading import load_trained
from ddpm_jax.pretrained import read_pretrained

ODD = ([], {}, "x", "false", True, -1, 0.5, 10**12, float("nan"), None, [1, "x"], 5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    return write_diffusers(folder, *described("gray"), SCHEDULERS["ddpm"])


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def test_every_key_has_a_kind() -> None:
    assert UNET_KINDS.keys() == UNET.keys()
    assert SCHEDULER_KINDS.keys() == {key for c in CLASSES.values() for key in c}


@pytest.mark.parametrize("key", [*UNET, "_null_label"])
def test_an_odd_value_of_a_network_is_honoured_or_refused_by_its_own_name(
    key: str,
) -> None:
    """The name in the file, and not that of the field here that it became."""
    good = described("heads")[0] | {"num_class_embeds": 5}
    for value in ODD:
        try:
            from_unet_config(good | {key: value}, "here")
        except ValueError as error:
            assert str(error).startswith(f"{key} is ")
            assert len(str(error)) < 1000


@pytest.mark.parametrize("key", ["_class_name", *SCHEDULER, "set_alpha_to_one"])
def test_an_odd_value_of_a_scheduler_is_honoured_or_refused_by_its_own_name(
    key: str,
) -> None:
    kind = "DDIMScheduler" if key == "set_alpha_to_one" else "DDPMScheduler"
    for value in (*ODD, [0.1] * 1000):
        try:
            from_scheduler_config({"_class_name": kind, key: value}, "here")
        except ValueError as error:
            assert key in str(error)
            assert len(str(error)) < 1000


@pytest.mark.parametrize(
    "given",
    [
        {"trained_betas": [], "num_train_timesteps": 0},
        {"trained_betas": [0.1], "num_train_timesteps": 1, "beta_start": "x"},
        {"clip_sample": "false"},
        {"num_train_timesteps": 10**12},
        {"thresholding": 1},
    ],
)
def test_values_that_were_taken_for_others_are_refused(
    given: dict[str, object],
) -> None:
    with pytest.raises(ValueError, match="in here; this project needs"):
        from_scheduler_config(given, "here")


@pytest.mark.parametrize("key", ["layers_per_block", "norm_num_groups", "sample_size"])
@pytest.mark.parametrize("value", ["x", 10**12])
def test_a_key_is_named_as_it_is_in_the_file(
    folder: Path, key: str, value: object
) -> None:
    change(folder, "unet", key, value)
    with pytest.raises(ValueError, match=f"^{key} is "):
        read_pretrained(folder)


@pytest.mark.parametrize("places", [{"a": [1]}, {"a": 5}, {"a": None}, []])
def test_an_index_of_shards_names_files(folder: Path, places: object) -> None:
    (folder / "unet" / WEIGHTS).unlink()
    index = folder / "unet" / f"{WEIGHTS}.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ValueError, match=f"^{index} has no weight_map from"):
        read_pretrained(folder)


def test_a_shard_holds_what_the_index_has_in_it_and_no_more(folder: Path) -> None:
    """Else the second of two files that both have a tensor would win unseen."""
    tensors = described("gray")[1]
    unet = folder / "unet"
    (unet / WEIGHTS).unlink()
    save_file(tensors, unet / "a.safetensors")
    save_file({"conv_in.bias": tensors["conv_in.bias"] + 1}, unet / "b.safetensors")
    places = dict.fromkeys(tensors, "a.safetensors")
    index = {"weight_map": places | {"conv_in.weight": "b.safetensors"}}
    (unet / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    with pytest.raises(
        ValueError, match=r"conv_in.weight is in .*a.safetensors, where"
    ):
        read_pretrained(folder)


def test_a_tensor_by_its_old_name_and_its_new_one_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    tensors = dict(described("gray")[1])
    old = "mid_block.attentions.0.query.weight"
    tensors[old] = tensors["mid_block.attentions.0.to_q.weight"]
    save_file(tensors, folder / "unet" / WEIGHTS)
    with pytest.raises(ValueError, match=f"{old}.* are one tensor.*; take one"):
        read_pretrained(folder)
    save_torch(tmp_path / "a.ckpt", {"a.op.x": np.ones(1, "f"), "a.conv.x": np.ones(1)})
    with pytest.raises(ValueError, match=r"a\.op\.x and a\.conv\.x, which are one"):
        read_pretrained(tmp_path / "a.ckpt")


def test_a_scheduler_of_another_class_is_said_or_refused(folder: Path) -> None:
    change(folder, "scheduler", "_class_name", "DDIMScheduler")
    change(folder, "scheduler", "variance_type", "fixed_small")
    scheduler = folder / "scheduler" / "scheduler_config.json"
    keys = json.loads(scheduler.read_text())
    del keys["variance_type"]
    scheduler.write_text(json.dumps(keys))
    with pytest.raises(ValueError, match="scheduler is .*DDPMScheduler.*make the two"):
        read_pretrained(folder)
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("DDPMScheduler", "DDIMScheduler"))
    assert read_folder(folder).sampler == "ddim"
    trained = load_trained(folder)
    assert trained.sampler == "ddim"
    assert describe(trained).endswith(", whose own sampler is ddim")


def test_an_npz_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"

    def refused(sentence: str) -> None:
        with pytest.raises(
            ValueError, match=f"^{path} can't be read as an .npz.*{sentence}"
        ):
            read_npz(path)

    with path.open("wb") as file:
        np.save(file, np.ones(3))
    refused("not a zip file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("picture.png", b"")
    refused("picture.png in it is no .npy array; make it again, as docs/pretrained.md")
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"")
        archive.writestr("a.npy", b"")
    refused("two of its arrays have one name")
    np.savez_compressed(path, a=np.arange(999))
    damaged = bytearray(path.read_bytes())
    damaged[60:90] = bytes(30)
    path.write_bytes(damaged)
    refused("")
    np.savez(path, a=np.arange(9))
    encrypted = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + place] |= 1
    path.write_bytes(encrypted)
    refused("encrypted")


def test_an_npz_that_unpacks_to_more_than_a_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.npz"
    np.savez_compressed(path, a=np.zeros(10_000))
    assert path.stat().st_size < 1000
    assert read_npz(path)["a"].size == 10_000
    monkeypatch.setattr("ddpm_jax.interop.original.MOST_BYTES", 80_000)
    with pytest.raises(ValueError, match="its arrays take 80128 bytes, and at most"):
        read_npz(path)


@pytest.mark.parametrize("bias", [np.float32(1), np.ones(0, "f"), np.ones((2, 2), "f")])
def test_a_bias_that_is_no_row_is_named(bias: np.ndarray) -> None:
    tensors = {"model/conv_in/b": np.asarray(bias)}
    with pytest.raises(
        ValueError, match=r"model/conv_in/b is \(.*\) in here, and a bias"
    ):
        config_of(tensors, tensorflow_name, source="here")


def test_a_variable_without_an_average_is_named() -> None:
    found = {"model/a": 1, f"model/a{EMA}": 2, "model/extra/W": 3}
    with pytest.raises(ValueError, match="model/extra/W in here has no average"):
        averages(found, "here", True)
    assert averages(found, "here", False)[0] == {"model/a": 1, "model/extra/W": 3}


def test_a_file_of_pesser_has_one_set_of_tensors_alone(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.ckpt", plain({"conv_in.bias": 5}))
    with pytest.raises(ValueError, match=r"'conv_in.bias' in .*a.ckpt is no tensor"):
        read_pretrained(path)
    with pytest.raises(ValueError, match="holds one set of weights; leave out --no-"):
        read_pretrained(path, ema=False)


LISTS = b"]", b"](h?h?e"
TUPLES = b")", b"h?h?\x86"


def doubled(empty: bytes, joined: bytes) -> bytes:
    """Opcodes of a container of 99 levels that holds the one below twice; memo 99."""
    program = empty + b"q\x00"
    for i in range(99):
        program += joined.replace(b"h?", b"h" + bytes([i])) + b"q" + bytes([i + 1])
    return program


def test_containers_that_are_shared_stay_shared(tmp_path: Path) -> None:
    """Each made anew, 99 levels of two would be 2^99."""
    program = doubled(*LISTS) + b"}" + plain("w") + b"h\x63s"
    value = read_torch_file(write_zip(tmp_path / "a.pt", program))["w"]
    for _ in range(99):
        assert value[0] is value[1]
        value = value[0]
    assert value == []


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        # Containers that are shared so, where they would be written out or hashed.
        (
            doubled(*TUPLES) + b"Q",
            "refers to .{,300} no storage; get it again, or save its state dict alone$",
        ),
        (doubled(*TUPLES) + b"}h\x63Ns", "keys are containers"),
        (b"(" + global_("collections.OrderedDict") + plain([]) + b"\x85R", "damaged"),
        (tensor(-1, 0, (0,), (1,)), "refers to .* no storage"),
        (tensor(12, 0, (10**9, 10**9), (0, 0)), "more numbers than storage 0"),
    ],
)
def test_a_small_file_asks_for_no_end_of_memory(
    tmp_path: Path, program: bytes, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_torch_file(write_zip(tmp_path / "a.pt", program))


def test_names_of_a_table_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    prefix = tmp_path / "model.ckpt"
    write_tensorflow(prefix, HEADER | {b"w" * 4097: b""})
    with pytest.raises(ValueError, match="name in it is longer than 4096 bytes"):
        read_tf_checkpoint(prefix)


def test_a_number_without_end_is_refused(tmp_path: Path) -> None:
    """Of a megabyte it would take minutes."""
    prefix = tmp_path / "model.ckpt"
    write_tensorflow(prefix, HEADER | {b"w": b"\x08" + b"\x80" * 10**6 + b"\x01"})
    with pytest.raises(ValueError, match="a number in it is too long"):
        read_tf_checkpoint(prefix)


def test_the_blocks_of_a_table_follow_one_another() -> None:
    data = block({b"a": b""})
    handle = varint(0) + varint(len(data) - 5)
    index = block({b"y": handle, b"z": handle})
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(index) - 5)
    end = footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    with pytest.raises(ValueError, match="blocks do not follow one another"):
        dict(read_table(data + index + end))


def test_members_of_an_archive_that_lie_over_one_another_are_refused(
    tmp_path: Path,
) -> None:
    """Of one megabyte, a thousand names would else make a gigabyte."""
    path = write_zip(tmp_path / "a.pt", tensor(12, 0, (3, 4), (4, 1)))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[entry + 20 : entry + 28] = struct.pack("<II", len(data), len(data))
    path.write_bytes(data)
    with pytest.raises(ValueError, match="members of it overlap"):
        read_torch_file(path)


def test_numbers_too_large_for_float32_are_refused_without_a_warning() -> None:
    with pytest.raises(ValueError, match="x in here has numbers that are not finite"):
        to_params(
            {"x": np.array([1e300])},
            {"x": (1,)},
            naming=lambda name, levels: name,
            levels=1,
            torch=False,
            source="here",
        )


@pytest.mark.parametrize("shape", [(2**32, 2**32), (0, 2**62), (2**63,)])
def test_a_shape_whose_product_overflows_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    prefix = tmp_path / "model.ckpt"
    dims = [b"\x08" + varint(size) for size in shape]
    message = b"".join(b"\x12" + varint(len(dim)) + dim for dim in dims)
    entry = b"\x08\x01\x12" + varint(len(message)) + message
    write_tensorflow(prefix, HEADER | {b"w": entry})
    with pytest.raises(
        ValueError, match="w in .* in 0 bytes, which do not .*; get its files"
    ):
        read_tf_checkpoint(prefix)
