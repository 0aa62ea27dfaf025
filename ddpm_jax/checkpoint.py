"""Checkpoints: the training state on disk, written and found again with Orbax.

A checkpoint is the folder workdir/checkpoints/<step>. It has one item for every field
of the state (params, ema_params, opt_state, ...), so that sampling reads the weights
alone, and one more, record: the configuration, a CRC-32 of every item, as Orbax
returns flipped bits without a word, and the scores, if any, that tell which one is
best. All is written as plain arrays: what 8 devices saved, 1 restores. Writing happens
in the background, from a copy; a folder gets its final name when it is complete.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

import jax
import jax.numpy as jnp

from ddpm_jax.best import KeepBest
from ddpm_jax.best import Scores
from ddpm_jax.best import Step
from ddpm_jax.best import best_step
from ddpm_jax.checkpoint_items import SCHEMA
from ddpm_jax.checkpoint_items import DamagedCheckpointError
from ddpm_jax.checkpoint_items import Tree
from ddpm_jax.checkpoint_items import crc32_of
from ddpm_jax.checkpoint_items import read
from ddpm_jax.checkpoint_items import read_record
from ddpm_jax.processes import all_processes
from ddpm_jax.processes import first_process
from ddpm_jax.trees import named

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager as CheckpointManager

State = TypeVar("State")


@contextlib.contextmanager
def open_checkpoints(
    workdir: str | os.PathLike[str],
    *,
    keep: int,
    keep_period: int | None = None,
    best: str | None = None,
) -> Iterator["CheckpointManager"]:
    """Opens workdir/checkpoints for saving, and on leaving waits for what is written.

    The newest `keep` checkpoints stay, and with them every one whose step is a
    multiple of keep_period, and the one with the lowest score of the name best. What a
    killed run left half-written is removed.

    Example:
        >>> import tempfile
        >>> state = {"step": jnp.int32(10), "params": {"w": jnp.array([2.0, 3.0])}}
        >>> with tempfile.TemporaryDirectory() as workdir:
        ...     with open_checkpoints(workdir, keep=1) as checkpoints:
        ...         saved = save(checkpoints, state, config={"seed": 0})
        ...     params, step, config = restore_weights(workdir, ema=False)
        >>> print(params["w"], step, config)
        [2. 3.] 10 {'seed': 0}
    """
    import orbax.checkpoint as ocp

    if keep < 1:
        raise ValueError(f"keep is {keep}: at least 1 checkpoint must stay")
    staying: list[Any] = [ocp.checkpoint_managers.LatestN(keep)]
    if keep_period is not None:
        staying.append(ocp.checkpoint_managers.EveryNSteps(keep_period))
    if best is not None:
        staying.append(KeepBest(best, _scores(workdir)))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(staying),
        cleanup_tmp_directories=True,
    )
    with ocp.CheckpointManager(_folder(workdir), options=options) as manager:
        yield manager


def save(
    manager: "CheckpointManager",
    state: Tree,
    config: dict[str, Any],
    scores: Scores | None = None,
) -> bool:
    """Begins to save state, a NamedTuple or dict with a field step, and its config.

    scores are numbers that tell how good it is: less is better.

    Returns as soon as the state is copied: it may be donated then. Returns False and
    saves nothing where this step or a later one is there already. What goes wrong in
    the background is raised by the next call, or by leaving open_checkpoints.
    """
    import orbax.checkpoint as ocp

    host = jax.device_get(state)  # Orbax copies it once more before it returns.
    fields = host._asdict() if hasattr(host, "_asdict") else host
    # Orbax cannot write a field without arrays, such as the state of plain SGD.
    fields = {name: tree for name, tree in fields.items() if jax.tree.leaves(tree)}
    record = {
        "schema": SCHEMA,
        "config": config,
        "crc32": {name: crc32_of(tree) for name, tree in fields.items()},
        "scores": dict(scores or {}),
    }
    items = {name: ocp.args.StandardSave(tree) for name, tree in fields.items()}
    args = ocp.args.Composite(record=ocp.args.JsonSave(record), **items)
    # Orbax hands the scores to KeepBest, and writes them nowhere: the record has them.
    return bool(manager.save(int(fields["step"]), args=args, metrics=record["scores"]))


def restore(manager: "CheckpointManager", target: State) -> State | None:
    """Returns the newest checkpoint on the devices of target; None if there is none.

    target is a state, or the same tree of ShapeDtypeStructs with shardings; every
    leaf of the result is memory of its own. A damaged checkpoint is passed over with
    a warning and moved aside, so that its step can be saved again. Raises ValueError
    if a tensor is missing or has another shape or dtype, or if all are damaged.
    """
    steps = sorted(manager.all_steps(), reverse=True)
    paths = [Path(manager.directory) / str(step) for step in steps]
    for number, path in enumerate(paths):
        if items := _read_in_all_processes(path):
            state = _fit(items, target, path)
            _move_aside(paths[:number])
            manager.reload()
            return state
    if paths:
        raise ValueError(
            f"no checkpoint in {manager.directory} is whole: move it to start afresh"
        )
    return None


def restore_weights(
    workdir: str | os.PathLike[str], *, step: Step | None = None, ema: bool = True
) -> tuple[Tree, int, dict[str, Any]]:
    """Reads weights alone: (tree of NumPy arrays, step, config), of the newest step.

    Needs neither the network nor the optimiser; ema chooses ema_params over params,
    and step another checkpoint, "best" the one with the lowest score. Raises
    FileNotFoundError naming the steps there are, ValueError if the checkpoint has no
    such weights, or if none has a score, and DamagedCheckpointError with what to do.
    """
    steps = _steps(workdir)
    chosen = _best(workdir) if step == "best" else step
    chosen = max(steps, default=None) if chosen is None else chosen
    if chosen is None or chosen not in steps:
        which = "" if chosen is None else f" of step {chosen}"
        raise FileNotFoundError(
            f"there is no checkpoint{which} in "
            f"{_folder(workdir)}" + (f": the steps there are {steps}" if steps else "")
        )
    name = "ema_params" if ema else "params"
    path = _folder(workdir) / str(chosen)
    try:
        items, config = read(path, only=name)
    except DamagedCheckpointError as error:
        others = [other for other in reversed(steps) if other != chosen]
        raise DamagedCheckpointError(f"{error}; {_instead(path, others)}") from error
    return items[name], chosen, config


def _instead(path: Path, others: list[int]) -> str:
    """What to do about a damaged checkpoint, where there are others or none."""
    if not others:
        return f"there is no other, so delete {path} and train again"
    steps = " or ".join(map(str, others[:3]))
    return f"another may be whole, so give --step {steps}, or delete {path}"


def latest_step(workdir: str | os.PathLike[str]) -> int | None:
    """Returns the step of the newest checkpoint under workdir; None if there is none.

    Example:
        >>> latest_step("no/such/folder") is None
        True
    """
    return max(_steps(workdir), default=None)


def _best(workdir: str | os.PathLike[str]) -> int | None:
    """The step with the lowest score; None if there is no checkpoint at all."""
    scores = _scores(workdir)
    found = best_step(scores)
    if scores and found is None:
        raise ValueError(
            f"no checkpoint in {_folder(workdir)} has a score, so none is the best: "
            f"train with --log.keep-best, or choose one of the steps {sorted(scores)}"
        )
    return found


def _scores(workdir: str | os.PathLike[str]) -> dict[int, Scores]:
    """The scores of every checkpoint; none, with a warning, of a damaged one."""
    found: dict[int, Scores] = {}
    for step in _steps(workdir):
        found[step] = {}
        try:
            found[step] = read_record(_folder(workdir) / str(step)).get("scores", {})
        except DamagedCheckpointError as error:
            warnings.warn(str(error), stacklevel=3)
    return found


def _folder(workdir: str | os.PathLike[str]) -> Path:
    return Path(workdir).absolute() / "checkpoints"


def _steps(workdir: str | os.PathLike[str]) -> list[int]:
    paths = _folder(workdir).glob("*")
    return sorted(int(path.name) for path in paths if path.name.isdecimal())


def _read_in_all_processes(path: Path) -> dict[str, Tree]:
    """Reads all items; returns none of them where a process finds them damaged."""
    items: dict[str, Tree] = {}
    try:
        items, _ = read(path)
    except DamagedCheckpointError as error:
        warnings.warn(f"{error}; an earlier one may be whole", stacklevel=3)
    return items if all_processes(bool(items)) else {}


def _move_aside(paths: list[Path]) -> None:
    """Renames damaged checkpoints: Orbax would not save a step older than they are."""
    for path in paths if first_process() else []:
        number = len(list(path.parent.glob(f"{path.name}.damaged*")))
        path.rename(path.with_name(f"{path.name}.damaged{number}"))
    all_processes(True)


def _fit(items: dict[str, Tree], target: State, path: Path) -> State:
    """Gives the arrays that were read the tree and the devices of target."""
    saved, wanted = named(items), named(target)
    for name in sorted(saved.keys() | wanted.keys()):
        got, want = _describe(saved.get(name)), _describe(wanted.get(name))
        if got != want:
            raise ValueError(
                f"{name} is {got} in checkpoint {path} and {want} in the model: "
                "use the configuration that it was saved with"
            )
    # jnp.array copies: device_put alone takes over the memory of a NumPy array, once
    # for all devices, and the state will be donated.
    leaves = [
        jax.device_put(jnp.array(saved[name]), getattr(like, "sharding", None))
        for name, like in wanted.items()
    ]
    state: State = jax.tree.unflatten(jax.tree.structure(target), leaves)
    return state


def _describe(leaf: Tree) -> str:
    return "absent" if leaf is None else f"{leaf.dtype}{list(leaf.shape)}"
