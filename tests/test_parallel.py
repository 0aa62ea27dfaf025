from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_processes import in_two_processes

from ddpm_jax import parallel
from ddpm_jax import processes
from ddpm_jax.parallel import AXIS

ROOT = Path(__file__).resolve().parents[1]


class Fit(NamedTuple):
    step: jax.Array
    w: jax.Array


def gradient(w: jax.Array, rows: jax.Array, keys: jax.Array) -> jax.Array:
    """Gives the mean gradient of |w - (row + noise)|^2, the noise drawn per row."""
    noise = jax.vmap(lambda key: jax.random.normal(key, rows.shape[1:]))(keys)
    return jax.grad(lambda w: jnp.mean((w - rows - noise) ** 2))(w)


def example_keys(key: jax.Array, step: jax.Array, index: jax.Array) -> jax.Array:
    key = jax.random.fold_in(key, step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


def mapped_step(
    state: Fit, rows: jax.Array, key: jax.Array
) -> tuple[Fit, dict[str, jax.Array]]:
    index = jax.lax.axis_index(AXIS) * len(rows) + jnp.arange(len(rows))
    keys = example_keys(key, state.step, index)
    update = jax.lax.pmean(gradient(state.w, rows, keys), AXIS)
    return Fit(state.step + 1, state.w - 0.1 * update), {"norm": jnp.sum(update**2)}


def plain_step(state: Fit, rows: jax.Array, key: jax.Array) -> Fit:
    keys = example_keys(key, state.step, jnp.arange(len(rows)))
    update = gradient(state.w, rows, keys)
    return Fit(state.step + 1, state.w - 0.1 * update)


def rows_of(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)


def fresh() -> Fit:
    return Fit(jnp.int32(0), jnp.ones((1, 3)))


def pointers(tree: object) -> list[int]:
    shards = [shard for x in jax.tree.leaves(tree) for shard in x.addressable_shards]
    return [shard.data.unsafe_buffer_pointer() for shard in shards]


def double(w: jax.Array, x: jax.Array) -> jax.Array:
    return w * x


def test_the_suite_runs_on_two_devices() -> None:
    assert jax.local_device_count() == 2


def test_two_devices_train_as_one() -> None:
    rows, key = rows_of(8), jax.random.key(3)
    state, expected = parallel.replicate(fresh()), fresh()
    shared_key, batch = parallel.replicate(key), parallel.shard(rows)
    compiled = parallel.compile_step(mapped_step, state, batch, shared_key)
    plain = jax.jit(plain_step)
    for _ in range(3):
        state, _ = compiled(state, parallel.shard(rows), shared_key)
        expected = plain(expected, rows, key)
    assert int(state.step) == 3
    np.testing.assert_allclose(state.w, expected.w, rtol=1e-6)
    assert state.w.is_fully_replicated


def test_a_step_is_traced_and_compiled_once_whatever_the_number_of_calls() -> None:
    traces, compilations = [], []

    def step(state: Fit, rows: jax.Array) -> Fit:
        traces.append(rows.shape)
        return state._replace(w=state.w + jax.lax.pmean(rows.mean(), AXIS))

    def listen(event: str, duration: float, **kwargs: str | int) -> None:
        compilations.extend(["compiled"] * event.endswith("backend_compile_duration"))

    state, batch = parallel.replicate(fresh()), parallel.shard(rows_of(4))
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        compiled = parallel.compile_step(step, state, batch)
        assert (traces, len(compilations)) == ([(2, 3)], 1)
        for _ in range(3):
            state = compiled(state, parallel.shard(rows_of(4)))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert (traces, len(compilations)) == ([(2, 3)], 1)


def test_a_step_donates_its_state_and_refuses_another_batch_size() -> None:
    state, batch = parallel.replicate(fresh()), parallel.shard(rows_of(4))
    key = parallel.replicate(jax.random.key(0))
    compiled = parallel.compile_step(mapped_step, state, batch, key)
    with pytest.raises(TypeError, match=r"float32\[2,3,3\]"):
        compiled(state, parallel.shard(rows_of(6)), key)
    compiled(state, batch, key)
    assert state.w.is_deleted()


def test_replicate_gives_every_leaf_and_device_its_own_memory() -> None:
    params, host = jnp.ones((64, 64)), np.ones((64, 64), np.float32)
    tree = {"params": params, "ema_params": params, "a": host, "b": host}
    copies = parallel.replicate(tree)
    assert len(set(pointers(copies))) == 4 * 2
    assert not set(pointers(copies)) & {*pointers(params), host.ctypes.data}
    jax.tree.map(lambda x: np.testing.assert_array_equal(x, 1), copies)


def test_a_state_whose_ema_is_its_params_can_be_donated() -> None:
    params = jnp.ones((64, 64))
    state = parallel.replicate({"params": params, "ema_params": params})

    def step(state: dict[str, jax.Array], rows: jax.Array) -> dict[str, jax.Array]:
        return {name: x + jax.lax.psum(rows.sum(), AXIS) for name, x in state.items()}

    batch = parallel.shard(np.ones((2, 1), np.float32))
    compiled = parallel.compile_step(step, state, batch)
    for _ in range(2):
        state = compiled(state, batch)
    np.testing.assert_array_equal(state["params"], np.full((64, 64), 5))
    np.testing.assert_array_equal(state["ema_params"], np.full((64, 64), 5))
    np.testing.assert_array_equal(params, np.ones((64, 64)))


def test_shard_gives_device_d_the_dth_block_of_rows() -> None:
    rows = rows_of(6)
    sharded = parallel.shard({"x": rows})["x"]
    for d, own in enumerate(sharded.addressable_shards):
        assert own.device == jax.local_devices()[d]
        np.testing.assert_array_equal(own.data, rows[None, 3 * d : 3 * d + 3])


@pytest.mark.parametrize(
    ("batch_size", "devices", "advice"),
    [
        (130, 8, "use 128 or 136"),
        (3, 8, "use 8"),
        (0, 2, "use 2"),
        (-8, 8, "use 8"),
    ],
)
def test_a_batch_size_that_cannot_be_divided_names_the_nearest_that_can(
    batch_size: int, devices: int, advice: str
) -> None:
    message = f"^batch_size {batch_size} cannot be divided among {devices} devices: "
    with pytest.raises(ValueError, match=f"{message}{advice}$"):
        parallel.check_batch_size(batch_size, devices)
    parallel.check_batch_size(2 * devices, devices)


def test_micro_batches_that_do_not_divide_are_named() -> None:
    with pytest.raises(ValueError, match="among 1 device .*accumulate 3 micro") as e:
        parallel.check_batch_size(32, 1, 3)
    assert "use 30 or 33, or another train.accumulate" in str(e.value)
    parallel.check_batch_size(24, 2, 4)


def test_shard_refuses_rows_that_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="batch_size 3 .* use 2 or 4"):
        parallel.shard(rows_of(3))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_process_slices_cover_all_rows_once_and_in_order(count: int) -> None:
    slices = [
        processes.process_slice(10, process_index=i, process_count=count)
        for i in range(count)
    ]
    rows = list(range(10))
    assert sum((rows[part] for part in slices), []) == rows
    assert max(len(rows[p]) for p in slices) - min(len(rows[p]) for p in slices) <= 1


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_a_map_equals_the_function_for_every_number_of_rows(n: int) -> None:
    w = parallel.replicate(np.float32(3))
    tripled = parallel.compile_map(double, w, rows_of(5))
    rows = rows_of(n)
    result = tripled(w, rows)
    assert isinstance(result, np.ndarray)
    np.testing.assert_array_equal(result, 3 * rows)


def test_a_map_takes_and_returns_trees_with_keys_and_is_traced_once() -> None:
    traces = []

    def noisy(w: jax.Array, x: dict[str, jax.Array]) -> dict[str, jax.Array]:
        traces.append(w)
        eps = jax.vmap(lambda key: jax.random.normal(key, (3,)))(x["key"])
        return {"x": x["image"] + w * eps, "eps": eps}

    def rows(n: int) -> dict[str, jax.Array | np.ndarray]:
        return {"key": jax.random.split(jax.random.key(1), 3)[:n], "image": rows_of(n)}

    w = parallel.replicate(np.float32(0.5))
    mapped = parallel.compile_map(noisy, w, rows(3))
    three, two = mapped(w, rows(3)), mapped(w, rows(2))
    assert len(traces) == 1
    np.testing.assert_array_equal(two["x"], three["x"][:2])
    np.testing.assert_allclose(three["x"], rows_of(3) + 0.5 * three["eps"], rtol=1e-6)
    plain = jax.vmap(lambda key: jax.random.normal(key, (3,)))(rows(3)["key"])
    np.testing.assert_allclose(three["eps"], plain, rtol=1e-6)


@pytest.mark.parametrize("n", [0, 6])
def test_a_map_refuses_more_rows_than_it_was_compiled_for(n: int) -> None:
    w = parallel.replicate(np.float32(3))
    mapped = parallel.compile_map(double, w, rows_of(5))
    with pytest.raises(ValueError, match=f"^got {n} rows: .* takes 1 to 5 at a time$"):
        mapped(w, rows_of(n))


def test_a_compiler_option_that_xla_does_not_know_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "CPU_OPTIONS", {"xla_cpu_no_such_option": "1"})
    w = parallel.replicate(np.float32(3))
    mapped = parallel.compile_map(double, w, rows_of(2))
    np.testing.assert_array_equal(mapped(w, rows_of(2)), 3 * rows_of(2))


def test_compiler_options_reach_xla_and_its_other_errors_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = dict.fromkeys(parallel.CPU_OPTIONS, "NO_SUCH_FUSION")
    monkeypatch.setattr(parallel, "CPU_OPTIONS", options)
    with pytest.raises(jax.errors.JaxRuntimeError, match="NO_SUCH_FUSION"):
        parallel.compile_map(double, parallel.replicate(np.float32(3)), rows_of(2))


def test_several_batches_are_cut_so_that_each_keeps_its_rows() -> None:
    batches = np.arange(3 * 4 * 2).reshape(3, 4, 2)
    cut = parallel.shard(batches, axis=1)
    assert cut.shape == (2, 3, 2, 2)
    for k in range(3):
        np.testing.assert_array_equal(cut[:, k], parallel.shard(batches[k]))


def test_fetch_reads_every_dtype_as_a_float() -> None:
    metrics = {"loss": np.float32(0.25), "step": np.int32(7), "bf16": jnp.bfloat16(3)}
    values = parallel.fetch(parallel.replicate(metrics))
    assert values == {"loss": 0.25, "step": 7.0, "bf16": 3.0}
    assert all(type(value) is float for value in values.values())


TWO_PROCESSES = """
import jax
import numpy as np
from ddpm_jax import checkpoint
from ddpm_jax import parallel
from ddpm_jax import processes
from test_parallel import fresh, mapped_step, rows_of
state, key = parallel.replicate(fresh()), parallel.replicate(jax.random.key(3))
own = rows_of(8)[processes.process_slice(8)]
step = parallel.compile_step(mapped_step, state, parallel.shard(own), key)
for _ in range(2):
    state, metrics = step(state, parallel.shard(own), key)
parallel.fetch(metrics)
with checkpoint.open_checkpoints(workdir, keep=2) as checkpoints:
    assert checkpoint.save(checkpoints, state, {})
    state, metrics = step(state, parallel.shard(own), key)
    checkpoints.wait_until_finished()
    state = checkpoint.restore(checkpoints, state)
state, metrics = step(state, parallel.shard(own), key)
print(*np.asarray(state.w).ravel().tolist())
"""


@pytest.mark.slow
def test_two_processes_train_and_resume_as_one(tmp_path: Path) -> None:
    outputs = in_two_processes(TWO_PROCESSES, tmp_path)
    expected = fresh()
    for _ in range(3):
        expected = jax.jit(plain_step)(expected, rows_of(8), jax.random.key(3))
    for out in outputs:
        w = [float(word) for word in out.splitlines()[-1].split()]
        np.testing.assert_allclose(w, expected.w.ravel(), rtol=1e-6)
