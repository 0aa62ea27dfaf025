"""How t is drawn: by image alone, without bias, by a history that is a plain queue."""

import dataclasses
from collections import deque
from functools import cache
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn
from test_train_step import BATCHES
from test_train_step import IMAGES
from test_train_step import LINE
from test_train_step import OPTIMISER
from test_train_step import TRAIN_KEY

from ddpm_jax import keys as per_image
from ddpm_jax import parallel
from ddpm_jax.build import build
from ddpm_jax.checkpoint import open_checkpoints
from ddpm_jax.checkpoint import save
from ddpm_jax.config import Data
from ddpm_jax.config import Objective
from ddpm_jax.config import Process
from ddpm_jax.run import compile_train_step
from ddpm_jax.run import start
from ddpm_jax.timesteps import T_SAMPLINGS
from ddpm_jax.timesteps import UNIFORM_SHARE
from ddpm_jax.timesteps import History
from ddpm_jax.timesteps import antithetic_t
from ddpm_jax.timesteps import empty_history
from ddpm_jax.timesteps import importance_t
from ddpm_jax.timesteps import probabilities
from ddpm_jax.timesteps import remember
from ddpm_jax.train_step import TrainState
from ddpm_jax.train_step import init_state
from ddpm_jax.train_step import train_step

KEY = jax.random.key(0)
DRAWN = [name for name, draw_t in T_SAMPLINGS.items() if draw_t]
FULL = History(
    jnp.asarray(np.random.default_rng(0).gamma(2.0, size=(6, 10)), jnp.float32),
    jnp.full(6, 10, jnp.int32),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_what_an_image_draws_depends_on_the_key_and_its_number_alone(name: str) -> None:
    draw_t = jax.jit(partial(T_SAMPLINGS[name], num_timesteps=6, history=FULL))
    whole, weight = draw_t(KEY, jnp.arange(64))
    parts = [draw_t(KEY, jnp.arange(a, b)) for a, b in ((0, 5), (5, 6), (6, 64))]
    np.testing.assert_array_equal(jnp.concatenate([t for t, _ in parts]), whole)
    np.testing.assert_array_equal(jnp.concatenate([w for _, w in parts]), weight)
    assert (draw_t(jax.random.key(1), jnp.arange(64)).t != whole).mean() > 0.5
    assert whole.dtype == jnp.int32 and int(whole.min()) >= 0 and int(whole.max()) < 6


def test_antithetic_t_is_uniform_and_mirrored_in_its_neighbour() -> None:
    t, weight = antithetic_t(KEY, jnp.arange(8192), 1000)
    np.testing.assert_array_equal(t[0::2] + t[1::2], np.full(4096, 999))
    shares = np.histogram(t[0::2], bins=10, range=(0, 1000))[0] / 4096
    np.testing.assert_allclose(shares, 0.1, atol=4 * np.sqrt(0.09 / 4096))
    assert (weight == 1).all()
    # A batch's mean of what rises evenly with t does not vary at all.
    assert float(t.astype(jnp.float32).mean()) == pytest.approx(499.5, rel=1e-6)


def test_importance_sampling_draws_by_p_and_weighs_by_its_inverse() -> None:
    root = np.sqrt((np.asarray(FULL.losses, np.float64) ** 2).mean(1))
    exact = (1 - UNIFORM_SHARE) * root / root.sum() + UNIFORM_SHARE / 6
    p = np.asarray(probabilities(FULL))
    np.testing.assert_allclose(p, exact, rtol=1e-5)
    count = 20_000
    t, weight = jax.jit(partial(importance_t, num_timesteps=6))(
        KEY, jnp.arange(count), history=FULL
    )
    shares = np.bincount(np.asarray(t), minlength=6) / count
    np.testing.assert_allclose(shares, p, atol=4 * np.sqrt(p.max() / count))
    assert p.max() > 1.5 * p.min()
    np.testing.assert_allclose(weight, 1 / (6 * p[np.asarray(t)]), rtol=1e-6)
    # So a weighted mean over the draws is the mean over all t.
    f = np.arange(6.0) ** 2
    drawn = np.asarray(weight) * f[np.asarray(t)]
    assert abs(drawn.mean() - f.mean()) < 5 * drawn.std() / np.sqrt(count)


def test_t_is_uniform_until_every_t_has_its_ten_losses_or_where_all_are_zero() -> None:
    short = FULL._replace(counts=FULL.counts.at[3].set(9))
    nothing = FULL._replace(losses=0 * FULL.losses)
    for history in (short, nothing, empty_history(6)):
        np.testing.assert_allclose(probabilities(history), np.full(6, 1 / 6))


def test_a_t_without_loss_is_drawn_all_the_same() -> None:
    p = probabilities(FULL._replace(losses=FULL.losses.at[2].set(0.0)))
    assert float(p[2]) == pytest.approx(UNIFORM_SHARE / 6, rel=1e-5)
    assert float(p.sum()) == pytest.approx(1, rel=1e-6)


def test_importance_sampling_without_a_history_is_refused() -> None:
    with pytest.raises(ValueError, match="draws by a history; make one first"):
        importance_t(KEY, jnp.arange(4), 6, None)


def test_the_history_is_the_last_ten_losses_of_each_t() -> None:
    rng, history = np.random.default_rng(1), empty_history(5)
    queues = [deque(maxlen=10) for _ in range(5)]
    step = jax.jit(remember)
    # A batch of 40 brings more than ten losses of some t, and none of t = 4.
    for size in (3, 40, 40, 40):
        t = rng.choice(5, size, p=[0.05, 0.6, 0.2, 0.15, 0.0])
        losses = rng.random(size).astype(np.float32)
        history = step(history, jnp.asarray(t), jnp.asarray(losses))
        for one, loss in zip(t, losses, strict=True):
            queues[one].append(loss)
    assert {len(queue) for queue in queues} == {0, 6, 10}
    for kept, queue in zip(history.losses, queues, strict=True):
        padded = sorted([*queue, *(0.0,) * (10 - len(queue))])
        np.testing.assert_array_equal(sorted(np.asarray(kept)), padded)


def t_loss(
    params: dict,
    keys: jax.Array,
    x_0: jax.Array,
    dropout_keys: jax.Array,
    t: jax.Array,
) -> jax.Array:
    """A loss as small as can be that depends on t and on all else."""
    eps = per_image.normal(keys, x_0.shape[1:])
    errors = jnp.square(params["a"] * x_0 + params["b"] - eps).mean((1, 2, 3))
    return errors * (1 + t) ** 2


def step_of(name: str) -> partial:
    draw_t = partial(T_SAMPLINGS[name], num_timesteps=4)
    return partial(train_step, loss_fn=t_loss, optimiser=OPTIMISER, draw_t=draw_t)


def first_state() -> TrainState:
    return init_state(LINE, OPTIMISER, empty_history(4))


@cache
def run(name: str, accumulate: int = 1) -> tuple[TrainState, list[float]]:
    step = partial(step_of(name), accumulate=accumulate)
    state, losses, compiled = first_state(), [], jax.jit(step)
    for batch in BATCHES:
        state, metrics = compiled(state, batch, TRAIN_KEY)
        losses.append(float(metrics["loss"]))
    return state, losses


@pytest.mark.slow
@pytest.mark.parametrize("name", ["antithetic", "importance"])
def test_the_same_t_and_history_on_two_devices_as_on_one(name: str) -> None:
    key, both = parallel.replicate(TRAIN_KEY), parallel.replicate(first_state())
    step = partial(step_of(name), axis_name=parallel.AXIS)
    two = parallel.compile_step(step, both, parallel.shard(BATCHES[0]), key)
    on_two = []
    for batch in BATCHES:
        both, metrics = two(both, parallel.shard(batch), key)
        on_two.append(parallel.fetch(metrics)["loss"])
    state, on_one = run(name)
    np.testing.assert_allclose(on_two, on_one, rtol=1e-5)
    np.testing.assert_array_equal(both.history.counts, state.history.counts)
    np.testing.assert_allclose(both.history.losses, state.history.losses, rtol=1e-5)
    assert int(state.history.counts.sum()) == 20 * 8
    for leaf in jax.tree.leaves(both.history):
        first, second = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_parts_of_a_batch_draw_and_remember_what_the_whole_does() -> None:
    whole, losses = run("importance")
    parts, added = run("importance", accumulate=2)
    np.testing.assert_allclose(added, losses, rtol=1e-5)
    np.testing.assert_allclose(parts.history.losses, whole.history.losses, rtol=1e-5)
    # Ten of each t are there long before the end, and larger losses are drawn more.
    assert int(whole.history.counts.min()) >= 10
    assert probabilities(whole.history)[3] > 2 * probabilities(whole.history)[0]


def test_the_history_is_of_losses_as_they_are_and_not_as_they_are_weighted() -> None:
    def loss(params: dict, *arguments: jax.Array, t: jax.Array) -> jax.Array:
        return 0.0 * t_loss(params, *arguments, t=t) + (1.0 + t) ** 2

    # By which t are drawn 1, 2, 3 and 4 times as often, and so weighted by the inverse.
    losses = jnp.repeat(jnp.arange(1.0, 5.0)[:, None], 10, axis=1)
    before = first_state()._replace(history=History(losses, jnp.full(4, 10, jnp.int32)))
    step = jax.jit(partial(step_of("importance"), loss_fn=loss))
    after = step(before, IMAGES, KEY)[0].history.losses
    changed = np.asarray(after != losses)
    squares = np.broadcast_to((1.0 + np.arange(4))[:, None] ** 2, (4, 10))
    assert changed.sum() >= 3
    np.testing.assert_array_equal(np.asarray(after)[changed], squares[changed])


@pytest.mark.slow
def test_an_update_that_is_not_finite_leaves_the_history_alone() -> None:
    def loss(params: dict, *arguments: jax.Array, t: jax.Array) -> jax.Array:
        return t_loss(params, *arguments, t=t) * jnp.where(t == 0, jnp.nan, 1)

    step = jax.jit(partial(step_of("importance"), loss_fn=loss))
    before = first_state()._replace(history=remember_some())
    after, metrics = step(before, IMAGES, KEY)
    assert int(metrics["bad_step"]) == 0
    jax.tree.map(np.testing.assert_array_equal, after.history, before.history)


def remember_some() -> History:
    """A history by which t = 0 is drawn nearly always."""
    losses = jnp.full((4, 10), 1e-6).at[0].set(1.0)
    return History(losses, jnp.full(4, 10, jnp.int32))


class OneLayer(nn.Module):
    """In the U-Net's place, whose compilation would take longer than all else."""

    @nn.compact
    def __call__(
        self, x: jax.Array, t: jax.Array, dropout_keys: jax.Array | None = None
    ) -> jax.Array:
        return nn.Dense(x.shape[-1])(x)


@pytest.mark.slow
def test_a_run_that_draws_t_by_its_losses_goes_on_by_them_bit_for_bit(
    tmp_path: Path,
) -> None:
    config = dataclasses.replace(
        tiny.with_train(batch_size=8),
        process=Process("sigmoid", 2, rescale_zero_snr=True),
        objective=Objective("v", loss_weight="p2", t_sampling="importance"),
        data=Data("digits", image_size=(8, 8), channels=1),
    )
    model, parts = OneLayer(), build(config)
    loss_fn = partial(parts.loss_fn, network=model.apply)
    parts = parts._replace(model=model, loss_fn=loss_fn)
    batches = [parallel.shard(batch) for batch in BATCHES[:10]]
    with open_checkpoints(tmp_path, keep=1) as checkpoints:
        state, optimiser, keys = start(config, parts, checkpoints)
        key = parallel.replicate(keys.train)
        step = compile_train_step(config, parts, state, optimiser, key)
        for batch in batches[:6]:
            state, _ = step(state, batch, key)
        save(checkpoints, state, {})
        assert int(np.asarray(state.history.counts).min()) >= 10
        for batch in batches[6:]:
            state, _ = step(state, batch, key)
    with open_checkpoints(tmp_path, keep=1) as checkpoints:
        resumed, _, _ = start(config, parts, checkpoints)
    for batch in batches[6:]:
        resumed, _ = step(resumed, batch, key)
    jax.tree.map(np.testing.assert_array_equal, resumed, state)
    assert int(np.asarray(state.history.counts).sum()) == 80
