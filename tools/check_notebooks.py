"""Builds every notebook from its percent script and executes it in a real kernel.

DDPM_JAX_SMOKE=1 asks the notebooks for their smallest sizes. The first cell that
raises ends the check with its traceback.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbclient

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 600  # for each cell


def execute(script: Path, folder: Path) -> None:
    """Executes a percent script as a notebook whose working directory is folder."""
    start = time.monotonic()
    notebook = jupytext.read(script, fmt="py:percent")
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=resources
    ).execute()
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    seconds = time.monotonic() - start
    print(f"{script.relative_to(ROOT)}: {cells} cells ran in {seconds:.0f} s")


def main() -> None:
    """Executes all notebooks, each in a temporary folder."""
    scripts = sorted((ROOT / "notebooks").glob("*.py"))
    if not scripts:
        sys.exit("notebooks/ holds no percent script (*.py) to execute")
    os.environ["DDPM_JAX_SMOKE"] = "1"
    for script in scripts:
        with tempfile.TemporaryDirectory() as name:
            # Jupyter and IPython keep files in HOME, which may be empty or absent.
            os.environ["HOME"] = os.environ["IPYTHONDIR"] = name
            execute(script, Path(name))


if __name__ == "__main__":
    main()
