"""What is said of the machine, and whether a program fits its memory."""

import os
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddpm_jax import devices
from ddpm_jax.devices import Memory


def probes(*found: str, **environ: str) -> dict[str, Any]:
    def which(name: str) -> str | None:
        return f"/usr/bin/{name}" if name in found else None

    return {"exists": found.__contains__, "which": which, "environ": environ}


@pytest.mark.parametrize(
    ("machine", "advice"),
    [
        (probes("nvidia-smi"), 'an NVIDIA GPU .* pip install "jax\\[cuda13\\]"'),
        (probes("/dev/nvidia0"), 'an NVIDIA GPU .* pip install "jax\\[cuda13\\]"'),
        (probes("/dev/accel0"), 'a TPU .* pip install "jax\\[tpu\\]"'),
        (probes("/dev/vfio/0"), 'a TPU .* pip install "jax\\[tpu\\]"'),
        (probes(TPU_NAME="local"), 'a TPU .* pip install "jax\\[tpu\\]"'),
    ],
)
def test_the_device_report_says_what_to_install_for_hardware_that_jax_overlooks(
    machine: dict[str, Any], advice: str
) -> None:
    report = devices.device_report(**machine)
    assert report.startswith("cpu: 2 x cpu, processes: 1. This machine has ")
    assert re.search(advice, report)


@pytest.mark.parametrize(
    "machine", [probes(), probes("nvidia-smi", JAX_PLATFORMS="cpu")]
)
def test_the_device_report_is_one_sentence_where_the_cpu_is_all_or_asked_for(
    machine: dict[str, Any],
) -> None:
    assert devices.device_report(**machine) == "cpu: 2 x cpu, processes: 1."


def test_the_memory_of_a_program_counts_arguments_results_and_what_lies_between() -> (
    None
):
    n = 500

    def fn(x: jax.Array) -> jax.Array:
        return jnp.linalg.cholesky(x @ x.T)

    donated = jax.jit(fn, donate_argnums=0)
    kept, given = (
        devices.memory_of(f.lower(jnp.ones((n, n))).compile())
        for f in (jax.jit(fn), donated)
    )
    assert kept is not None and given is not None
    assert kept.arguments == given.arguments == 4 * n * n
    assert kept.total >= kept.temporaries + 2 * 4 * n * n
    assert given.total == kept.total - 4 * n * n + given.temporaries - kept.temporaries


def test_what_is_not_compiled_has_no_account_of_its_memory() -> None:
    assert devices.memory_of(lambda: None) is None


def test_the_devices_of_a_cpu_share_the_machines_memory() -> None:
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert devices.memory_limit() == pages // 2


PARAMS = {"w": np.zeros(25, np.float32)}  # 100 bytes


@pytest.mark.parametrize(
    ("limit", "advice"),
    [
        (2150, "fits with --train.accumulate 2, micro-batches of 4"),
        (1700, "fits with --train.accumulate 4, micro-batches of 2"),
        (1450, "fits with --train.accumulate 8, micro-batches of 1"),
        (1100, "take a smaller network"),
    ],
)
def test_a_step_that_does_not_fit_is_answered_by_micro_batches_that_do(
    limit: int, advice: str
) -> None:
    # 1000 stay, a gradient is 100, and 1900 belong to the images. With n micro-batches
    # there are two gradients: 1000 + 200 + 1900 / n.
    needed = Memory(arguments=1000, temporaries=2000, total=3000)
    with pytest.raises(MemoryError, match=advice) as refused:
        devices.check_memory(needed, limit, params=PARAMS, batch=8, accumulate=1)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("limit", [3000, None])
def test_a_step_that_fits_or_whose_limit_is_unknown_is_let_through(
    limit: int | None,
) -> None:
    needed = Memory(arguments=1000, temporaries=2000, total=3000)
    devices.check_memory(needed, limit, params=PARAMS, batch=8, accumulate=1)


def test_more_micro_batches_are_advised_than_there_are_already() -> None:
    needed = Memory(arguments=1000, temporaries=2000, total=3000)
    count = devices.micro_batches_that_fit(
        needed, 2150, gradient=100, batch=24, accumulate=3
    )
    assert count == 6
