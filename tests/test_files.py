"""Files that are there whole or not at all."""

from pathlib import Path

import pytest

from ddpm_jax.files import locked
from ddpm_jax.files import replacing


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half of the n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_two_processes_do_not_share_a_folder_and_the_lock_ends(
    tmp_path: Path,
) -> None:
    with locked(tmp_path / "run", "is training"):
        with (
            pytest.raises(ValueError, match="another process is training in"),
            locked(tmp_path / "run", "is training"),
        ):
            pass
    with locked(tmp_path / "run", "is training"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        with locked(tmp_path / "file", "is training"):
            pass
