"""Strict settings for every test, and one compilation cache for all of them.

Environment variables carry the cache to the processes that tests start as well.
"""

import gc
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

_CACHE = Path(__file__).resolve().parents[1] / ".cache" / "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
# Smaller programs are thousands, and storing one takes half as long as compiling it.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Compiling takes longer than running here; these shorten it. `make
# check-newest` unsets them, so that the suite also runs as programs of users do.
FLAGS = "--xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):  # a flag that is unknown ends the process
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("XLA_FLAGS", FLAGS)

import jax  # noqa: E402, because it reads the environment as it is imported

# Two devices make every pmap real; more cost 25 times as much and prove no more.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

# Tracing makes millions of small objects, of which hardly any are garbage in cycles.
gc.set_threshold(50_000, 20, 50)


# Files that take longest: they go first, so that the workers end together.
LONGEST = ("test_train_loop", "test_build", "test_diffusers_folder", "test_checkpoint")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, which order the Makefile keeps."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_collection_finish() -> None:
    """Leaves what was imported out of all further searches for garbage."""
    gc.freeze()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The workdir of a whole run of tiny.CONFIG; copy it before you change it."""
    import tiny

    from ddpm_jax.train_loop import train

    workdir = tmp_path_factory.mktemp("runs") / "digits"
    if worker_id == "master":
        train(tiny.CONFIG, workdir)
        return workdir
    # The worker that comes second copies the run of the first.
    shared = tmp_path_factory.getbasetemp().parent / "trained"
    if shared.exists():
        return shutil.copytree(shared, workdir)
    train(tiny.CONFIG, workdir)
    copy = shutil.copytree(workdir, workdir.with_name("copy"))
    if not shared.exists():
        copy.rename(shared)
    return workdir
