"""What holds for every sampler; the list they all come from is IMPLEMENTATIONS."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import slow_samplers

from ddpm_jax import keys as per_image
from ddpm_jax.samplers import SAMPLERS
from ddpm_jax.samplers.ancestral import posterior
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

SHORT = make_schedule(linear_beta_schedule(20, 1e-3, 0.4))
JSD = make_schedule(SCHEDULES["jsd"](20, 1e-4, 0.02))
GRID = make_time_grid(SHORT, 6)
KEY = jax.random.key(0)
SHAPE = (3, 5)


def tanh_model(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.tanh(x_t) * (1 + 0.01 * t[:, None])


def slow_edm(ask, z, x, levels, grid: TimeGrid, churn: float):  # noqa: ANN001, ANN201
    table = partial(oracles.log_alpha_bar, SHORT)
    nodes = table(np.arange(-1.0, 20))
    times = slow_samplers.churned(nodes, levels, churn, (0.05, 50), grid.whole)
    hat = slow_samplers.make_levels(table, times)
    return slow_samplers.edm(ask, z, x, levels, hat)


# Every sampler of the package, and the same as its paper prints it.
IMPLEMENTATIONS: dict[str, Callable[..., np.ndarray]] = {
    "ddpm": lambda ask, z, x, levels, _: slow_samplers.ancestral(
        ask, z, x, levels, large=True
    ),
    "ddim": lambda ask, z, x, levels, _: slow_samplers.ddim(ask, z, x, levels, eta=0),
    "dpmpp_2m": lambda ask, z, x, levels, _: slow_samplers.dpmpp(ask, x, levels, 2),
    "dpmpp_3m": lambda ask, z, x, levels, _: slow_samplers.dpmpp(ask, x, levels, 3),
    "unipc_2": lambda ask, z, x, levels, _: slow_samplers.unipc(ask, x, levels, 2),
    "unipc_3": lambda ask, z, x, levels, _: slow_samplers.unipc(ask, x, levels, 3),
    "heun": partial(slow_edm, churn=0.0),
    "edm": partial(slow_edm, churn=40.0),
}
DETERMINISTIC = sorted(IMPLEMENTATIONS.keys() - {"ddpm", "edm"})
every = pytest.mark.parametrize("name", IMPLEMENTATIONS)


def run(name: str, keys: jax.Array = KEY, shape: tuple = SHAPE, **wanted: Any) -> Any:  # noqa: ANN401
    arguments = {"eps_fn": tanh_model, "grid": GRID, **wanted}
    return SAMPLERS[name]({}, keys, shape, **arguments)


@functools.cache
def plain(name: str) -> np.ndarray:
    return np.asarray(run(name))


def slow(name: str, grid: TimeGrid, **kept_in: Any) -> np.ndarray:  # noqa: ANN401
    keys = per_image.image_keys(KEY, SHAPE[0])

    def z(number: int) -> np.ndarray:
        return np.float64(per_image.normal(per_image.fold_in(keys, number), SHAPE[1:]))

    ask = slow_samplers.make_ask(lambda x, t: np.tanh(x) * (1 + 0.01 * t), **kept_in)
    table = partial(oracles.log_alpha_bar, SHORT)
    levels = slow_samplers.make_levels(table, grid.times)
    return IMPLEMENTATIONS[name](ask, z, z(20), levels, grid)


def test_every_sampler_is_tested() -> None:
    assert SAMPLERS.keys() == IMPLEMENTATIONS.keys()


@every
def test_the_scan_is_the_papers_algorithm_as_a_python_loop(name: str) -> None:
    np.testing.assert_allclose(plain(name), slow(name, GRID), atol=3e-5)


def test_no_number_of_a_step_is_infinite_not_even_of_the_last() -> None:
    """A network says where between them the log variance lies: 0 times infinity."""
    for num_steps in (1, 2, 20):
        for row in posterior(make_time_grid(SHORT, num_steps)):
            assert np.isfinite(row).all()


def test_it_still_is_with_part_of_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    half = partial(SAMPLERS["ddim"], eta=0.5)
    slow_half = partial(slow_samplers.ddim, eta=0.5)
    monkeypatch.setitem(SAMPLERS, "ddim", half)
    monkeypatch.setitem(
        IMPLEMENTATIONS,
        "ddim",
        lambda ask, z, x, levels, _: slow_half(ask, z, x, levels),
    )
    np.testing.assert_allclose(run("ddim"), slow("ddim", GRID), atol=3e-5)


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_3m", "unipc_3", "edm"])
def test_it_still_is_on_part_of_a_chain(name: str) -> None:
    grid = time_grid_at(SHORT, (17, 16, 12, 11, 7, 3))
    np.testing.assert_allclose(run(name, grid=grid), slow(name, grid), atol=3e-5)


@pytest.mark.parametrize("name", ["ddim", "edm"])
def test_it_still_is_with_thresholds_and_without_clipping(name: str) -> None:
    for wanted in ({"threshold": 0.8}, {"clip_x0": False}):
        kept_in = {key.removesuffix("_x0"): value for key, value in wanted.items()}
        expected = slow(name, GRID, **kept_in)
        np.testing.assert_allclose(run(name, **wanted), expected, atol=1e-4)
        assert np.abs(expected - plain(name)).max() > 1e-3


@pytest.mark.slow
@every
def test_an_image_is_the_same_in_any_batch(name: str) -> None:
    whole = run(name, shape=(8, 5))
    np.testing.assert_allclose(whole[:3], plain(name), atol=1e-6)
    part = run(name, per_image.image_keys(KEY, 3, start=5))
    np.testing.assert_allclose(whole[5:], part, atol=1e-6)
    assert len(np.unique(whole, axis=0)) == 8


@every
def test_a_chain_starts_at_x_T_and_keys_matter_only_where_noise_is_added(
    name: str,
) -> None:
    x_T = per_image.normal(per_image.fold_in(per_image.image_keys(KEY, 3), 20), (5,))
    given = run(name, x_T=x_T)
    np.testing.assert_allclose(given, plain(name), atol=1e-6)
    other = run(name, jax.random.key(1), x_T=x_T)
    assert (np.asarray(other == given).all()) == (name in DETERMINISTIC)


@every
def test_a_model_of_x_0_gives_the_images_of_the_same_model_of_eps(name: str) -> None:
    alphas, sigmas = SHORT.sqrt_alphas_cumprod, SHORT.sqrt_one_minus_alphas_cumprod

    def x0_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        eps = tanh_model(params, x_t, t)
        return (x_t - sigmas[t][:, None] * eps) / alphas[t][:, None]

    x_0 = run(name, x0_fn=x0_fn, eps_fn=None)
    np.testing.assert_allclose(x_0, plain(name), atol=3e-5)


@every
def test_the_variance_behind_a_prediction_is_left_out(name: str) -> None:
    def twice(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        log_variance = jnp.full_like(x_t, 7.0)
        return jnp.concatenate([tanh_model(params, x_t, t), log_variance], axis=-1)

    # The ancestral chain would use it, if it were told that it is learned.
    variance = "fixed_large" if name == "ddpm" else "learned"
    x_0 = run(name, eps_fn=twice, variance=variance)
    np.testing.assert_allclose(x_0, plain(name), atol=1e-6)


@every
def test_two_calls_trace_the_model_once_and_give_it_the_contracts_t(name: str) -> None:
    seen = []

    def counted(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        seen.append((t.shape, t.dtype))
        return x_t

    grids = (GRID, make_time_grid(SHORT, 6, whole=False))
    sample = jax.jit(SAMPLERS[name], static_argnames=("shape", "eps_fn", "grid"))
    for grid in grids:
        for seed in range(2):
            key = jax.random.key(seed)
            draw = partial(sample, shape=SHAPE, eps_fn=counted, grid=grid)
            assert jax.eval_shape(draw, {}, key).shape == SHAPE
    assert seen == [((3,), jnp.int32), ((3,), jnp.float32)]


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_3m", "unipc_3", "edm"])
def test_a_chain_of_one_step_is_the_predicted_x_0(name: str) -> None:
    x_0 = run(name, grid=make_time_grid(SHORT, 1), clip_x0=False)
    np.testing.assert_allclose(
        x_0, slow("ddim", make_time_grid(SHORT, 1), clip=False), atol=1e-4
    )


@every
def test_jsd_is_refused_with_eps_and_sampled_with_x_0(name: str) -> None:
    grid = make_time_grid(JSD, 6)
    with pytest.raises(ValueError, match="ends at alpha_bar = 0|divide by alpha"):
        run(name, grid=grid)

    def quarter(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.full_like(x_t, 0.25)

    model = {"x0_fn": quarter, "eps_fn": None, "grid": grid}
    if name in ("heun", "edm"):
        with pytest.raises(ValueError, match="Heun and EDM divide by alpha"):
            run(name, **model)
    else:
        np.testing.assert_allclose(run(name, **model), 0.25, atol=1e-6)
    # Karras's spacing begins where something of x_0 is left, for eps and for x_0.
    before = make_time_grid(JSD, 6, "karras")
    np.testing.assert_allclose(run(name, **model | {"grid": before}), 0.25, atol=1e-6)
    assert np.isfinite(run(name, grid=before)).all()


@every
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"keys": per_image.image_keys(KEY, 4)}, r"keys has shape \(4,\)"),
        ({"x_T": jnp.zeros((3, 4))}, r"x_T has shape \(3, 4\)"),
        ({"eps_fn": None}, "give either eps_fn or x0_fn"),
        ({"x0_fn": tanh_model}, "give either eps_fn or x0_fn, and not both"),
        ({"threshold": 0.0}, r"threshold is 0.0; give a share .* in \(0, 1\]"),
        ({"threshold": 99.5}, r"threshold is 99.5; give a share"),
        (
            {"eps_fn": lambda params, x_t, t: jnp.zeros((3, 7))},
            r"the model answers \(3, 7\) to x_t \(3, 5\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(name: str, wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(name, **wrong)


@pytest.mark.parametrize(
    ("name", "wrong", "sentence"),
    [
        (
            "ddpm",
            {"variance": "large"},
            "must be one of fixed_large, fixed_small, lear",
        ),
        ("ddpm", {"variance": "learned"}, "is that of single steps from t to t - 1"),
        ("ddim", {"eta": -0.1}, r"eta is -0.1; give a number in \[0, 1\]"),
        ("ddim", {"eta": 1.1}, r"eta is 1.1; give a number"),
        ("ddim", {"eta": float("nan")}, r"eta is nan; give a number"),
        ("dpmpp_2m", {"order": 4}, "order is 4; it must be 1, 2 or 3"),
        ("unipc_2", {"order": 0}, "order is 0; it must be 1, 2 or 3"),
        ("edm", {"churn": -1.0}, "churn is -1.0; give a number of at least 0"),
        ("edm", {"churn": float("inf")}, "churn is inf; give a number"),
        ("edm", {"churn_noise": float("nan")}, "churn_noise is nan; give a number"),
        ("edm", {"churn_range": (2.0, 1.0)}, r"churn_range is \(2.0, 1.0\)"),
    ],
)
def test_numbers_and_names_that_cannot_be_are_refused(
    name: str, wrong: dict, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        SAMPLERS[name]({}, KEY, SHAPE, eps_fn=tanh_model, grid=GRID, **wrong)
