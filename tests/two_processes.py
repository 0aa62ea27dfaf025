"""Programs that run as two processes of JAX on this machine, in tests."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What comes before a program: its number, and the folder it works in.
BEGINNING = """
import sys
from pathlib import Path
import jax
index, address, workdir = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
jax.config.update("jax_num_cpu_devices", {devices})
jax.distributed.initialize(
    address, num_processes=2, process_id=index, coordinator_bind_address=address,
    heartbeat_timeout_seconds=30,
)
"""


def start_two(
    program: str, workdir: Path, *arguments: str, devices: int = 2
) -> list[subprocess.Popen]:
    """Starts a program twice; it has index, workdir and, in sys.argv[4:], arguments."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    whole = BEGINNING.format(devices=devices) + program
    path = f"{ROOT}:{ROOT / 'tests'}"
    return [
        subprocess.Popen(
            [sys.executable, "-c", whole, str(index), address, workdir, *arguments],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]


def in_two_processes(program: str, workdir: Path) -> list[str]:
    """What the two processes of a program print."""
    workers = start_two(program, workdir)
    try:
        outputs = [worker.communicate(timeout=60) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    return [out for out, _ in outputs]
