"""What a config describes is what the functions do that are built from it."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddpm_jax import keys as per_image
from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.build import sampler_of
from ddpm_jax.chains import sample_frames
from ddpm_jax.chains import sample_images
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import Process
from ddpm_jax.data import Batch
from ddpm_jax.diffusion import predict_x0
from ddpm_jax.images import to_model_range
from ddpm_jax.network import held_out_loss
from ddpm_jax.prediction import training_loss
from ddpm_jax.reverse import ReverseStep
from ddpm_jax.reverse import reverse_step
from ddpm_jax.timesteps import T_SAMPLINGS

# Parameters are nested dicts of arrays, which no static type describes.
Tree = Any

CONFIG = Config(
    process=Process(num_timesteps=6, beta_start=0.02, beta_end=0.7),
    model=Model(
        ch=8,
        ch_mult=(1,),
        num_res_blocks=1,
        attention_resolutions=(),
        dropout=0.5,
        num_groups=4,
    ),
    data=Data(image_size=(4, 6), channels=3),
)
T = jnp.array([1, 1, 4])
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 6, 3)), jnp.float32)


@functools.cache
def parts_with(objective: Objective = CONFIG.objective, **model: Any) -> Parts:  # noqa: ANN401
    changed = dataclasses.replace(CONFIG.model, **model)
    return build(dataclasses.replace(CONFIG, model=changed, objective=objective))


@functools.cache
def network_of(**model: Any) -> Callable[..., jax.Array]:  # noqa: ANN401
    return jax.jit(parts_with(**model).network)


@functools.cache
def loss_of(**model: Any) -> Callable[..., jax.Array]:  # noqa: ANN401
    return jax.jit(parts_with(**model).loss_fn)


@functools.cache
def params_of(learned: bool = False) -> Tree:
    """Parameters of which none is zero, so that every layer counts."""
    objective = Objective(loss="vlb", variance="learned") if learned else Objective()
    parts = parts_with(objective)
    rng = np.random.default_rng(1)

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        scale = max(math.prod(leaf.shape[:-1]), 4) ** -0.5
        return jnp.asarray(rng.normal(size=leaf.shape, scale=scale), jnp.float32)

    shapes = jax.eval_shape(functools.partial(init_params, parts), jax.random.key(0))
    return jax.tree.map(draw, shapes)


def dropout_keys(*numbers: int) -> jax.Array:
    return per_image.fold_in_each(jax.random.key(9), jnp.array(numbers))


def test_a_config_without_the_images_shape_is_refused() -> None:
    for data in (Data(), Data(channels=3), Data(image_size=(8, 8))):
        with pytest.raises(
            ValueError, match="image_size and data.channels are not set"
        ):
            build(dataclasses.replace(CONFIG, data=data))


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ((28, 32), "height 28 .* use 24 or 32"),
        ((32, 36), "width 36 .* use 32 or 40"),
        ((4, 32), "height 4 .* use 8"),
    ],
)
def test_an_image_that_does_not_fit_is_answered_by_the_nearest_sizes(
    size: tuple[int, int], sentence: str
) -> None:
    data = Data(image_size=size, channels=3)
    with pytest.raises(ValueError, match=sentence):
        build(Config(data=data))


@pytest.mark.slow
def test_a_learned_variance_doubles_the_channels_that_leave_the_network() -> None:
    assert parts_with().model.out_channels == 3
    objective = Objective(loss="vlb", variance="learned")
    parts = parts_with(objective)
    assert parts.model.out_channels == 6
    params = params_of(learned=True)

    @jax.jit
    def step(params: Tree) -> tuple[ReverseStep, jax.Array]:
        answer = parts.network(params, X, T)
        model = {"schedule": parts.schedule, **parts.sampler, "clip_x0": False}
        return reverse_step(params, X, T, **model), answer

    ours, both = step(params)
    assert both.shape == (3, 4, 6, 6)
    np.testing.assert_allclose(ours.log_variance, both[..., 3:], rtol=1e-5, atol=1e-5)
    x_0 = predict_x0(parts.schedule, X, T, both[..., :3])
    np.testing.assert_allclose(ours.x_0, x_0, rtol=1e-4, atol=1e-4)


def test_every_name_of_the_objective_reaches_the_loss_and_so_does_t() -> None:
    given: dict[str, object] = {}
    parts = parts_with(Objective("v", "hybrid", "learned_range", loss_weight="min_snr"))
    seeing = partial(parts.loss_fn, objective=lambda *_, **names: given.update(names))
    seeing({}, jax.random.key(0), X, t=T)
    assert given.keys() == {"network", "t"} and given["t"] is T
    assert given["network"].func == parts.network.func
    objective = parts.loss_fn.keywords["objective"]
    assert objective.func is training_loss
    assert objective.keywords == {
        "schedule": parts.schedule,
        "prediction": "v",
        "loss": "hybrid",
        "variance": "learned_range",
        "weight": "min_snr",
    }


def test_a_history_is_kept_where_t_is_drawn_by_it_and_nowhere_else() -> None:
    parts = {n: parts_with(Objective(t_sampling=n)) for n in T_SAMPLINGS}
    assert parts["uniform"].draw_t is None
    assert parts["uniform"].history is parts["antithetic"].history is None
    history = parts["importance"].history
    assert history.losses.shape == (6, 10)
    for name in ("antithetic", "importance"):
        draw_t = jax.jit(parts[name].draw_t)
        t, _ = draw_t(jax.random.key(0), jnp.arange(64), history=history)
        assert set(t.tolist()) == set(range(6))


def test_the_same_key_draws_the_same_parameters_and_another_does_not() -> None:
    parts = parts_with()  # which is kept, so that it must not be built while tracing

    @jax.jit
    def first_kernel(key: jax.Array) -> jax.Array:
        return init_params(parts, key)["params"]["conv_in"]["kernel"]

    def kernel(seed: int) -> np.ndarray:
        return np.asarray(first_kernel(jax.random.key(seed)))

    np.testing.assert_array_equal(kernel(0), kernel(0))
    assert abs(kernel(0) - kernel(1)).max() > 0.01


@pytest.mark.slow
def test_a_network_with_dropout_has_a_mask_for_each_image() -> None:
    def answer(*numbers: int) -> np.ndarray:
        return np.asarray(network(params_of(), twice, T, dropout_keys(*numbers)))

    network, twice = network_of(), jnp.stack([X[0], X[0], X[2]])
    same, other = answer(1, 1, 2), answer(1, 3, 2)
    np.testing.assert_allclose(same[0], same[1], atol=1e-5)
    assert abs(other[0] - other[1]).max() > 0.01
    np.testing.assert_allclose(same[[0, 2]], other[[0, 2]], atol=1e-5)


@pytest.mark.slow
def test_dropout_is_off_without_keys_and_changes_the_loss_with_them() -> None:
    root, x_0 = per_image.image_keys(jax.random.key(2), 3), jnp.clip(X, -1, 1)

    def loss(*keys: jax.Array) -> np.ndarray:
        return np.asarray(loss_of()(params_of(), root, x_0, *keys))

    def draws(dropout: float, *keys: jax.Array) -> int:
        loss_fn = parts_with(dropout=dropout).loss_fn
        program = jax.make_jaxpr(loss_fn)(params_of(), root, x_0, *keys)
        return str(program).count("random_bits[")

    keys = dropout_keys(1, 2, 3)
    assert draws(0.5) == draws(0.0) == draws(0.0, keys) < draws(0.5, keys)
    off, first, second = loss(), loss(keys), loss(dropout_keys(1, 2, 4))
    assert off.shape == (3,)
    assert abs(first - off).min() > 1e-4
    np.testing.assert_allclose(first[:2], second[:2], rtol=1e-5)
    assert abs(first[2] - second[2]) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["default", "highest"])
def test_the_precision_reaches_every_product_and_its_gradient(precision: str) -> None:
    parts = parts_with(precision=precision, attention_resolutions=(4,), dropout=0.0)
    shapes = jax.eval_shape(functools.partial(init_params, parts), jax.random.key(0))

    def total(params: Tree) -> jax.Array:
        return parts.network(params, X, T).sum()

    text = str(jax.make_jaxpr(jax.grad(total))(shapes))
    found = re.findall(r"(?<!_)precision=(\(.*?\)|\S+)", text)
    assert len(found) >= text.count("conv_general_dilated[") > 10
    wanted = precision.upper()
    assert all(wanted in each.upper() for each in found), set(found)


def test_bfloat16_reaches_the_network_and_not_its_parameters_and_answer() -> None:
    parts = parts_with(dtype="bfloat16")
    program = jax.make_jaxpr(parts.network)(params_of(), X, T)
    assert program.out_avals[0].dtype == jnp.float32
    products = re.findall(r":(\w+)\[[\d,]+\] = conv_general_dilated\[", str(program))
    # All but the first and the last, which see the images and the answer.
    assert products == ["f32", *["bf16"] * (len(products) - 2), "f32"]
    assert len(products) > 10
    shapes = jax.eval_shape(functools.partial(init_params, parts), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def sampled(*index: int, parts: Parts) -> np.ndarray:
    shared = params_of(), jax.random.key(4)
    draw = jax.jit(functools.partial(sample_images, parts=parts))
    return np.asarray(draw(shared, jnp.array(index)))


def test_sample_i_is_the_same_in_any_batch_and_with_frames_or_without() -> None:
    parts = parts_with()

    def close(one: np.ndarray, other: np.ndarray) -> bool:
        return bool((abs(one.astype(int) - other.astype(int)) <= 1).all())

    frames_of = functools.partial(sample_frames, parts=parts, frame_steps=(5, 2, 0))
    shared = params_of(), jax.random.key(4)
    x_0, frames = jax.tree.map(np.asarray, jax.jit(frames_of)(shared, jnp.arange(5)))
    assert x_0.shape == (5, 4, 6, 3) and x_0.dtype == np.uint8
    assert close(sampled(3, 1, parts=parts), x_0[[3, 1]])
    assert not close(x_0[3], x_0[1])
    assert frames.x_t.shape == frames.x_0.shape == (5, 3, 4, 6, 3)
    assert frames.x_t.dtype == np.uint8
    # The last step adds no noise: what is predicted at t = 0 is the sample.
    assert close(frames.x_0[:, 2], x_0)


def test_x_0_is_clipped_on_the_way_where_the_objective_says_so() -> None:
    free = Objective(clip_x0=False)
    assert CONFIG.objective.clip_x0 and parts_with().sampler["clip_x0"]
    assert not parts_with(free).sampler["clip_x0"]

    def formula(params: Tree, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.tanh(x_t)

    def drawn(objective: Objective) -> np.ndarray:
        parts = parts_with(objective)
        sampler = sampler_of(formula, parts.schedule, objective)
        return sampled(0, 1, parts=parts._replace(sampler=sampler))

    assert (drawn(CONFIG.objective) != drawn(free)).any()


@pytest.mark.slow
def test_the_held_out_loss_has_the_same_noise_at_every_call_and_no_dropout() -> None:
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3)))
    images = images.astype(jnp.uint8)

    loss = jax.jit(functools.partial(held_out_loss, loss_fn=parts_with().loss_fn))

    def held_out(*index: int) -> np.ndarray:
        rows = jnp.array(index)
        shared = params_of(), jax.random.key(3)
        return np.asarray(loss(shared, (Batch(images[rows]), rows)))

    whole = held_out(0, 1, 2, 3, 4)
    np.testing.assert_array_equal(whole, held_out(0, 1, 2, 3, 4))
    np.testing.assert_allclose(
        held_out(3, 1, 3, 2, 0), whole[[3, 1, 3, 2, 0]], rtol=1e-5
    )
    # The training loss of these keys, and of no keys for dropout.
    keys = per_image.fold_in_each(jax.random.key(3), jnp.arange(3))
    direct = loss_of()(params_of(), keys, to_model_range(images[:3]))
    np.testing.assert_allclose(whole[:3], direct, rtol=1e-5)
