"""Devices: where arrays live, and the only file of the project that knows pmap.

One logical state, no leading device axis: pmap with in_axes and out_axes None keeps
every device's copy inside one jax.Array, so that nothing outside this file says
replicate, unreplicate or x[0]. The batch alone is cut, [n, ...] to
[local devices, n / local devices, ...].

In several processes each one holds its own devices' copies and its own rows of the
batch; the collectives inside a step (pmean over AXIS) run over all of them, and
axis_index(AXIS) counts the devices of all processes.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

AXIS = "batch"

# For a program that runs once, compiling is all that takes time.
QUICK_OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}

# XLA's default CPU library is slow at the gradient of a convolution's kernel: this
# keeps it for dots and reductions and leaves the convolutions to Eigen, which takes
# a tenth off a training step. The name is experimental: _compile_with guards it.
CPU_OPTIONS: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}

# A nested dict, tuple or list of arrays, or one array.
Tree = Any


def check_batch_size(
    batch_size: int, device_count: int, accumulate: int = 1, name: str = "batch_size"
) -> None:
    """Raises ValueError unless every device gets `accumulate` equal parts of a batch.

    name is what the caller's user calls batch_size.

    Example:
        >>> check_batch_size(128, 8, accumulate=4)
    """
    factor = device_count * accumulate
    if batch_size > 0 and batch_size % factor == 0:
        return
    below = max(batch_size, 0) // factor * factor
    legal = [size for size in (below, below + factor) if size > 0]
    devices = f"{device_count} device{'s' if device_count > 1 else ''}"
    sizes = " or ".join(map(str, legal))
    if accumulate == 1:
        raise ValueError(
            f"{name} {batch_size} cannot be divided among {devices}: use {sizes}"
        )
    raise ValueError(
        f"train.batch_size {batch_size} cannot be divided among {devices} and into "
        f"train.accumulate {accumulate} micro-batches: use {sizes}, or another "
        "train.accumulate"
    )


def replicate(tree: Tree) -> Tree:
    """Copies a tree of arrays to every local device; no two leaves share memory.

    A leaf that occurs twice (an EMA which starts as the parameters) becomes two
    arrays, since donating one buffer twice crashes. The given tree is left intact.

    Example:
        >>> replicate({"w": np.ones(3)})["w"].is_fully_replicated
        True
    """
    sharding = _sharding(PartitionSpec())

    def put(leaf: Tree) -> Tree:
        # jnp.array copies: device_put alone takes over the memory of an array that is
        # in place already, and that of a NumPy array once for all devices.
        return jax.device_put(jnp.array(leaf), sharding)

    return jax.tree.map(put, tree)


def shard(batch: Tree, *, axis: int = 0) -> Tree:
    """Cuts arrays [n, ...] among the local devices: [devices, n / devices, ...].

    batch is an array or a tree of them, this process's rows only. With axis=1 it is
    several batches [k, n, ...], of which each device gets [k, n / devices, ...].
    Raises ValueError unless n is a multiple of the number of local devices.

    Example:
        >>> devices = jax.local_device_count()
        >>> shard(np.zeros((devices * 4, 3))).shape == (devices, 4, 3)
        True
    """
    devices = jax.local_device_count()
    sharding = _sharding(PartitionSpec(AXIS))

    def put(x: Tree) -> Tree:
        n = x.shape[axis]
        check_batch_size(n, devices)
        cut = (*x.shape[:axis], devices, n // devices, *x.shape[axis + 1 :])
        # Typed keys are no NumPy arrays; they come with axis 0 alone.
        rows = x.reshape(cut) if axis == 0 else np.moveaxis(x.reshape(cut), axis, 0)
        return jax.device_put(rows, sharding)

    return jax.tree.map(put, batch)


def compile_step(
    step: Callable[..., Tree], state: Tree, batch: Tree, *args: Tree
) -> Callable[..., Tree]:
    """Compiles step(state, batch, *args) for all devices, now and once.

    state and args come from replicate, batch from shard; on a device step sees its
    rows of the batch, [n / devices, ...]. Whatever step returns must be equal on all
    devices: take jax.lax.pmean over AXIS, or the result is that of device 0. The
    state that a call is given is donated. Other shapes than these raise TypeError.

    Example:
        >>> def step(total, rows):
        ...     return total + jax.lax.psum(rows.sum(), AXIS)
        >>> total, rows = replicate(np.float32(0)), shard(np.ones(4, np.float32))
        >>> float(compile_step(step, total, rows)(total, rows))
        4.0
    """
    return _compile(map_step(step, len(args)), state, batch, *args)


def map_step(
    step: Callable[..., Tree], arguments: int, devices: Sequence[jax.Device] = ()
) -> jax.stages.Wrapped:
    """Maps step(state, batch, *args) over devices, all or those given; compiles not.

    arguments is how many args there are. Apart from compile_step it serves those who
    compile for devices that they only have a description of.
    """
    mapped: jax.stages.Wrapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0, *(None for _ in range(arguments))),
        out_axes=None,
        donate_argnums=(0,),
        devices=list(devices) or None,
    )
    return mapped


def compile_map(
    fn: Callable[[Tree, Tree], Tree], params: Tree, example: Tree
) -> Callable[[Tree, Tree], Tree]:
    """Compiles fn(params, x) over the rows of x, divided among this process's devices.

    params come from replicate; x is an array (images, keys) or a tree of them, all
    [n, ...]; fn maps [m, ...] to [m, ...] row by row. example has the shapes and
    dtypes of the largest x: the function returned takes x of any 1 <= n <= that
    size, fills it up with repeats of its last row, and returns NumPy [n, ...].

    Example:
        >>> double = compile_map(lambda w, x: w * x, replicate(2.0), np.zeros(3))
        >>> double(replicate(2.0), np.array([1.0, 5.0]))
        array([ 2., 10.], dtype=float32)
    """
    devices = jax.local_device_count()
    size = len(jax.tree.leaves(example)[0])
    rows = -(-size // devices)

    def abstract(x: Tree) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((devices, rows, *x.shape[1:]), x.dtype)

    sharded = jax.tree.map(abstract, jax.eval_shape(lambda x: x, example))
    # Of several processes each maps its own rows, in its own time.
    local = jax.local_devices()
    mapped = jax.pmap(fn, axis_name=AXIS, in_axes=(None, 0), devices=local)
    compiled = _compile(mapped, params, sharded)

    def run(params: Tree, x: Tree) -> Tree:
        n = len(jax.tree.leaves(x)[0])
        if not 1 <= n <= size:
            raise ValueError(f"got {n} rows: this function takes 1 to {size} at a time")
        padded = np.minimum(np.arange(devices * rows), n - 1)
        y = compiled(params, shard(jax.tree.map(lambda leaf: leaf[padded], x)))
        # Here Ctrl-C is heard; in np.asarray only once all is computed.
        jax.block_until_ready(y)
        return jax.tree.map(
            lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:])[:n], y
        )

    return run


def compile_shared_map(
    fn: Callable[[Tree, Tree], Tree], params: Tree, example: Tree
) -> Callable[[Tree, Tree], Tree]:
    """Like compile_map, with the rows divided among the devices of all processes.

    Every process calls it with the same rows, at the same point, and gets all results.

    Example:
        >>> double = compile_shared_map(lambda w, x: w * x, replicate(2.0), np.zeros(3))
        >>> double(replicate(2.0), np.array([1.0, 5.0]))
        array([ 2., 10.], dtype=float32)
    """
    count = jax.process_count()
    if count == 1:
        return compile_map(fn, params, example)
    from jax.experimental import multihost_utils

    def share(x: Tree) -> Tree:
        n = len(jax.tree.leaves(x)[0])
        rows = -(-n // count)
        # Equal shares, as the processes exchange them; the last row fills them up.
        own = np.minimum(np.arange(rows) + rows * jax.process_index(), n - 1)
        return jax.tree.map(lambda leaf: leaf[own], x)

    mapped = compile_map(fn, params, share(example))

    def run(params: Tree, x: Tree) -> Tree:
        n = len(jax.tree.leaves(x)[0])
        y = multihost_utils.process_allgather(mapped(params, share(x)), tiled=True)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:n], y)

    return run


def run_once(fn: Callable[..., Tree], *args: Tree) -> Tree:
    """Returns fn(*args), compiled in a third of the time, for functions called once.

    The result is that of jax.jit(fn)(*args); only the program is less optimised.

    Example:
        >>> run_once(lambda x: x + 1, np.float32(1)).tolist()
        2.0
    """
    return _compile_with(jax.jit(fn).lower(*args), QUICK_OPTIONS)(*args)


def abstract(tree: Tree) -> Tree:
    """Shapes, types and devices of what replicate makes of a tree, without the arrays.

    Example:
        >>> abstract({"w": np.ones(3, np.float32)})["w"].shape
        (3,)
    """
    sharding = _sharding(PartitionSpec())

    def describe(x: jax.Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(describe, tree)


def fetch(metrics: Mapping[str, jax.Array]) -> dict[str, float]:
    """Reads scalars that compile_step returned as Python floats; waits for them.

    Example:
        >>> fetch({"loss": replicate(0.5)})
        {'loss': 0.5}
    """
    # Reading one device's copy is 20 times as fast as indexing the whole array.
    own = {name: x.addressable_data(0) for name, x in metrics.items()}
    return {name: float(x) for name, x in jax.device_get(own).items()}


def _sharding(spec: PartitionSpec) -> NamedSharding:
    # pmap's own mesh has this axis name: under another one it would compile twice.
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), spec)


def _compile(mapped: jax.stages.Wrapped, *args: Tree) -> Callable[..., Tree]:
    if jax.process_count() > 1:
        # A pmap compiled ahead of time takes arrays of all processes at once and
        # pmap itself each process's own, so here the first call compiles.
        return mapped
    options = CPU_OPTIONS if jax.default_backend() == "cpu" else {}
    return _compile_with(mapped.lower(*args), options)


def _compile_with(
    lowered: jax.stages.Lowered, options: dict[str, Any]
) -> Callable[..., Any]:
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        return lowered.compile()
