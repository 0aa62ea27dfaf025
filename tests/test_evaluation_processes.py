"""Two processes that evaluate into one folder: they say the same, and lose no rows."""

from pathlib import Path

import numpy as np
import pytest
from test_parallel import in_two_processes
from test_sample_quality import DIGITS
from test_sample_quality import evaluate
from test_sample_quality import settings_of
from test_sample_quality import trained as trained

from ddpm_jax.sampling import Trained

METRICS = ["nll", "is", "pr"]
WORKER = """
import sys
import time
from pathlib import Path
import jax
from ddpm_jax import sample_files
index, address, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(
    address, num_processes=2, process_id=index, coordinator_bind_address=address,
    heartbeat_timeout_seconds=10,
)
from test_evaluation_processes import METRICS
from test_sample_quality import evaluate, settings_of, untrained

# A plot takes longer than the second process waits.
sys.modules["matplotlib.figure"] = None
read = sample_files.read

def read_late(*arguments):
    # The second process is late to read what the first deletes.
    for _ in range(40 * index):
        if (out / "metrics.json").exists():
            break
        time.sleep(0.05)
    return read(*arguments)

sample_files.read = read_late
records = evaluate(out, untrained(), settings_of(out / "x.npz"), METRICS)
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
