"""One training step: a pure function of the state, a batch and a key.

Every random number of an example depends on (key, step, global index of the example),
so that the same run on other devices draws the same numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ddpm_jax import keys as per_image
from ddpm_jax.data.dataset import Batch
from ddpm_jax.images import to_model_range
from ddpm_jax.timesteps import Drawn
from ddpm_jax.timesteps import History
from ddpm_jax.timesteps import remember


class TrainState(NamedTuple):
    """All that training carries from step to step; arrays only."""

    step: jax.Array  # int32, updates tried so far
    params: optax.Params
    ema_params: optax.Params
    opt_state: optax.OptState
    bad_step: jax.Array  # int32, the first step with a non-finite update, or -1
    history: History | None = None  # losses by t, where they decide how t is drawn


LossFn = Callable[..., jax.Array]
"""(params, keys [B], x_0 [B, H, W, C], dropout_keys [B]) -> [B]; labels and t by name,
where there are any."""


class Examples(NamedTuple):
    """What a LossFn takes after params, [B, ...] each; t comes with its weight."""

    keys: jax.Array
    x_0: jax.Array
    dropout_keys: jax.Array
    labels: jax.Array | None
    drawn: Drawn | None


def init_state(
    params: optax.Params,
    optimiser: optax.GradientTransformation,
    history: History | None = None,
) -> TrainState:
    """The state before step 0. The EMA starts as a copy: Sec. B of Ho et al. (2020).

    Example:
      >>> init_state({"w": jnp.ones(3)}, make_optimiser()).step
      Array(0, dtype=int32)
    """
    # Leaves that shared a buffer would be donated twice.
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema_params=jax.tree.map(jnp.copy, params),
        opt_state=optimiser.init(params),
        bad_step=jnp.full((), -1, jnp.int32),
        history=history,
    )


def make_optimiser(
    learning_rate: float = 2e-4,
    *,
    warmup_steps: int = 5000,
    decay_steps: int | None = None,
    grad_clip: float = 1.0,
) -> optax.GradientTransformation:
    """Adam behind a global-norm clip, with linear warm-up: Sec. B of Ho et al. (2020).

    The learning rate rises from 0 at the first update to its full value after
    warmup_steps, and stays, or, with decay_steps, falls on a cosine to 0 at that step.

    Example:
      >>> optimiser = make_optimiser(0.1, warmup_steps=1)
      >>> params = {"w": jnp.ones(())}
      >>> updates, _ = optimiser.update(params, optimiser.init(params))
      >>> float(updates["w"])
      -0.0
    """
    rate = optax.constant_schedule(learning_rate)
    if decay_steps is not None:
        steps = decay_steps - warmup_steps
        rate = optax.cosine_decay_schedule(learning_rate, steps)
    # optax reads a warm-up of 0 steps as a rate that stays 0.
    if warmup_steps > 0:
        rise = optax.linear_schedule(0.0, learning_rate, warmup_steps)
        rate = optax.join_schedules([rise, rate], [warmup_steps])
    return optax.chain(optax.clip_by_global_norm(grad_clip), optax.adam(rate))


def train_step(
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    loss_fn: LossFn,
    optimiser: optax.GradientTransformation,
    draw_t: Callable[..., Drawn] | None = None,
    ema_decay: float = 0.9999,
    flip: bool = True,
    accumulate: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Updates the state by one batch of B uint8 images: Algorithm 1.

    Under pmap, axis_name names the axis of devices, each of which holds a part of the
    batch. The gradients of `accumulate` parts of B are added up one after another, so
    that only a part's activations are in memory. An update that is not finite changes
    nothing but step and bad_step. draw_t is one of T_SAMPLINGS with its T bound; with
    None loss_fn draws t itself. Returns the new state and the scalars loss, grad_norm
    and bad_step.
    """
    size = batch.images.shape[0]
    start = 0 if axis_name is None else jax.lax.axis_index(axis_name) * size
    key, index = jax.random.fold_in(key, state.step), start + jnp.arange(size)
    keys = per_image.fold_in_each(key, index)
    flip_keys, draw_keys, dropout_keys = (per_image.fold_in(keys, i) for i in range(3))
    x_0 = to_model_range(batch.images)
    if flip:
        x_0 = random_flip(flip_keys, x_0)
    drawn = None if draw_t is None else draw_t(key, index, history=state.history)
    examples = Examples(draw_keys, x_0, dropout_keys, batch.labels, drawn)
    (loss, losses), grads = loss_and_gradient(
        loss_fn, state.params, examples, accumulate
    )
    if axis_name is not None:
        loss, grads = jax.lax.pmean((loss, grads), axis_name)
    grad_norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    history = _remember(state.history, drawn, losses, axis_name)
    state = _update(state, grads, history, finite, optimiser, ema_decay)
    return state, {"loss": loss, "grad_norm": grad_norm, "bad_step": state.bad_step}


def train_steps(
    state: TrainState,
    batches: Batch,
    key: jax.Array,
    *,
    step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Updates the state by K batches [K, B, ...] in turn: K steps, one dispatch.

    step is train_step with its options bound. Returns means over the K steps, and the
    last bad_step.
    """

    def scanned(
        state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        return step(state, batch, key)

    state, metrics = jax.lax.scan(scanned, state, batches)
    means = {name: values.mean() for name, values in metrics.items()}
    return state, means | {"bad_step": state.bad_step}


def loss_and_gradient(
    loss_fn: LossFn,
    params: optax.Params,
    examples: Examples,
    accumulate: int,
) -> tuple[tuple[jax.Array, jax.Array], optax.Updates]:
    """((mean loss, losses [B]), gradient of the mean); a part of examples at a time.

    examples are [B, ...] each; the mean is weighted where t was drawn with a weight.

    Raises:
      ValueError: if B does not divide into `accumulate` parts.
    """
    batch = examples.x_0.shape[0]
    if batch % accumulate:
        raise ValueError(f"{batch} images do not divide into {accumulate} parts")

    def mean_loss(params: optax.Params, part: Examples) -> tuple[jax.Array, jax.Array]:
        drawn = part.drawn
        given = {"labels": part.labels, "t": None if drawn is None else drawn.t}
        given = {name: x for name, x in given.items() if x is not None}
        losses = loss_fn(params, part.keys, part.x_0, part.dropout_keys, **given)
        weighted = losses if drawn is None else drawn.weight * losses
        return weighted.mean(), losses

    value_and_grad = jax.value_and_grad(mean_loss, has_aux=True)
    if accumulate == 1:
        return value_and_grad(params, examples)

    def add(total: optax.Updates, part: Examples) -> tuple[optax.Updates, jax.Array]:
        # Where the loop is unrolled XLA would keep all micro-batches in memory at once:
        # so x_0 waits for the sum of those before, of which it takes nothing.
        nothing = 0 * sum(leaf.ravel()[0] for leaf in jax.tree.leaves(total))
        part = part._replace(x_0=part.x_0 + nothing)
        (loss, losses), grads = value_and_grad(params, part)
        return jax.tree.map(jnp.add, total, (loss, grads)), losses

    parts = jax.tree.map(
        lambda x: x.reshape(accumulate, batch // accumulate, *x.shape[1:]), examples
    )
    zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
    # XLA's CPU backend is 20 times slower at a gradient that stands in a loop.
    unroll = jax.default_backend() == "cpu"
    total, losses = jax.lax.scan(add, zero, parts, unroll=unroll)
    loss, grads = jax.tree.map(lambda x: x / accumulate, total)
    return (loss, losses.reshape(batch)), grads


def _remember(
    history: History | None,
    drawn: Drawn | None,
    losses: jax.Array,
    axis_name: str | None,
) -> History | None:
    """The history with the losses of all devices, in the order of their images."""
    if history is None or drawn is None:
        return history
    found = drawn.t, losses
    if axis_name is not None:
        found = jax.lax.all_gather(found, axis_name, tiled=True)
    return remember(history, *found)


def _update(
    state: TrainState,
    grads: optax.Updates,
    history: History | None,
    finite: jax.Array,
    optimiser: optax.GradientTransformation,
    ema_decay: float,
) -> TrainState:
    updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
    finite &= jnp.isfinite(optax.tree.norm(updates))
    params = optax.apply_updates(state.params, updates)
    ema_params = optax.incremental_update(params, state.ema_params, 1 - ema_decay)
    new = (params, ema_params, opt_state, history)
    old = (state.params, state.ema_params, state.opt_state, state.history)
    params, ema_params, opt_state, history = jax.tree.map(
        lambda after, before: jnp.where(finite, after, before), new, old
    )
    first_bad = (state.bad_step < 0) & ~finite
    bad_step = jnp.where(first_bad, state.step, state.bad_step)
    return TrainState(state.step + 1, params, ema_params, opt_state, bad_step, history)


def random_flip(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image [B, H, W, C] left to right with probability one half."""
    mirrored = per_image.bernoulli(keys, 0.5).reshape(-1, 1, 1, 1)
    return jnp.where(mirrored, images[:, :, ::-1], images)
