"""Files that are there whole or not at all, and folders that one process uses."""

import contextlib
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new file that takes the place of path when, and only when, all went well.

    Makes the folder if need be. Several processes may write the same path at once.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "folder" / "a.txt"
      >>> with replacing(path) as file:
      ...     _ = file.write(b"whole")
      >>> path.read_text(), len(list(path.parent.iterdir()))
      ('whole', 1)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with open(draft, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def checksum(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_new_folder(folder: Path) -> None:
    """Raises ValueError if a folder holds any, and OSError if it can't be made."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder} is there already; give a folder that is new or empty"
        )
    check_can_be_made(folder)


def check_folder(folder: Path, option: str) -> None:
    """Raises ValueError if what an option names is a file, and OSError if it can't be.

    Example:
      >>> check_folder(Path(__file__), "--out")
      Traceback (most recent call last):
      ValueError: --out .../files.py is a file; give a folder
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{option} {folder} is a file; give a folder")
    if not folder.exists():
        check_can_be_made(folder)


def check_can_be_made(path: Path) -> None:
    """Raises OSError if nothing can be written beside a path, once its folder is made.

    Example:
      >>> check_can_be_made(Path(__file__) / "new")
      Traceback (most recent call last):
      NotADirectoryError: .../new can't be made, as .../files.py is a file
    """
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{path} can't be made, as {above} is a file")
    if not os.access(above, os.W_OK):
        raise PermissionError(f"{path} can't be made, as {above} can't be written to")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A draft that becomes a folder when, and only when, all went well.

    ValueError if the folder is a file, or holds any; OSError if it can't be made.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp()) / "new"
      >>> with new_folder(folder) as draft:
      ...     _ = (draft / "a.txt").write_text("whole")
      >>> (folder / "a.txt").read_text(), len(list(folder.parent.iterdir()))
      ('whole', 1)
    """
    check_new_folder(folder)
    draft = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise OSError(f"{folder} can't be made: {error.strerror}") from None
    try:
        yield draft
        if folder.exists():
            folder.rmdir()
        os.replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextlib.contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Holds a folder, which it makes, for one process; ValueError if another has it.

    busy says what that other one does, "is training" say. The lock is the operating
    system's, and ends with the process, however that ends; Windows has none.

    Example:
      >>> import tempfile
      >>> with locked(Path(tempfile.mkdtemp()), "is training"):
      ...     pass
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process {busy} in {folder}; wait for it, or give another "
                "folder"
            ) from None
        yield
