"""`import ddpm_jax` is light: a notebook starts quickly, and needs no extra."""

import os
import subprocess
import sys

HEAVY = (
    "PIL",
    "array_record",
    "diffrax",
    "grain",
    "lmdb",
    "matplotlib",
    "orbax",
    "resvg_py",
    "sklearn",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
)


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = (
        "import sys, ddpm_jax, ddpm_jax.data\n"
        f"print(*sorted(set({HEAVY}) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert result.stdout.split() == []


def test_importing_the_package_touches_no_device_and_no_global_setting() -> None:
    code = (
        "import jax; before = dict(jax.config.values); import ddpm_jax; "
        "assert dict(jax.config.values) == before; "
        "jax.config.update('jax_platforms', 'no_such_platform')\n"
        "try: jax.devices()\n"
        "except RuntimeError as error: print(error)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert "no_such_platform" in result.stdout, "a backend was started by the import"
