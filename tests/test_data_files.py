"""Listing files: sorted, complete, safe with links, pipes and hostile archives."""

import os
import pathlib
import zipfile

import pytest

from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.files import list_folder
from ddpm_jax.data.files import list_zip

TREE = {"b.png": b"1", "a/z.png": b"22", "a/b/c.txt": b"", "a.png": b"333"}
HIDDEN = {".DS_Store": b"x", "__MACOSX/a.png": b"x", "a/.git/b.png": b"x"}


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, data in (TREE | HIDDEN).items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "images"


@pytest.fixture
def archive(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in (TREE | HIDDEN).items():
            file.writestr(name, data)
    return path


def test_folder_and_zip_list_the_same_files_in_sorted_order(
    folder: pathlib.Path, archive: pathlib.Path
) -> None:
    for files in (list_folder(folder), list_zip(archive)):
        assert files.names == sorted(TREE)
        contents = [files.read(number) for number in range(len(files.names))]
        assert contents == [TREE[name] for name in files.names]


def test_loop_of_links_ends_and_a_linked_folder_counts_once(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (folder / "loop").symlink_to(folder)
    (folder / "a" / "up").symlink_to(folder / "a")
    other = tmp_path / "other"
    other.mkdir()
    (other / "o.png").write_bytes(b"4")
    (folder / "linked").symlink_to(other)
    assert list_folder(folder).names == sorted([*TREE, "linked/o.png"])


def test_dangling_and_circular_links_are_unreadable(folder: pathlib.Path) -> None:
    (folder / "y.png").symlink_to(folder / "nowhere.png")
    (folder / "z.png").symlink_to(folder / "z.png")
    files = list_folder(folder)
    assert files.names[-2:] == ["y.png", "z.png"]
    for number in (-2, -1):
        with pytest.raises(Unusable, match="unreadable"):
            files.read(len(files.names) + number)


def test_pipe_is_left_out_and_does_not_block(folder: pathlib.Path) -> None:
    os.mkfifo(folder / "pipe.png")
    assert list_folder(folder).names == sorted(TREE)


def test_stamps_change_with_a_file(folder: pathlib.Path) -> None:
    before = list_folder(folder).stamps
    os.utime(folder / "b.png", ns=(1, 1))
    assert list_folder(folder).stamps != before


def encrypt(path: pathlib.Path, name: bytes) -> None:
    """Sets the flag of encryption in both headers of one member."""
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04" + data[4:26]) + 6] |= 1
    central = data.rindex(name) - 46
    assert data[central : central + 4] == b"PK\x01\x02"
    data[central + 8] |= 1
    path.write_bytes(data)


def test_encrypted_and_damaged_members_concern_themselves_alone(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("1secret", "2broken", "3fine"):
            file.writestr(name, f"content of {name}")
    encrypt(path, b"1secret")
    path.write_bytes(path.read_bytes().replace(b"content of 2", b"CONTENT OF 2"))
    files = list_zip(path)
    for number, reason in ((0, "encrypted zip member"), (1, "unreadable")):
        with pytest.raises(Unusable, match=reason):
            files.read(number)
    assert files.read(2) == b"content of 3fine"


def test_member_that_points_outside_is_only_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/../../evil.png", b"5")
    files = list_zip(path)
    before = sorted(tmp_path.parent.rglob("*"))
    assert files.read(0) == b"5"
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_file_that_is_no_zip_is_refused_in_a_sentence(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "fake.zip"
    path.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="is not a zip archive, or is cut short"):
        list_zip(path)
