import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from ddpm_jax import checkpoint

ROOT = Path(__file__).resolve().parents[1]
CONFIG = {"seed": 3, "model": {"ch_mult": [1, 2]}, "lr": 2e-4, "name": None}


class State(NamedTuple):
    step: jax.Array
    params: optax.Params
    ema_params: optax.Params
    opt_state: optax.OptState
    bad_step: jax.Array


def make_state(step: int, devices: int = 2, width: int = 3) -> State:
    """Makes a state of several dtypes, different in every leaf and at every step."""
    rng = np.random.default_rng(step)
    params = {
        "conv": {"kernel": rng.normal(size=(2, width)).astype(np.float32)},
        "bias": rng.normal(size=width).astype(jnp.bfloat16),
    }
    ema_params = jax.tree.map(lambda x: x / x.dtype.type(2), params)
    state = State(step, params, ema_params, update(params), -1)
    state = jax.tree.map(jnp.asarray, state)
    return jax.device_put(state, on_devices(devices))


@jax.jit
def update(params: optax.Params) -> optax.OptState:
    """The optimiser's state after one step by the gradient params."""
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return optimiser.update(params, optimiser.init(params), params)[1]


def on_devices(count: int) -> NamedSharding:
    mesh = Mesh(np.array(jax.devices()[:count]), ("batch",))
    return NamedSharding(mesh, PartitionSpec())


def save_steps(workdir: Path, *steps: int, keep: int = 9, **options: int) -> None:
    with checkpoint.open_checkpoints(workdir, keep=keep, **options) as checkpoints:
        for step in steps:
            assert checkpoint.save(checkpoints, make_state(step), CONFIG)


def restore(workdir: Path, target: State) -> State | None:
    with checkpoint.open_checkpoints(workdir, keep=9) as checkpoints:
        return checkpoint.restore(checkpoints, target)


def assert_same(got: object, expected: object) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    for x, y in pairs:
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def steps_on_disk(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


@pytest.mark.parametrize(("saved_on", "restored_on"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_what_is_restored_on_any_devices_is_what_was_saved_bit_for_bit(
    tmp_path: Path, saved_on: int, restored_on: int
) -> None:
    state = make_state(10, devices=saved_on)
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoint.save(checkpoints, state, CONFIG)
    restored = restore(tmp_path, make_state(0, devices=restored_on))
    assert_same(restored, state)
    for leaf in jax.tree.leaves(restored):
        assert leaf.sharding == on_devices(restored_on)


def test_the_target_may_be_shapes_and_the_state_a_dict(tmp_path: Path) -> None:
    sharding = on_devices(2)
    state = make_state(10)._asdict()
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoint.save(checkpoints, state, CONFIG)
        checkpoints.wait_until_finished()
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state
        )
        restored = checkpoint.restore(checkpoints, shapes)
    assert_same(restored, state)
    assert restored["params"]["bias"].sharding == sharding


def test_a_state_without_optimiser_arrays_comes_back(tmp_path: Path) -> None:
    state = make_state(1)._replace(opt_state=optax.sgd(0.1).init({}))
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoint.save(checkpoints, state, CONFIG)
    assert_same(restore(tmp_path, state), state)


def test_no_two_restored_leaves_share_memory(tmp_path: Path) -> None:
    same = make_state(5, width=64).params
    state = make_state(5, width=64)._replace(params=same, ema_params=same)
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoint.save(checkpoints, state, CONFIG)
    leaves = jax.tree.leaves(restore(tmp_path, state))
    shards = [shard.data for leaf in leaves for shard in leaf.addressable_shards]
    assert len({data.unsafe_buffer_pointer() for data in shards}) == 2 * len(leaves)


def test_a_state_donated_right_after_saving_is_saved_as_it_was(tmp_path: Path) -> None:
    def decay(state: State) -> State:
        return jax.tree.map(lambda x: (x * 0).astype(x.dtype), state)

    decay = jax.jit(decay, donate_argnums=0)
    original = make_state(1, width=1 << 18)
    expected = jax.tree.map(np.array, original)
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoint.save(checkpoints, original, CONFIG)
        zeros = decay(decay(original))
    assert original.params["bias"].is_deleted()
    assert not zeros.params["bias"].any()
    assert_same(restore(tmp_path, zeros), expected)


def test_the_newest_stay_and_the_multiples_of_the_period(tmp_path: Path) -> None:
    save_steps(tmp_path, 50, 100, 150, 200, 250, keep=2, keep_period=100)
    assert steps_on_disk(tmp_path) == ["100", "200", "250"]
    assert checkpoint.latest_step(tmp_path) == 250


def test_a_step_that_is_there_already_is_not_saved_again(tmp_path: Path) -> None:
    save_steps(tmp_path, 10)
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        assert not checkpoint.save(checkpoints, make_state(10), CONFIG)


def test_without_checkpoints_there_is_nothing_to_restore(tmp_path: Path) -> None:
    assert checkpoint.latest_step(tmp_path / "no" / "such") is None
    assert restore(tmp_path, make_state(0)) is None
    assert checkpoint.latest_step(tmp_path) is None


KILLED_IN_MID_SAVE = """
import os, signal, sys
from pathlib import Path
import numpy as np
from ddpm_jax import checkpoint
from test_checkpoint import CONFIG, make_state
with checkpoint.open_checkpoints(sys.argv[1], keep=3) as checkpoints:
    checkpoint.save(checkpoints, make_state(1), CONFIG)
    checkpoints.wait_until_finished()
    large = np.random.default_rng(0).normal(size=1 << 23)
    checkpoint.save(checkpoints, make_state(2)._replace(params=large), CONFIG)
    while not list(Path(sys.argv[1]).glob("checkpoints/2.*")):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_killed_in_mid_save_goes_on_from_the_last_checkpoint(
    tmp_path: Path,
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_IN_MID_SAVE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(steps_on_disk(tmp_path)) == 2
    assert checkpoint.latest_step(tmp_path) == 1
    assert checkpoint.restore_weights(tmp_path)[1] == 1
    with checkpoint.open_checkpoints(tmp_path, keep=3) as checkpoints:
        assert_same(checkpoint.restore(checkpoints, make_state(0)), make_state(1))
        assert checkpoint.save(checkpoints, make_state(2), CONFIG)
    assert steps_on_disk(tmp_path) == ["1", "2"]
    assert_same(restore(tmp_path, make_state(0)), make_state(2))


def largest_file(folder: Path) -> Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def truncate_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def truncate(step: Path) -> None:
    os.truncate(largest_file(step / "params"), 5)


def flip_a_bit(step: Path) -> None:
    """Changes one value and writes it back well-formed: Orbax sees nothing wrong."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        params = checkpointer.restore(step / "params")
        params["conv"]["kernel"].view(np.uint8)[0] ^= 1
        checkpointer.save(step / "params", params, force=True)


def empty_record(step: Path) -> None:
    os.truncate(largest_file(step / "record"), 0)


def remove_item(step: Path) -> None:
    (step / "opt_state").rename(step.parent.parent / "opt_state")


DAMAGES = [truncate, flip_a_bit, empty_record, remove_item]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_passed_over_and_can_be_saved_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    save_steps(tmp_path, 10, 15, 20)
    damage(tmp_path / "checkpoints" / "20")
    with checkpoint.open_checkpoints(tmp_path, keep=9) as checkpoints:
        with pytest.warns(UserWarning, match="^the checkpoint of step 20") as caught:
            restored = checkpoint.restore(checkpoints, make_state(0))
        (said,) = [str(w.message) for w in caught]
        assert re.fullmatch(
            r"the .* is damaged \(.*\); an earlier one may be whole", said
        )
        assert_same(restored, make_state(15))
        assert checkpoint.save(checkpoints, make_state(18), CONFIG)
        assert checkpoint.save(checkpoints, make_state(20), CONFIG)
    assert steps_on_disk(tmp_path) == ["10", "15", "18", "20", "20.damaged0"]
    assert_same(restore(tmp_path, make_state(0)), make_state(20))


def test_if_all_checkpoints_are_damaged_nothing_is_moved_and_the_run_does_not_start(
    tmp_path: Path,
) -> None:
    save_steps(tmp_path, 10, 20)
    for name in steps_on_disk(tmp_path):
        truncate(tmp_path / "checkpoints" / name)
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(ValueError, match="no checkpoint in .* is whole"),
    ):
        restore(tmp_path, make_state(0))
    assert steps_on_disk(tmp_path) == ["10", "20"]


def wider(state: State) -> State:
    return state._replace(params={**state.params, "bias": jnp.zeros(4, jnp.bfloat16)})


def other_dtype(state: State) -> State:
    return state._replace(params={**state.params, "bias": jnp.zeros(3)})


def one_more(state: State) -> State:
    return state._replace(params={**state.params, "more": jnp.zeros(3)})


def one_less(state: State) -> State:
    return state._replace(params={"conv": state.params["conv"]})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (wider, r"params/bias is bfloat16\[3\] in .*10 and bfloat16\[4\] in the model"),
        (other_dtype, r"params/bias is bfloat16\[3\] in .* and float32\[3\] in"),
        (one_more, r"params/more is absent in .* and float32\[3\] in the model"),
        (one_less, r"params/bias is bfloat16\[3\] in .* and absent in the model"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_by_the_name_of_a_tensor(
    tmp_path: Path, change: Callable[[State], State], sentence: str
) -> None:
    save_steps(tmp_path, 10)
    with pytest.raises(ValueError, match=f"^{sentence}"):
        restore(tmp_path, change(make_state(0)))
    assert steps_on_disk(tmp_path) == ["10"]


def test_weights_are_read_without_the_optimiser_or_the_other_weights(
    tmp_path: Path,
) -> None:
    save_steps(tmp_path, 10, 20)
    for name in ("opt_state", "params"):
        truncate_all(tmp_path / "checkpoints" / "20" / name)
    weights, step, config = checkpoint.restore_weights(tmp_path)
    assert (step, config) == (20, CONFIG)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(weights))
    assert_same(weights, jax.device_get(make_state(20).ema_params))
    weights, step, config = checkpoint.restore_weights(tmp_path, step=10, ema=False)
    assert (step, config) == (10, CONFIG)
    assert_same(weights, jax.device_get(make_state(10).params))


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty_record])
def test_damaged_weights_are_refused_rather_than_sampled_from(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    save_steps(tmp_path, 10, 20)
    damage(tmp_path / "checkpoints" / "20")
    folder = tmp_path / "checkpoints"
    sentence = rf"^the checkpoint of step 20 in {folder} is damaged \(.*\); "
    other = f"another may be whole, so give --step 10, or delete {folder / '20'}$"
    with pytest.raises(checkpoint.DamagedCheckpointError, match=sentence + other):
        checkpoint.restore_weights(tmp_path, ema=False)
    assert checkpoint.restore_weights(tmp_path, step=10, ema=False)[1] == 10
    shutil.rmtree(folder / "10")
    alone = f"there is no other, so delete {folder / '20'} and train again$"
    with pytest.raises(checkpoint.DamagedCheckpointError, match=sentence + alone):
        checkpoint.restore_weights(tmp_path, ema=False)


def test_many_tensors_that_cannot_be_read_are_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Threads that read the others would else call into a loop that is closed."""
    rng = np.random.default_rng(0)
    params = {f"w{i}": rng.random(9999) for i in range(60)}
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoint.save(checkpoints, {"step": np.int32(7), "params": params}, CONFIG)
    largest = largest_file(tmp_path / "checkpoints" / "7" / "params")
    os.truncate(largest, 5)
    for _ in range(3):
        with pytest.raises(checkpoint.DamagedCheckpointError, match="step 7 in"):
            checkpoint.restore_weights(tmp_path, ema=False)
    assert capfd.readouterr() == ("", "")


def test_missing_weights_are_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint in .*checkpoints$"):
        checkpoint.restore_weights(tmp_path / "nowhere")
    state: dict[str, Any] = {"step": np.int32(7), "params": {"w": np.ones(2)}}
    with checkpoint.open_checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoint.save(checkpoints, state, CONFIG)
        checkpoint.save(checkpoints, {**state, "step": np.int32(9)}, CONFIG)
    with pytest.raises(FileNotFoundError, match=r"of step 8 in .* are \[7, 9\]$"):
        checkpoint.restore_weights(tmp_path, step=8)
    with pytest.raises(ValueError, match="has no ema_params: it has params, step$"):
        checkpoint.restore_weights(tmp_path)


def test_reading_weights_leaves_what_a_run_is_writing(tmp_path: Path) -> None:
    save_steps(tmp_path, 10)
    half_written = tmp_path / "checkpoints" / "20.orbax-checkpoint-tmp"
    half_written.mkdir()
    assert checkpoint.restore_weights(tmp_path)[1] == 10
    assert half_written.is_dir()


def test_a_checkpoint_of_another_layout_is_refused(tmp_path: Path) -> None:
    save_steps(tmp_path, 10)
    record = largest_file(tmp_path / "checkpoints" / "10" / "record")
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "schema": checkpoint.SCHEMA + 1}))
    with pytest.raises(ValueError, match="has layout 2 and this version .* reads 1"):
        checkpoint.restore_weights(tmp_path)
    with pytest.raises(ValueError, match="has layout 2 and this version .* reads 1"):
        restore(tmp_path, make_state(0))


def test_at_least_one_checkpoint_must_stay(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="^keep is 0: at least 1"),
        checkpoint.open_checkpoints(tmp_path, keep=0),
    ):
        pass
