"""A process that was interrupted ends at once, and with what it had to say said."""

import subprocess
import sys

import pytest
from test_scripts import ROOT

# What JAX does at the end of Python, to wait for its devices, is such a function too.
PROGRAM = """
import atexit
from ddpm_jax import command

def main(arguments):
    print("begun")
    raise {error}("because")

atexit.register(print, "waited")
command.leave(command.run(main, []))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code", "out", "err"),
    [
        ("KeyboardInterrupt", 130, "begun\n", "interrupted: because\n"),
        ("ValueError", 2, "begun\nwaited\n", "error: because\n"),
    ],
)
def test_only_an_interrupted_process_does_not_wait_at_its_end(
    error: str, code: int, out: str, err: str
) -> None:
    line = [sys.executable, "-c", PROGRAM.format(error=error)]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, out, err)
