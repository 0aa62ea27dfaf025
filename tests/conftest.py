"""Strict settings for every test, and one compilation cache for all of them.

Environment variables carry the cache to the processes that tests start as well.
"""

import os
from pathlib import Path

import pytest

_CACHE = Path(__file__).resolve().parents[1] / ".cache" / "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Compiling takes longer than running here; this cuts it to a third. `make check-newest`
# sets it to 0, so that the suite also runs as a user's programs do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax  # noqa: E402, because it reads the environment as it is imported

# Two devices make every pmap real; more cost 25 times as much and prove no more.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


# Files that take longest: they go first, so that the workers end together.
LONGEST = ("test_train_loop", "test_build", "test_unet", "test_scripts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, which order the Makefile keeps."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a whole run of tiny.CONFIG; copy it before you change it."""
    import tiny

    from ddpm_jax.train_loop import train

    workdir = tmp_path_factory.mktemp("runs") / "digits"
    train(tiny.CONFIG, workdir)
    return workdir
