"""The files of a folder or of a zip archive, in a fixed order, read as bytes only.

Nothing is extracted and nothing outside is touched. Hidden files and the __MACOSX
folder that Finder adds to archives are left out; folders that are links are followed,
each real folder once, so that a loop of links ends.
"""

import os
import pathlib
import stat
import zipfile
from collections.abc import Callable
from collections.abc import Iterator
from typing import NamedTuple

from ddpm_jax.data.decode import ENCRYPTED
from ddpm_jax.data.decode import TOO_LARGE
from ddpm_jax.data.decode import UNREADABLE
from ddpm_jax.data.decode import Unusable

# No photograph has a gigabyte; a file of zeros in a zip can have any number of them.
MAX_FILE_BYTES = 2**30


class Files(NamedTuple):
    """Named files in sorted order."""

    source: str
    names: list[str]  # relative, with forward slashes
    stamps: list[tuple[int, int]]  # size, and time of change (folder) or CRC (zip)
    read: Callable[[int], bytes]  # number of a file -> bytes, or raises Unusable


def list_folder(path: pathlib.Path) -> Files:
    """All files below a folder.

    Example:
        >>> list_folder(pathlib.Path(__file__).parent).names[0]
        '__init__.py'
    """
    found = sorted(
        (file.relative_to(path).as_posix(), stamp)
        for folder in _folders(path)
        for file, stamp in _regular_files(folder)
    )
    names = [name for name, _ in found]

    def read(number: int) -> bytes:
        try:
            if found[number][1][0] > MAX_FILE_BYTES:
                raise Unusable(TOO_LARGE)
            return (path / names[number]).read_bytes()
        except OSError as error:
            raise Unusable(UNREADABLE) from error

    return Files(str(path), names, [stamp for _, stamp in found], read)


def list_zip(path: pathlib.Path) -> Files:
    """All members of a zip archive; ValueError for a file that is no archive."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a zip archive, or is cut short") from error
    members = [member for member in archive.infolist() if not member.is_dir()]
    members = [member for member in members if not _is_hidden(member.filename)]
    members.sort(key=lambda member: member.filename)

    def read(number: int) -> bytes:
        member = members[number]
        if member.flag_bits & 0x1:
            raise Unusable(ENCRYPTED)
        if member.file_size > MAX_FILE_BYTES:
            raise Unusable(TOO_LARGE)
        # zlib.error, BadZipFile, NotImplementedError: whatever a damaged member or an
        # exotic compression raises concerns that member alone.
        try:
            return archive.read(member)
        except Exception as error:
            raise Unusable(UNREADABLE) from error

    names = [member.filename for member in members]
    stamps = [(member.file_size, member.CRC) for member in members]
    return Files(str(path), names, stamps, read)


def _folders(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder and those below it, each real folder once, hidden ones left out."""
    seen = set()
    for name, subfolders, _ in os.walk(path, followlinks=True):
        identity = os.path.realpath(name)
        if identity in seen:
            subfolders.clear()
            continue
        seen.add(identity)
        subfolders[:] = sorted(sub for sub in subfolders if not _is_hidden(sub))
        yield pathlib.Path(name)


def _regular_files(
    folder: pathlib.Path,
) -> Iterator[tuple[pathlib.Path, tuple[int, int]]]:
    """The files of one folder with size and time; what cannot be read has (-1, -1)."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        # Kept under the folder's own name: reading it fails, and is so reported.
        yield folder, (-1, -1)
        return
    for entry in entries:
        path = folder / entry.name
        try:
            status = entry.stat()
        except OSError:
            yield path, (-1, -1)
            continue
        # A pipe would wait for a writer for ever; a device has no end.
        if stat.S_ISREG(status.st_mode) and not _is_hidden(entry.name):
            yield path, (status.st_size, status.st_mtime_ns)


def _is_hidden(name: str) -> bool:
    """Whether a part of a relative name is hidden, or is Finder's."""
    parts = [part for part in name.split("/") if part not in (".", "..")]
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)
