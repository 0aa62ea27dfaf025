"""The training step, against NumPy's Adam and against itself on other devices."""

import functools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddpm_jax import keys as per_image
from ddpm_jax import parallel
from ddpm_jax.blocks import ResBlock
from ddpm_jax.data import Batch
from ddpm_jax.train_step import TrainState
from ddpm_jax.train_step import init_state
from ddpm_jax.train_step import make_optimiser
from ddpm_jax.train_step import random_flip
from ddpm_jax.train_step import train_step
from ddpm_jax.train_step import train_steps

KEY, TRAIN_KEY = jax.random.key(0), jax.random.key(1)
OPTIMISER = make_optimiser(1e-2, warmup_steps=5)
LINE = {"a": jnp.float32(1), "b": jnp.float32(2)}
PIXELS = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 8, 1), np.uint8)
BATCHES = [Batch(images) for images in PIXELS]
IMAGES = Batch(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8))


def linear_loss(
    params: dict, keys: jax.Array, x_0: jax.Array, dropout_keys: jax.Array
) -> jax.Array:
    """Its gradient is the same at every step: (3, 4), of norm 5."""
    return jnp.full(len(x_0), params["a"] * 3 + params["b"] * 4)


def run(
    steps: int, optimiser: optax.GradientTransformation, decay: float = 0.9
) -> list[TrainState]:
    state = init_state(LINE, optimiser)
    step = jax.jit(
        partial(train_step, loss_fn=linear_loss, optimiser=optimiser, ema_decay=decay)
    )
    states = [state]
    for _ in range(steps):
        state, _ = step(state, IMAGES, KEY)
        states.append(state)
    return states


def test_the_update_is_clipped_adam_with_warm_up_and_a_constant_ema() -> None:
    states = run(12, make_optimiser(0.1, warmup_steps=5, grad_clip=1.0))
    w, grad = np.array([1.0, 2.0]), np.array([0.6, 0.8])  # (3, 4) clipped to norm 1
    ema, m, v = w.copy(), np.zeros(2), np.zeros(2)
    for i in range(12):
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        m_hat, v_hat = m / (1 - 0.9 ** (i + 1)), v / (1 - 0.999 ** (i + 1))
        w = w - 0.1 * min(i / 5, 1) * m_hat / (np.sqrt(v_hat) + 1e-8)
        ema = 0.9 * ema + 0.1 * w
        got = states[i + 1]
        np.testing.assert_allclose(list(got.params.values()), w, atol=2e-5)
        np.testing.assert_allclose(list(got.ema_params.values()), ema, atol=2e-5)
        assert int(got.step) == i + 1
    assert states[1].params == states[0].params  # the first update has rate 0


def test_cosine_decay_ends_at_zero() -> None:
    states = run(8, make_optimiser(0.1, warmup_steps=2, decay_steps=7))
    moves = [
        abs(float(after.params["a"] - before.params["a"]))
        for before, after in zip(states[:-1], states[1:], strict=True)
    ]
    assert moves[0] == 0 and moves[2] == max(moves)
    assert moves[2:] == sorted(moves[2:], reverse=True)
    assert moves[7] == pytest.approx(0, abs=1e-7)


def test_an_update_that_is_not_finite_changes_nothing_and_is_remembered() -> None:
    def loss(
        params: dict, keys: jax.Array, x_0: jax.Array, dropout_keys: jax.Array
    ) -> jax.Array:
        # log of a negative number, at an image that is all black
        return params["w"] * jnp.log(x_0.mean((1, 2, 3)) + 1 - 1e-3)

    optimiser = make_optimiser(0.1, warmup_steps=0)
    state = init_state({"w": jnp.float32(1)}, optimiser)
    step = jax.jit(partial(train_step, loss_fn=loss, optimiser=optimiser))
    good, _ = step(state, IMAGES, KEY)
    black = Batch(IMAGES.images.copy())
    black.images[1] = 0
    bad, metrics = step(good, black, KEY)
    worse, metrics = step(bad, black, KEY)
    assert not jnp.isfinite(metrics["loss"])
    assert (int(worse.step), int(worse.bad_step), int(good.bad_step)) == (3, 1, -1)
    assert worse.params == good.params and worse.ema_params == good.ema_params
    assert jax.tree.leaves(worse.opt_state) == jax.tree.leaves(good.opt_state)
    assert float(good.params["w"]) != 1.0


def test_half_of_the_images_are_mirrored_each_by_its_own_key() -> None:
    images = np.tile(np.arange(3.0, dtype="f").reshape(1, 1, 3, 1), (2000, 2, 1, 1))
    flip = jax.jit(random_flip)
    flipped = np.asarray(flip(per_image.image_keys(KEY, 2000), images))
    mirrored = flipped[:, 0, 0, 0] == 2
    np.testing.assert_array_equal(flipped[~mirrored], images[~mirrored])
    np.testing.assert_array_equal(flipped[mirrored], images[mirrored][:, :, ::-1])
    assert mirrored.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 2000))
    part = flip(per_image.image_keys(KEY, 5, start=9), images[:5])
    np.testing.assert_array_equal(part, flipped[9:14])


def noisy_loss(
    params: dict, keys: jax.Array, x_0: jax.Array, dropout_keys: jax.Array
) -> jax.Array:
    """A loss as small as can be that depends on every argument."""
    eps = per_image.normal(keys, x_0.shape[1:])
    kept = per_image.bernoulli(dropout_keys, 0.9, x_0.shape[1:])
    return jnp.square(params["a"] * x_0 * kept + params["b"] - eps).mean((1, 2, 3))


NOISY_STEP = partial(train_step, loss_fn=noisy_loss, optimiser=OPTIMISER)


def losses(
    step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    state: TrainState,
    name: str = "loss",
) -> np.ndarray:
    """The losses [20], or another metric, of as many steps, on one device."""
    found = []
    for batch in BATCHES:
        state, metrics = step(state, batch, TRAIN_KEY)
        found.append(float(metrics[name]))
    return np.array(found)


@functools.cache
def network_step(dtype: str) -> tuple[Callable[..., tuple], TrainState]:
    """The step of one residual block with dropout 0.1, and its first state."""
    block = ResBlock(1, dropout=0.1, num_groups=1, dtype=jnp.dtype(dtype))
    temb = np.ones((1, 4), np.float32)

    def loss(
        params: dict, keys: jax.Array, x_0: jax.Array, dropout_keys: jax.Array
    ) -> jax.Array:
        eps = per_image.normal(keys, x_0.shape[1:])
        rows = jnp.broadcast_to(temb, (len(x_0), 4))
        eps_hat = block.apply(params, x_0 + eps, rows, dropout_keys)
        return jnp.square(eps_hat - eps).mean((1, 2, 3))

    params = jax.jit(block.init)(KEY, np.zeros((1, 8, 8, 1), np.float32), temb)
    step = partial(train_step, loss_fn=loss, optimiser=OPTIMISER)
    return step, init_state(params, OPTIMISER)


@functools.cache
def network_losses(dtype: str) -> np.ndarray:
    step, state = network_step(dtype)
    return losses(jax.jit(step), state)


def test_twenty_steps_on_two_devices_are_those_on_one() -> None:
    step, state = network_step("float32")
    key, both = parallel.replicate(TRAIN_KEY), parallel.replicate(state)
    assert jax.local_device_count() == 2
    shared_step = partial(step, axis_name=parallel.AXIS)
    two = parallel.compile_step(shared_step, both, parallel.shard(BATCHES[0]), key)
    on_two = []
    for batch in BATCHES:
        both, metrics = two(both, parallel.shard(batch), key)
        on_two.append(parallel.fetch(metrics)["loss"])

    on_one = network_losses("float32")
    np.testing.assert_allclose(on_two, on_one, rtol=1e-5)
    assert len(set(on_one)) == 20


@pytest.mark.slow
def test_losses_in_bfloat16_track_those_in_float32() -> None:
    exact, rounded = network_losses("float32"), network_losses("bfloat16")
    assert exact[-1] < 0.9 * exact[0]
    assert 1e-6 < abs(rounded / exact - 1).max() < 0.02


@functools.cache
def noisy_step(parts: int) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    return jax.jit(partial(NOISY_STEP, accumulate=parts))


def noisy_losses(parts: int, name: str = "loss") -> np.ndarray:
    return losses(noisy_step(parts), init_state(LINE, OPTIMISER), name)


@pytest.mark.parametrize("parts", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_gradients_added_up_in_parts_are_that_of_the_whole_batch(parts: int) -> None:
    whole = noisy_losses(1)
    np.testing.assert_allclose(noisy_losses(parts), whole, rtol=1e-5)
    assert len(set(whole)) == 20
    # Clipping and Adam would hide a gradient that is too long.
    norms, whole = (noisy_losses(n, "grad_norm") for n in (parts, 1))
    np.testing.assert_allclose(norms, whole, rtol=1e-5)


def test_parts_that_do_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="4 images do not divide into 3 parts"):
        NOISY_STEP(init_state(LINE, OPTIMISER), IMAGES, KEY, accumulate=3)


def test_several_steps_in_one_dispatch_are_those_steps() -> None:
    state, one_by_one = init_state(LINE, OPTIMISER), noisy_losses(1)
    several = jax.jit(partial(train_steps, step=NOISY_STEP))
    for k in range(0, 20, 5):
        together = jax.tree.map(lambda *x: np.stack(x), *BATCHES[k : k + 5])
        state, metrics = several(state, together, TRAIN_KEY)
        mean = one_by_one[k : k + 5].mean()
        assert float(metrics["loss"]) == pytest.approx(mean, rel=1e-5)
    assert int(state.step) == 20 and int(metrics["bad_step"]) == -1


def test_a_bad_update_within_a_dispatch_is_named() -> None:
    def loss(
        params: dict, keys: jax.Array, x_0: jax.Array, dropout_keys: jax.Array
    ) -> jax.Array:
        return params["a"] * jnp.log(x_0.mean((1, 2, 3)) + 1 - 1e-3)

    step = partial(train_step, loss_fn=loss, optimiser=OPTIMISER)
    images = PIXELS[:5].copy()
    images[2, 1] = 0  # all black
    state = init_state(LINE, OPTIMISER)
    state, metrics = jax.jit(partial(train_steps, step=step))(state, Batch(images), KEY)
    assert (int(state.step), int(metrics["bad_step"])) == (5, 2)
