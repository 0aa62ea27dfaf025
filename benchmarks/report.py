"""A benchmark's numbers, and all that they depend on, in one JSON file."""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

VECTOR_UNITS = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}
PACKAGES = (
    *("ddpm_jax", "jax", "jaxlib", "flax", "optax", "numpy"),
    *("torch", "diffusers", "denoising-diffusion-pytorch"),
)

Row = dict[str, Any]
"""One line of a table: numbers and words by name."""


def write(
    folder: Path, stem: str, device: str, rows: list[Row], **more: object
) -> Path:
    """Writes rows to folder/BENCHMARK-stem-device.json and returns the path.

    The benchmark is the script that runs. device is "cpu", "gpu" or "tpu".
    """
    benchmark = Path(sys.argv[0]).stem
    arguments = ["python", "-m", f"benchmarks.{benchmark}", *sys.argv[1:]]
    content = {
        "benchmark": benchmark,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(arguments),
        "device": device,
        "machine": machine(),
        "versions": versions(),
        "rows": rows,
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "-".join(word for word in (benchmark, stem, device) if word)
    path = path.with_name(f"{path.name}.json")
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def read_all(folder: Path) -> list[dict[str, Any]]:
    """The contents of all results in a folder, oldest first."""
    contents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return sorted(contents, key=lambda content: str(content["date"]))


def machine() -> dict[str, object]:
    """What the machine is: its processor, cores, memory, system and NVIDIA GPUs."""
    return {
        "processor": processor(),
        "cores": cores(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "vector_units": sorted(VECTOR_UNITS & set(cpuinfo("flags").split())),
        "system": platform.platform(),
        "gpus": gpus(),
    }


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The name of the processor."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def cpuinfo(field: str) -> str:
    """A field of the first processor in /proc/cpuinfo, or "" where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == field), "")


def memory_bytes() -> int:
    """The memory of the machine, or 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return 0


def gpus() -> list[str]:
    """The names of the NVIDIA GPUs; asks the driver, so that none is taken."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.splitlines() if answer.returncode == 0 else []


def versions() -> dict[str, str]:
    """The versions of Python, of this commit and of the packages that are there."""
    return {"python": platform.python_version(), **dict(_versions())}


def _versions() -> Iterator[tuple[str, str]]:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    if shutil.which("git"):
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield "commit", answer.stdout.strip()
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
