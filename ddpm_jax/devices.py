"""The devices of this machine: what JAX sees of them, and what their memory holds."""

import ctypes
import gc
import os
import shutil
import sys
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import optax


class Memory(NamedTuple):
    """Bytes that a compiled program needs on a device, by the compiler's account."""

    arguments: int  # what it is given: the state, the batch
    temporaries: int  # what it keeps between its operations, gradients included
    total: int  # with results, less what they share with the arguments


def memory_of(compiled: Any) -> Memory | None:  # noqa: ANN401
    """The memory of a compiled program; None where the compiler gives no account.

    Example:
        >>> import jax.numpy as jnp
        >>> memory_of(jax.jit(jnp.sum).lower(jnp.zeros(100)).compile()).arguments
        400
    """
    analysis = getattr(compiled, "memory_analysis", lambda: None)()
    if analysis is None:
        return None
    arguments, temporaries = (
        analysis.argument_size_in_bytes,
        analysis.temp_size_in_bytes,
    )
    results = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return Memory(arguments, temporaries, arguments + temporaries + results)


def memory_limit() -> int | None:
    """Bytes that a device holds: a CPU device its share of the machine's; or None."""
    stats = jax.local_devices()[0].memory_stats()
    if stats is not None and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    if jax.default_backend() != "cpu" or not hasattr(os, "sysconf"):
        return None
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // jax.local_device_count()


def describe(needed: Memory, limit: int | None) -> str:
    """What a step needs on each device, in a line.

    Example:
        >>> describe(Memory(2 * 10**9, 10**9, 3 * 10**9), 24 * 10**9)
        'a step needs 3.00 GB of 24.00 GB on each device (1.00 GB of it temporary)'
    """
    there = "" if limit is None else f" of {gigabytes(limit)}"
    return (
        f"a step needs {gigabytes(needed.total)}{there} on each device "
        f"({gigabytes(needed.temporaries)} of it temporary)"
    )


def micro_batches_that_fit(
    needed: Memory, limit: int, *, gradient: int, batch: int, accumulate: int
) -> int | None:
    """The fewest micro-batches with which a step would fit a device, or None.

    needed is that of a step in `accumulate` micro-batches of `batch` images together,
    and gradient the bytes of one gradient. Of the temporaries, gradients (with several
    micro-batches one and the sum) are held to stay, and the rest to shrink with the
    micro-batch.

    Example:
        >>> needed = Memory(arguments=100, temporaries=800, total=900)
        >>> micro_batches_that_fit(needed, 500, gradient=50, batch=8, accumulate=1)
        4
    """
    fixed = needed.total - needed.temporaries + 2 * gradient
    held = gradient if accumulate == 1 else 2 * gradient
    images = max(needed.temporaries - held, 0) * accumulate
    for count in range(accumulate + 1, batch + 1):
        if batch % count == 0 and fixed + images / count <= limit:
            return count
    return None


def check_memory(
    needed: Memory,
    limit: int | None,
    *,
    params: optax.Params,
    batch: int,
    accumulate: int,
) -> None:
    """Raises MemoryError, with what would fit, if a step needs more than a device has.

    Example:
        >>> check_memory(Memory(1, 1, 2), 3, params={}, batch=8, accumulate=1)
    """
    if limit is None or needed.total <= limit:
        return
    gradient = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    count = micro_batches_that_fit(
        needed, limit, gradient=gradient, batch=batch, accumulate=accumulate
    )
    advice = "take a smaller network, smaller images or more devices"
    if count is not None:
        advice = (
            f"by an estimate it fits with --train.accumulate {count}, micro-batches of "
            f"{batch // count}"
        )
    raise MemoryError(
        f"a step needs {gigabytes(needed.total)} on each device, which has "
        f"{gigabytes(limit)}; {advice}"
    )


def release_memory() -> None:
    """Gives the memory that compiling left unused back to the system, on Linux.

    glibc keeps what was freed: after the train step of CIFAR-10 has been compiled, more
    than a gigabyte.

    Example:
        >>> release_memory()
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def gigabytes(size: int) -> str:
    """A number of bytes, as people read it.

    Example:
        >>> gigabytes(2_500_000_000)
        '2.50 GB'
    """
    return f"{size / 1e9:.2f} GB"


def device_report(
    *,
    exists: Callable[[str], bool] = os.path.exists,
    which: Callable[[str], str | None] = shutil.which,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """Says in a sentence what JAX runs on, and in a second one what it overlooks.

    The second is there where JAX sees only a CPU on a machine with an NVIDIA GPU or
    a TPU, unless JAX_PLATFORMS asks for that. The probes are arguments for tests.

    Example:
        >>> device_report().startswith(jax.default_backend())
        True
    """
    devices = jax.devices()
    report = (
        f"{jax.default_backend()}: {len(devices)} x {devices[0].device_kind}, "
        f"processes: {jax.process_count()}."
    )
    if jax.default_backend() != "cpu" or environ.get("JAX_PLATFORMS") == "cpu":
        return report
    if which("nvidia-smi") or exists("/dev/nvidia0"):
        return f"{report} {_hint('an NVIDIA GPU', 'cuda13')}"
    if "TPU_NAME" in environ or exists("/dev/accel0") or exists("/dev/vfio/0"):
        return f"{report} {_hint('a TPU', 'tpu')}"
    return report


def _hint(hardware: str, extra: str) -> str:
    return (
        f"This machine has {hardware} that JAX does not see: "
        f'install its support with pip install "jax[{extra}]".'
    )
