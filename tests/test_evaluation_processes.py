"""Two processes that evaluate into one folder: they say the same, and lose no rows."""

from pathlib import Path

import numpy as np
import pytest
from test_sample_quality import DIGITS
from test_sample_quality import evaluate
from test_sample_quality import settings_of
from test_sample_quality import trained as trained
from two_processes import in_two_processes

from ddpm_jax.loading import Trained

METRICS = ["nll", "is", "pr"]
WORKER = """
import time
from ddpm_jax import sample_files
from test_evaluation_processes import METRICS
from test_sample_quality import evaluate, settings_of, untrained

# A plot takes longer than the second process waits.
sys.modules["matplotlib.figure"] = None
read = sample_files.read

def read_late(*arguments):
    # The second process is late to read what the first deletes.
    for _ in range(40 * index):
        if (workdir / "metrics.json").exists():
            break
        time.sleep(0.05)
    return read(*arguments)

sample_files.read = read_late
records = evaluate(workdir, untrained(), settings_of(workdir / "x.npz"), METRICS)
print(*(n["value"] for record in records.values() for n in record["numbers"]))
"""


@pytest.mark.slow
def test_two_processes_store_what_one_does(trained: Trained, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "x.npz", DIGITS.train[np.arange(30)])
    alone = evaluate(
        tmp_path / "one", trained, settings_of(tmp_path / "one/x.npz"), METRICS
    )
    exact = [n["value"] for record in alone.values() for n in record["numbers"]]
    outputs = in_two_processes(WORKER, tmp_path / "two")
    for text in outputs:
        numbers = [float(word) for word in text.splitlines()[-1].split()]
        np.testing.assert_allclose(numbers, exact, rtol=1e-4)
    assert not list((tmp_path / "two").rglob("parts"))
