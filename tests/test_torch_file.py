"""Files of torch.save: what they hold, and that nothing in them is run.

The files of tests/fixtures/torch are torch's own, by tools/make_torch_fixtures.py;
those that torch would never write are put together here, byte by byte.
"""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ddpm_jax.interop.torch_file import LEGACY_START
from ddpm_jax.interop.torch_file import read_torch_file

FILES = Path(__file__).parent / "fixtures" / "torch"
GRID = np.arange(12.0, dtype=np.float32).reshape(3, 4)


def global_(name: str) -> bytes:
    """The opcode that names something."""
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def storage(size: int, kind: str = "FloatStorage", key: str = "0") -> bytes:
    """Opcodes that refer to a storage; a pickle of plain values, without its stop."""
    parts = [plain("storage"), global_(f"torch.{kind}"), plain(key), plain("cpu")]
    return b"(" + b"".join(parts) + plain(size) + b"tQ"


def plain(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def tensor(
    size: int, offset: object, shape: object, strides: object, kind: str = "Float"
) -> bytes:
    """Opcodes of a dict {"w": a view of storage 0}."""
    view = plain(offset) + plain(shape) + plain(strides) + b"\x89Nt"
    call = global_("torch._utils._rebuild_tensor_v2")
    call += b"(" + storage(size, f"{kind}Storage") + view + b"R"
    return b"}" + plain("w") + call + b"s"


def write_zip(
    path: Path,
    program: bytes,
    numbers: np.ndarray = GRID,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A zip archive as torch writes it, of opcodes and storage 0."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
        archive.writestr("archive/data/0", numbers.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt"])
def test_tensors_of_torch_come_out_as_they_went_in(name: str) -> None:
    found = read_torch_file(FILES / name)
    wanted: dict[str, Any] = {
        "float32": GRID,
        "transposed": GRID.T,
        "row": GRID[1],
        "every_second": GRID[:, ::2],
        "float64": GRID.astype(np.float64),
        "float16": GRID.astype(np.float16),
        "bfloat16": GRID.astype(ml_dtypes.bfloat16),
        "int64": np.array([-(2**40), 2**40]),
        "uint8": np.array([0, 255], np.uint8),
        "bool": np.array([True, False]),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "parameter": GRID,
    }
    nested = found.pop("nested")
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    assert nested["steps"] == [1, 2.5, None, True, ("a", "b")]
    assert sorted(nested["state_dict"]) == ["bias", "weight"]
    assert nested["shape"] == (3, 4)


def test_tensors_that_share_a_storage_share_it_here() -> None:
    found = read_torch_file(FILES / "zip.pt")
    assert np.shares_memory(found["float32"], found["transposed"])


def test_numbers_of_the_other_byte_order_are_turned(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pt", tensor(12, 0, (3, 4), (4, 1)), GRID.byteswap())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    np.testing.assert_array_equal(read_torch_file(path)["w"], GRID)


class Attack:
    """What pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("protocol", range(6))
def test_no_code_of_a_file_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    attack = pickle.dumps({"w": Attack()}, protocol)
    with zipfile.ZipFile("a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", attack)
    Path("b.pt").write_bytes(LEGACY_START + attack)
    for name in ("a.pt", "b.pt"):
        with pytest.raises(ValueError, match=f"{name} can't be read as a torch file"):
            read_torch_file(name)
    assert not Path("attacked").exists()
    pickle.loads(attack)
    assert Path("attacked").exists()


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (global_("os.system"), "asks for os.system, and only tensors"),
        (global_("builtins.eval"), "asks for builtins.eval"),
        (global_("torch.load"), "asks for torch.load"),
        (plain("builtins") + plain("eval") + b"\x93", "asks for builtins.eval"),
        (plain([1]), "holds a list, not a dict"),
        (global_("collections.OrderedDict") + b")\x81", "uses NEWOBJ"),
        (plain(1) + plain((2,)) + b"R", "calls something that is no function"),
        (global_("torch.Size") + plain({"a": 1}) + b"b", "sets attributes of"),
        (plain((1,)) + plain(2) + b"a", "appends to something other"),
        (plain(1) + plain(2) + plain(3) + b"s", "sets items of something other"),
        (b"}" + plain([1]) + plain(1) + b"s", "dict whose keys are containers"),
        (b"h\x07", "pickle is damaged"),
        (b"s", "pickle is damaged"),
        (b"\xff", "opcode"),
        (plain(("storage", "code")) + b"Q", "refers to .* which is no storage"),
        (tensor(13, 0, (3, 4), (4, 1)), "cut short: of the 13 numbers of storage 0"),
        (tensor(12, 1, (3, 4), (4, 1)), r"shape \(3, 4\) in it ends at number 12"),
        (tensor(12, 0, (2**40,), (1,)), "ends at number"),
        (tensor(12, 0, (3, 4), (-4, 1)), "no legal storage, offset, shape"),
        (tensor(12, 0, (3, 4), (4,)), r"shape \(3, 4\) and strides \(4,\)"),
        (tensor(12, "0", (3, 4), (4, 1)), "no legal storage, offset, shape"),
        (tensor(12, 0, (3, 4), (4, 1), "Untyped"), "asks for torch.UntypedStorage"),
        (b"(" * 9 + b"t" * 9, "holds a tuple"),
        (b"}q\x09" + plain("w") + b"h\x09s", "holds itself"),
    ],
)
def test_what_is_no_tree_of_tensors_is_refused(
    tmp_path: Path, program: bytes, sentence: str
) -> None:
    path = write_zip(tmp_path / "a.pt", program)
    with pytest.raises(ValueError, match=sentence):
        read_torch_file(path)


@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt"])
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    whole, path = (FILES / name).read_bytes(), tmp_path / "cut.pt"
    for end in {0, 1, *range(5, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="can't be read as a torch file"):
            read_torch_file(path)


def test_other_archives_are_refused(tmp_path: Path) -> None:
    whole = tensor(12, 0, (3, 4), (4, 1))
    path = write_zip(tmp_path / "a.pt", whole, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed or encrypted"):
        read_torch_file(path)
    path = write_zip(tmp_path / "a.pt", whole)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(GRID.tobytes()) + 5] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="Bad CRC-32 for file 'archive/data/0'"):
        read_torch_file(path)
    with zipfile.ZipFile(write_zip(path, whole), "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    with pytest.raises(
        ValueError, match="a TorchScript program; get it again, or save"
    ):
        read_torch_file(path)
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(write_zip(path, whole), "a") as archive,
    ):
        archive.writestr("archive/data/0", GRID.tobytes())
    with pytest.raises(ValueError, match="members of it overlap, or have one name"):
        read_torch_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("picture.png", b"")
    with pytest.raises(ValueError, match=r"a zip archive without a data.pkl"):
        read_torch_file(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_torch_file(tmp_path / "nowhere.pt")


def legacy(keys: list[str], size: int = 12) -> bytes:
    """A legacy file of {"w": storage 0}, whose list of storages is keys."""
    program = tensor(size, 0, (3, 4), (4, 1)).replace(b"K\x0ctQ", b"K\x0cNtQ")
    stream = io.BytesIO()
    stream.write(LEGACY_START)
    for value in (1001, {"little_endian": True}):
        pickle.dump(value, stream, 2)
    stream.write(b"\x80\x02" + program + b".")
    pickle.dump(keys, stream, 2)
    stream.write(struct.pack("<q", 12) + GRID.tobytes())
    return stream.getvalue()


def test_the_storages_of_a_legacy_file_are_those_of_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(legacy(["0"]))
    np.testing.assert_array_equal(read_torch_file(path)["w"], GRID)
    for keys, sentence in (
        ([], "storage 0 is missing in it"),
        (["1"], "storage 1 belongs to no tensor"),
        (["0", "0"], "cut short"),
    ):
        path.write_bytes(legacy(keys))
        with pytest.raises(ValueError, match=sentence):
            read_torch_file(path)
