"""RePaint, against the exact conditional of correlated normal data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from correlated import DATA

from ddpm_jax import keys as per_image
from ddpm_jax.diffusion import q_sample
from ddpm_jax.editing.inpaint import inpaint
from ddpm_jax.editing.time_travel import draw_numbers
from ddpm_jax.editing.time_travel import time_travel
from ddpm_jax.editing.time_travel import travel
from ddpm_jax.reverse import reverse_step
from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

BETAS = linear_beta_schedule(1000)
SCHEDULE = make_schedule(BETAS)
SHORT = make_schedule(linear_beta_schedule(12, 1e-3, 0.4))
EVERY = make_time_grid(SHORT, 12)
KEY = jax.random.key(0)
STATIC = ("grid", "eps_fn", "x0_fn", "variance", "clip_x0", "resamples", "jump")
paint = jax.jit(inpaint, static_argnames=STATIC)

KNOWN = jnp.linspace(-0.9, 0.9, 3 * 4).reshape(3, 2, 2, 1)
MASK = jnp.array([True, False, False, True]).reshape(1, 2, 2, 1) & (KNOWN < 2)


def tanh_model(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    mixed = x_t + 0.3 * x_t[:, ::-1]
    return jnp.tanh(mixed) * (1 + 0.01 * t[:, None, None, None])


def paint_normal(resamples: int, jump: int, count: int = 512) -> np.ndarray:
    """Draws [count, 4] of DATA where pixels 0 and 2 are known, on 100 steps."""
    known = jnp.broadcast_to(jnp.array([0.6, 9, -0.4, 9]), (count, 4))
    mask = jnp.broadcast_to(jnp.array([True, False, True, False]), (count, 4))
    x_0 = paint(
        {},
        KEY,
        known,
        mask,
        grid=make_time_grid(SCHEDULE, 100),
        x0_fn=DATA.x_0(SCHEDULE),
        clip_x0=False,
        resamples=resamples,
        jump=jump,
    )
    return np.asarray(x_0, np.float64)


@pytest.mark.slow
def test_with_resampling_the_draws_are_near_those_of_the_exact_conditional() -> None:
    exact = DATA.given(np.eye(4)[[0, 2]], np.array([0.6, -0.4]), noise=0)
    hidden, deviation = [1, 3], np.sqrt(np.diag(exact.covariance)[[1, 3]])
    without, few, many = (paint_normal(r, j) for r, j in ((1, 1), (4, 2), (12, 2)))
    for x_0 in (without, few, many):
        np.testing.assert_allclose(x_0[:, [0, 2]], [[0.6, -0.4]] * len(x_0), atol=1e-6)
    errors = [
        abs(x_0.mean(0) - exact.mean)[hidden].max() for x_0 in (without, few, many)
    ]
    # Pixel 3 has one known neighbour, which pulls its mean from 0.30 to -0.02.
    assert errors[0] > 0.13 and errors[0] > errors[1] > errors[2] and errors[2] < 0.07
    np.testing.assert_allclose(many.std(0)[hidden], deviation, rtol=0.12)
    assert (without.std(0)[hidden] > 1.1 * deviation).all()


def test_what_is_known_comes_back_and_what_is_under_the_mask_plays_no_part() -> None:
    options = {"eps_fn": tanh_model, "grid": EVERY, "resamples": 2, "jump": 3}
    whole = paint({}, KEY, KNOWN, jnp.ones_like(MASK), **options)
    assert (np.asarray(whole) == np.asarray(KNOWN)).all()
    part = np.asarray(paint({}, KEY, KNOWN, MASK, **options))
    assert (part[MASK] == np.asarray(KNOWN)[MASK]).all()
    other = paint({}, KEY, jnp.where(MASK, KNOWN, 7.0), MASK, **options)
    np.testing.assert_array_equal(part, other)


@pytest.mark.slow
def test_where_nothing_is_known_one_sample_is_the_ancestral_chain() -> None:
    nothing = jnp.zeros_like(MASK)
    options = {"eps_fn": tanh_model, "resamples": 1}
    painted = paint({}, KEY, KNOWN, nothing, grid=EVERY, **options)
    plain = ddpm_sample({}, KEY, KNOWN.shape, eps_fn=tanh_model, schedule=SHORT)
    np.testing.assert_allclose(painted, plain, atol=1e-5)
    few = time_grid_at(SHORT, (10.5, 4.0, 2.25, -1.0))
    painted = paint({}, KEY, KNOWN, nothing, grid=few, **options)
    plain = ancestral_sample({}, KEY, KNOWN.shape, eps_fn=tanh_model, grid=few)
    np.testing.assert_allclose(painted, plain, atol=1e-5)


def test_the_scan_is_algorithm_1_as_a_python_loop() -> None:
    keys = per_image.image_keys(KEY, 3)
    path, ab = time_travel(12, resamples=2, jump=3), np.asarray(SHORT.alphas_cumprod)

    @jax.jit
    def draw(number: int) -> jax.Array:
        return per_image.normal(per_image.fold_in(keys, number), (2, 2, 1))

    @jax.jit
    def step_of(x: jax.Array, t: int, z: jax.Array, kept: jax.Array) -> jax.Array:
        step = reverse_step({}, x, jnp.full(3, t), eps_fn=tanh_model, schedule=SHORT)
        sigma = jnp.where(t > 0, jnp.exp(0.5 * step.log_variance), 0.0)
        return jnp.where(MASK, kept, step.mean + sigma * z)

    known = jax.jit(lambda t, eps: q_sample(SHORT, KNOWN, jnp.full(3, t), eps))
    back = jax.jit(lambda x, ratio, z: ratio**0.5 * x + (1 - ratio) ** 0.5 * z)
    x = draw(12)
    for i, returns, numbers in zip(*path, draw_numbers(EVERY, path), strict=True):
        t, z = 11 - i, [draw(number) for number in numbers]
        kept = known(t - 1, z[1]) if t > 0 else KNOWN
        x = step_of(x, t, z[0], kept)
        if returns:
            ratio = ab[t + 2] / (ab[t - 1] if t > 0 else 1.0)
            x = back(x, ratio, z[2])
    options = {"eps_fn": tanh_model, "grid": EVERY, "resamples": 2, "jump": 3}
    np.testing.assert_allclose(paint({}, keys, KNOWN, MASK, **options), x, atol=1e-5)


def test_a_picture_is_painted_the_same_in_any_batch() -> None:
    options = {"eps_fn": tanh_model, "grid": EVERY, "resamples": 2, "jump": 3}
    whole = paint({}, KEY, KNOWN, MASK, **options)
    keys = per_image.image_keys(KEY, 1, start=2)
    alone = paint({}, keys, KNOWN[2:], MASK[2:], **options)
    np.testing.assert_allclose(whole[2:], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "resamples", "jump"), [(250, 10, 10), (250, 10, 1), (12, 2, 3), (5, 1, 9)]
)
def test_the_path_is_that_of_the_papers_code(
    steps: int, resamples: int, jump: int
) -> None:
    # Appendix B: the list of levels that the chain passes, up and down by ones.
    jumps = {j: resamples - 1 for j in range(0, steps - jump, jump)}
    levels, t = [steps - 1], steps - 1
    while t >= 0:
        t -= 1
        levels.append(t)
        if jumps.get(t, 0) > 0:
            jumps[t] -= 1
            for _ in range(jump):
                t += 1
                levels.append(t)
    path = time_travel(steps, resamples, jump)
    ours = [steps - 1]
    for i, returns in zip(*path, strict=True):
        t = steps - 1 - i
        ours.append(t - 1)
        ours += range(t, t + jump) if returns else []
    assert ours == levels


@pytest.mark.parametrize(
    "grid",
    [make_time_grid(SCHEDULE, 250), make_time_grid(SCHEDULE, 50, whole=False)],
    ids=["whole", "between"],
)
def test_no_two_draws_share_a_number_and_first_visits_have_the_chains_own(
    grid: TimeGrid,
) -> None:
    path = time_travel(grid.num_steps, resamples=10, jump=5)
    numbers = draw_numbers(grid, path)
    assert numbers.dtype == np.uint32
    assert len(np.unique(numbers)) == numbers.size == 3 * len(path.step)
    assert grid.num_timesteps not in numbers  # which is the start's
    first = [list(path.step).index(i) for i in range(grid.num_steps)]
    np.testing.assert_array_equal(numbers[first, 0], grid.noise_numbers)


@pytest.mark.slow
def test_a_jump_is_the_marginal_of_the_steps_that_it_skips() -> None:
    ab, grid = np.append(1.0, np.cumprod(1 - BETAS)), make_time_grid(SCHEDULE, 100)
    for jump in (1, 10):
        path = time_travel(100, resamples=2, jump=jump)
        signal, noise = travel(grid, path, jump).up[path.returns].T
        end = (path.step + 1)[path.returns]
        times = np.array(grid.times)
        ratio = ab[times[end - jump] + 1] / ab[times[end] + 1]
        np.testing.assert_allclose(signal, np.sqrt(ratio), rtol=1e-5)
        np.testing.assert_allclose(noise, np.sqrt(1 - ratio), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"keys": per_image.image_keys(KEY, 2)}, r"keys has shape \(2,\)"),
        ({"mask": MASK[:, :1]}, r"mask has shape \(3, 1, 2, 1\); known has"),
        ({"mask": MASK.astype(int)}, "mask is int32; give booleans, True where"),
        ({"resamples": 0}, "resamples is 0; give a whole number of at least 1"),
        ({"jump": 0.5}, "jump is 0.5; give a whole number"),
        ({"jump": 12}, "jump is 12; it must be less than the 12 steps"),
        ({"variance": "large"}, "must be one of fixed_large, fixed_small"),
        ({"variance": "learned", "grid": make_time_grid(SHORT, 6)}, "of single steps"),
        ({"eps_fn": None}, "give either eps_fn or x0_fn"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict, sentence: str) -> None:
    good = {"keys": KEY, "mask": MASK, "eps_fn": tanh_model, "grid": EVERY}
    arguments = {**good, "jump": 3, **wrong}
    keys, mask = arguments.pop("keys"), arguments.pop("mask")
    with pytest.raises(ValueError, match=sentence):
        inpaint({}, keys, KNOWN, mask, **arguments)
