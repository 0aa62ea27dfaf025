"""Tables of numbers as CSV files, with a name for each column."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddpm_jax.files import replacing


def write_csv(path: Path, columns: Mapping[str, np.ndarray]) -> Path:
    """Writes columns [n] of numbers or words; a float that is not a number is empty.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.csv"
      >>> columns = {"t": np.arange(2), "rmse": np.array([0.5, np.nan])}
      >>> write_csv(path, columns).read_text().split()
      ['t,rmse', '0,0.5', '1,']
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*map(_cells, columns.values()), strict=True))
    with replacing(path) as file:
        file.write(text.getvalue().encode())
    return path


def _cells(column: np.ndarray) -> list[str]:
    if column.dtype.kind != "f":
        return [str(value) for value in column.tolist()]
    return ["" if np.isnan(value) else f"{value:.7g}" for value in column.tolist()]
