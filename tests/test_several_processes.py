"""A whole run in two processes, as on two hosts, and a signal that reaches one."""

import dataclasses
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import tiny
from two_processes import start_two

from ddpm_jax import parallel
from ddpm_jax import processes
from ddpm_jax.checkpoint import latest_step
from ddpm_jax.logs import read_metrics
from ddpm_jax.train_loop import train

WORKER = """
import dataclasses
import tiny
from two_processes import start_two
from ddpm_jax import command
from ddpm_jax.train_loop import train
log = dataclasses.replace(
    tiny.CONFIG.log, every=2, eval_every=10, sample_every=10, checkpoint_every=1000
)
config = dataclasses.replace(tiny.with_train(steps=int(sys.argv[4])), log=log)
def main(arguments):
    train(config, workdir, allow_config_change=True)
    return 0
sys.exit(command.run(main, []))
"""


@pytest.mark.slow
def test_two_processes_stop_at_one_step_and_go_on_as_one_process_would(
    tmp_path: Path,
) -> None:
    workdir = tmp_path / "two"
    workers = start_two(WORKER, workdir, "100000", devices=1)
    try:
        assert workers[0].stdout
        for line in workers[0].stdout:
            if line.startswith("step 10/"):
                workers[1].send_signal(signal.SIGTERM)
                break
        outputs = [process.communicate(timeout=120) for process in workers]
    finally:
        for process in workers:
            process.kill()
    assert [process.returncode for process in workers] == [130, 130], outputs
    stopped = [re.search(r"stopped at step (\d+), which", err) for _, err in outputs]
    assert stopped[0] and stopped[1] and stopped[0][1] == stopped[1][1], outputs
    assert "step" not in outputs[1][0]  # the first process prints for both
    step = int(stopped[0][1])
    assert latest_step(workdir) == step and step % 2 == 0
    assert (workdir / "samples" / "step_0000010.png").is_file()
    # One process, of two devices, has the same losses, and goes on.
    log = dataclasses.replace(
        tiny.CONFIG.log, every=2, eval_every=10, sample_every=10, checkpoint_every=1000
    )
    config = dataclasses.replace(tiny.with_train(steps=10), log=log)
    train(config, tmp_path / "one")
    ends = [
        next(
            line for line in read_metrics(path / "metrics.jsonl") if line["step"] == 10
        )
        for path in (workdir, tmp_path / "one")
    ]
    for name in ("loss", "held_out_loss", "held_out_loss_ema"):
        assert ends[0][name] == pytest.approx(ends[1][name], rel=1e-3), name
    more = dataclasses.replace(tiny.with_train(steps=step + 1), log=log)
    train(more, workdir, allow_config_change=True)
    assert latest_step(workdir) == step + 1


def test_one_process_asks_itself_alone() -> None:
    assert processes.any_process(True) and not processes.any_process(False)
    w, rows = parallel.replicate(np.float32(3)), np.arange(5, dtype=np.float32)
    tripled = parallel.compile_shared_map(lambda w, x: w * x, w, rows)
    np.testing.assert_array_equal(tripled(w, rows), 3 * rows)
