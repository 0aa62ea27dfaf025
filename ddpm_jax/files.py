"""Files that are there whole or not at all."""

import contextlib
import os
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
