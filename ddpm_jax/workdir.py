"""The folder of a run: which config it belongs to.

workdir/config.json holds the finished config, and every checkpoint holds a copy.
"""

import os
from pathlib import Path

import jax

from ddpm_jax.config import Config
from ddpm_jax.config import differences
from ddpm_jax.config import from_json
from ddpm_jax.config import to_json

CONFIG = "config.json"


def read_config(workdir: Path) -> Config:
    """The config of the run in workdir.

    Raises:
      FileNotFoundError, ValueError: one sentence, if there is none, or it is damaged.
    """
    path = workdir / CONFIG
    if not path.exists():
        raise FileNotFoundError(
            f"there is no run in {workdir}; give the --workdir of a training run"
        )
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} can't be read: {error}") from None


def claim_workdir(workdir: Path, config: Config, allow_config_change: bool) -> None:
    """Stores the config in workdir, unless another one is there already.

    Raises:
      ValueError: with the fields that differ, if they do and that is not allowed.
    """
    path = workdir / CONFIG
    if path.exists():
        changed = differences(read_config(workdir), config)
        if changed and not allow_config_change:
            raise ValueError(
                f"{workdir} holds a run with another config; use another --workdir, or "
                "--allow-config-change to go on with this one. What changed:\n  "
                + "\n  ".join(changed)
            )
    workdir.mkdir(parents=True, exist_ok=True)
    if jax.process_index() == 0:
        draft = path.with_suffix(".tmp")
        draft.write_text(to_json(config), encoding="utf-8")
        os.replace(draft, path)
