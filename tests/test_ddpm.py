"""The reverse chain, against data whose eps is known in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax import keys as per_image
from ddpm_jax.reverse import VARIANCES
from ddpm_jax.reverse import reverse_step
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.samplers.ddpm import ddpm_sample_frames
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule

# The paper's betas on a tenth of its steps: alpha_bar ends at 2e-5.
BETAS = linear_beta_schedule(100, 1e-4, 0.2)
SCHEDULE = make_schedule(BETAS)
SHORT = make_schedule(linear_beta_schedule(20, 1e-3, 0.4))
KEY = jax.random.key(0)
STATIC = ("shape", "eps_fn", "x0_fn", "variance", "clip_x0")
sample = jax.jit(ddpm_sample, static_argnames=STATIC)
sample_frames = jax.jit(ddpm_sample_frames, static_argnames=(*STATIC, "frame_steps"))

# Three images of SHORT's chain, and where it starts.
KEYS = per_image.image_keys(KEY, 3)
START = np.asarray(per_image.normal(per_image.fold_in(KEYS, 20), (2,)))


def tanh_model(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.tanh(x_t) * (1 + 0.01 * t[:, None])


def gaussian(moments: tuple[float, float], x_t: jax.Array, t: jax.Array) -> jax.Array:
    """The optimal eps_fn of N(mean, std^2), compiled once for all means and stds."""
    return oracles.gaussian_eps(*moments, SCHEDULE)({}, x_t, t)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize(
    ("mean", "std"), [(0.0, 1.0), (0.5, 0.0), (-0.3, 0.4), (0.2, 2.0)]
)
def test_ddpm_sample_has_the_exact_moments_on_gaussian_data(
    mean: float, std: float, variance: str
) -> None:
    count = 8192
    x_0 = sample(
        (mean, std),
        KEY,
        (count, 1),
        eps_fn=gaussian,
        schedule=SCHEDULE,
        variance=variance,
        clip_x0=False,
    )
    of_large = variance == "fixed_large"
    log = SCHEDULE.log_variance_large if of_large else SCHEDULE.log_variance_small
    sigma = np.exp(0.5 * np.asarray(log, np.float64))
    m, v = oracles.gaussian_chain_moments(BETAS, mean, std, sigma)
    assert float(x_0.mean()) == pytest.approx(m, abs=4 * np.sqrt(v / count) + 1e-4)
    assert float(x_0.var()) == pytest.approx(v, rel=4 * np.sqrt(2 / count), abs=1e-6)
    # The chain is the data's own where its variance is the posterior's: Sec. 3.2.
    if (std, variance) in ((1.0, "fixed_large"), (0.0, "fixed_small")):
        assert (m, v) == pytest.approx((mean, std**2), abs=1e-3)


@jax.jit
def slow_step(keys: jax.Array, x: jax.Array, t: int) -> tuple[jax.Array, jax.Array]:
    """Lines 3 and 4 of Algorithm 2: x_{t-1}, and the x_0 that it is aimed at."""
    step = reverse_step({}, x, jnp.full(3, t), eps_fn=tanh_model, schedule=SHORT)
    z = per_image.normal(per_image.fold_in(keys, t), (2,))
    noise = jnp.exp(0.5 * step.log_variance) * z
    return step.mean + jnp.where(t > 0, noise, 0.0), step.x_0


@pytest.mark.slow
def test_the_scan_is_algorithm_2_as_a_python_loop() -> None:
    x, seen = START, {}
    for t in reversed(range(20)):
        before = x
        x, x_0 = slow_step(KEYS, x, t)
        seen[t] = before, x_0
    x_0, frames = sample_frames(
        {}, KEYS, (3, 2), frame_steps=(19, 0, 7), eps_fn=tanh_model, schedule=SHORT
    )
    np.testing.assert_allclose(x_0, x, atol=1e-5)
    for i, t in enumerate((19, 0, 7)):
        np.testing.assert_allclose(frames.x_t[i], seen[t][0], atol=1e-5)
        np.testing.assert_allclose(frames.x_0[i], seen[t][1], atol=1e-5)
    plain = sample({}, KEYS, (3, 2), eps_fn=tanh_model, schedule=SHORT)
    np.testing.assert_allclose(plain, x_0, atol=1e-6)


def test_an_image_is_the_same_in_any_batch() -> None:
    whole = np.asarray(sample({}, KEY, (8, 2), eps_fn=tanh_model, schedule=SHORT))
    keys = per_image.image_keys(KEY, 3, start=4)
    part = sample({}, keys, (3, 2), eps_fn=tanh_model, schedule=SHORT)
    np.testing.assert_allclose(whole[4:7], part, atol=1e-6)
    assert len(np.unique(whole[:, 0])) == 8


def test_a_chain_starts_at_x_T_when_it_is_given() -> None:
    free = sample({}, KEYS, (3, 2), eps_fn=tanh_model, schedule=SHORT)
    given, moved = (
        sample({}, KEYS, (3, 2), eps_fn=tanh_model, schedule=SHORT, x_T=x_T)
        for x_T in (START, START + 1)
    )
    np.testing.assert_allclose(free, given, atol=1e-6)
    assert np.abs(moved - given).max() > 1e-3


def test_clipping_changes_nothing_where_x_0_stays_inside() -> None:
    def inside(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return 0.9 * jnp.tanh(x_t)

    clipped, free = (
        sample({}, KEY, (4, 3), x0_fn=inside, schedule=SHORT, clip_x0=clip)
        for clip in (True, False)
    )
    np.testing.assert_allclose(clipped, free, atol=1e-6)


def test_a_learned_variance_is_used_and_a_chain_of_one_step_is_the_mean() -> None:
    def silent(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.full_like(x_t, -60.0)

    one, other = (
        sample(
            {},
            key,
            (3, 2),
            eps_fn=tanh_model,
            schedule=SHORT,
            variance=silent,
            x_T=START,
        )
        for key in (KEY, jax.random.key(1))
    )
    np.testing.assert_allclose(one, other, atol=1e-6)  # no noise but the start
    single = make_schedule([0.5])
    x_T = np.ones((1, 2), np.float32)
    x_0 = sample({}, KEY, (1, 2), x0_fn=tanh_model, schedule=single, x_T=x_T)
    np.testing.assert_allclose(x_0, np.tanh(1.0) * x_T, atol=1e-6)


def test_jsd_is_refused_with_eps_and_sampled_with_x_0() -> None:
    schedule = make_schedule(SCHEDULES["jsd"](20, 1e-4, 0.02))
    for draw in (ddpm_sample, sample):  # under jit the schedule is traced
        with pytest.raises(ValueError, match="ends at alpha_bar = 0, where x_t is"):
            draw({}, KEY, (2, 3), eps_fn=tanh_model, schedule=schedule)

    def x0_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.full_like(x_t, 0.25)

    x_0 = sample({}, KEY, (2, 3), x0_fn=x0_fn, schedule=schedule)
    np.testing.assert_allclose(x_0, 0.25, atol=1e-6)


def test_two_calls_trace_the_model_once() -> None:
    traces = []

    def counted(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        traces.append(1)
        return x_t

    for seed in range(2):
        draw = partial(sample, shape=(2, 3), eps_fn=counted, schedule=SHORT)
        jax.eval_shape(draw, {}, jax.random.key(seed))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"keys": per_image.image_keys(KEY, 3)}, r"keys has shape \(3,\)"),
        ({"x_T": jnp.zeros((2, 4))}, r"x_T has shape \(2, 4\)"),
        ({"frame_steps": (20,)}, r"give different t in 0..19"),
        ({"frame_steps": (3, 3)}, r"frame_steps is \(3, 3\)"),
        ({"variance": "large"}, "must be one of fixed_large, fixed_small"),
        ({"eps_fn": None}, "give either eps_fn or x0_fn"),
        ({"x0_fn": tanh_model}, "give either eps_fn or x0_fn, and not both"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict, sentence: str) -> None:
    good = {"keys": KEY, "frame_steps": (), "eps_fn": tanh_model, "schedule": SHORT}
    arguments = {**good, **wrong}
    keys = arguments.pop("keys")
    with pytest.raises(ValueError, match=sentence):
        ddpm_sample_frames({}, keys, (2, 3), **arguments)
