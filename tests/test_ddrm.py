"""DDRM: y is kept exactly; on normal data the mean is near that of Bayes' rule."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from correlated import DATA

from ddpm_jax import keys as per_image
from ddpm_jax.editing.ddrm import ddrm
from ddpm_jax.editing.matrices import blur_matrix
from ddpm_jax.editing.matrices import gaussian_blur
from ddpm_jax.editing.matrices import linear
from ddpm_jax.editing.matrices import separable
from ddpm_jax.editing.measurements import Measurement
from ddpm_jax.editing.measurements import colourisation
from ddpm_jax.editing.measurements import first_row
from ddpm_jax.editing.measurements import masking
from ddpm_jax.editing.measurements import measure
from ddpm_jax.editing.measurements import super_resolution
from ddpm_jax.reverse import reverse_step
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import make_time_grid

SCHEDULE = make_schedule(linear_beta_schedule(1000))
SHORT = make_schedule(linear_beta_schedule(12, 1e-3, 0.4))
EVERY = make_time_grid(SHORT, 12)
KEY = jax.random.key(0)
SHAPE = (4, 6, 3)
DENSE = np.random.default_rng(0).normal(size=(5, 72))
MASK = np.random.default_rng(1).random((1, *SHAPE)) < 0.5
IMAGES = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, (3, *SHAPE)), jnp.float32)
GRAY = np.array([0.299, 0.587, 0.114])


def means(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, 2, 2, 3, 2, 3).mean((2, 4))


def blurred(x: np.ndarray) -> np.ndarray:
    x = np.einsum("ih,bhwc->biwc", blur_matrix(4, 0.6), x)
    return np.einsum("jw,bhwc->bhjc", blur_matrix(6, 0.6), x)


MEASUREMENTS = {
    "masking": (masking(jnp.asarray(MASK)), lambda x: np.where(MASK, x, 0)),
    "super_resolution": (super_resolution(SHAPE, 2), means),
    "colourisation": (colourisation(SHAPE), lambda x: (x @ GRAY)[..., None]),
    "gaussian_blur": (gaussian_blur(SHAPE, 0.6), blurred),
    "linear": (linear(SHAPE, DENSE), lambda x: x.reshape(3, 72) @ DENSE.T),
}


def tanh_model(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    mixed = x_t + 0.3 * jnp.roll(x_t, 1, axis=1)
    return jnp.tanh(mixed) * (1 + 0.01 * t[:, None, None, None])


def run(y: jax.Array, measurement: Measurement, **options: object) -> jax.Array:
    options = {"eps_fn": tanh_model, "grid": EVERY, **options}
    keys, noise = options.pop("keys", KEY), options.pop("noise", 0.0)
    draw = partial(ddrm, {}, measurement=measurement, **options)
    return jax.jit(draw)(keys, y, noise=noise)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_is_its_matrix_and_its_v_is_orthogonal(name: str) -> None:
    measurement, slow = MEASUREMENTS[name]
    exact = slow(np.asarray(IMAGES, np.float64))
    np.testing.assert_allclose(measure(measurement, IMAGES), exact, atol=1e-5)
    spectrum = measurement.v_transpose(IMAGES)
    np.testing.assert_allclose(measurement.v(spectrum), IMAGES, atol=1e-5)
    squares = [np.square(x).sum() for x in map(np.asarray, (spectrum, IMAGES))]
    np.testing.assert_allclose(*squares, rtol=1e-5)
    # U^T U = 1 where the singular value is not 0.
    nonzero = np.asarray(measurement.singular_values > 0)
    seen = np.where(nonzero, spectrum, 0)
    again = np.where(nonzero, measurement.u_transpose(measurement.u(seen)), 0)
    np.testing.assert_allclose(again, seen, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_without_noise_a_x_is_y(name: str) -> None:
    measurement = MEASUREMENTS[name][0]
    y = measure(measurement, IMAGES)
    x_0 = run(y, measurement)
    np.testing.assert_allclose(measure(measurement, x_0), y, atol=2e-5)
    # And yet it is another image, unless A is invertible, as this blur is.
    unseen = bool((measurement.singular_values == 0).any())
    assert bool(abs(x_0 - IMAGES).max() > 0.1) == unseen == (name != "gaussian_blur")


def test_an_image_that_is_seen_whole_comes_back() -> None:
    whole = run(IMAGES, masking(jnp.ones((1, *SHAPE), bool)))
    np.testing.assert_array_equal(whole, IMAGES)


def test_the_scan_is_eqs_4_and_5_as_a_slow_loop_over_the_coefficients() -> None:
    noise, eta, eta_b = 0.4, 0.7, 0.9
    matrix, y = DENSE[:, :4] * [[2.0], [1.0], [0.3], [0.0], [0.0]], np.ones((2, 5))
    _, s, vt = np.linalg.svd(matrix)
    s = np.where(s > 1e-6, s, 0)
    u = np.linalg.svd(matrix)[0][:, :4]
    keys = per_image.image_keys(KEY, 2)
    alpha_bar = np.asarray(SHORT.alphas_cumprod, np.float64)
    sigmas = np.append(0.0, np.sqrt(1 / alpha_bar - 1))

    @jax.jit
    def normal(number: int) -> jax.Array:
        return per_image.normal(per_image.fold_in(keys, number), (2, 2, 1))

    @jax.jit
    def predict(x_t: jax.Array, t: jax.Array) -> jax.Array:
        return reverse_step({}, x_t, t, eps_fn=tanh_model, schedule=SHORT).x_0

    def draw(number: int) -> np.ndarray:
        return np.asarray(normal(number), np.float64).reshape(2, 4) @ vt.T

    z, bar = draw(12), np.empty((2, 4))
    for b, i in np.ndindex(2, 4):
        value = (y[b] @ u[:, i]) / s[i] if s[i] else 0.0
        error = noise / s[i] if s[i] else 0.0
        bar[b, i] = value + np.sqrt(sigmas[12] ** 2 - error**2) * z[b, i]
    for t in reversed(range(12)):
        x_t = (np.sqrt(alpha_bar[t]) * bar @ vt).reshape(2, 2, 2, 1)
        x_0 = predict(x_t.astype(np.float32), np.full(2, t))
        x_0 = np.asarray(x_0, np.float64).reshape(2, 4) @ vt.T
        z, sigma = draw(t), sigmas[t]
        for b, i in np.ndindex(2, 4):
            if s[i] == 0:
                eps = (bar[b, i] - x_0[b, i]) / sigmas[t + 1]
                mean, std = x_0[b, i] + np.sqrt(1 - eta**2) * sigma * eps, eta * sigma
            elif sigma < noise / s[i]:
                gap = ((y[b] @ u[:, i]) / s[i] - x_0[b, i]) / (noise / s[i])
                mean, std = x_0[b, i] + np.sqrt(1 - eta**2) * sigma * gap, eta * sigma
            else:
                mean = (1 - eta_b) * x_0[b, i] + eta_b * (y[b] @ u[:, i]) / s[i]
                std = np.sqrt(sigma**2 - (noise / s[i] * eta_b) ** 2)
            bar[b, i] = mean + std * z[b, i]
    # One coefficient is unseen; the others' errors lie between the chain's levels.
    errors = noise / s[:3]
    assert s[3] == 0 and (sigmas[1] < errors).all() and (errors < sigmas[12]).all()
    x_0 = run(
        jnp.asarray(y, jnp.float32),
        linear((2, 2, 1), matrix),
        keys=keys,
        noise=noise,
        eta=eta,
        eta_b=eta_b,
    )
    np.testing.assert_allclose(x_0.reshape(2, 4), bar @ vt, atol=2e-4)


PAIRS = np.kron(np.eye(2), [0.5, 0.5])
draw_normal = jax.jit(
    partial(
        ddrm,
        {},
        measurement=linear((4,), PAIRS),
        clip_x0=False,
        grid=make_time_grid(SCHEDULE, 100),
        x0_fn=DATA.x_0(SCHEDULE),
    )
)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_the_mean_is_near_that_of_bayes_rule_on_normal_data(noise: float) -> None:
    y, count = np.array([0.6, -0.4]), 2048
    exact = DATA.given(PAIRS, y, noise)
    rows = np.broadcast_to(y.astype(np.float32), (count, 2))
    x_0 = np.asarray(draw_normal(KEY, rows, noise=noise), np.float64)
    error = abs(x_0.mean(0) - exact.mean).max()
    # Filling in the pseudo-inverse, 0.6 0.6 -0.4 -0.4, is off by a third and more.
    naive = abs(np.linalg.pinv(PAIRS) @ y - exact.mean).max()
    assert error < 0.09 and naive > 0.3, (error, naive)
    # A heuristic all the same: its draws lie closer together than p(x | y) does.
    share = x_0.var(0).sum() / np.trace(exact.covariance)
    assert 0.3 < share < 1, share


def test_an_image_is_restored_the_same_in_any_batch() -> None:
    measurement = super_resolution(SHAPE, 2)
    y = measure(measurement, IMAGES)
    whole = run(y, measurement, noise=0.1)
    keys = per_image.image_keys(KEY, 1, start=2)
    np.testing.assert_allclose(
        whole[2:], run(y[2:], measurement, noise=0.1, keys=keys), atol=1e-5
    )


def test_a_schedule_that_ends_in_noise_needs_a_model_of_x_0() -> None:
    jsd = make_time_grid(make_schedule([0.5, 0.5, 1.0]), 3)
    measurement = super_resolution(SHAPE, 2)
    y = measure(measurement, IMAGES)
    x_0 = run(y, measurement, grid=jsd, x0_fn=tanh_model, eps_fn=None)
    np.testing.assert_allclose(measure(measurement, x_0), y, atol=2e-5)
    with pytest.raises(ValueError, match="ends at alpha_bar = 0"):
        run(y, measurement, grid=jsd)


def test_a_first_row_is_a_direction_even_if_it_is_the_first_axis() -> None:
    np.testing.assert_array_equal(first_row(np.array([2.0, 0, 0])), np.eye(3))
    np.testing.assert_allclose(first_row(np.array([-1.0, 0])), [[-1, 0], [0, 1]])


def test_what_a_matrix_damps_below_the_cut_counts_as_unseen() -> None:
    cut = separable((2, 2, 1), np.diag([1.0, 0.01]), np.eye(2), cut=0.1)
    assert cut.singular_values.ravel().tolist() == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"eta": 1.5}, "eta is 1.5; give a number in 0..1"),
        ({"eta_b": -1}, "eta_b is -1; give a number in 0..1"),
        ({"y": IMAGES}, r"y has shape \(3, 4, 6, 3\); this measurement of 3 images"),
        ({"keys": per_image.image_keys(KEY, 2)}, r"keys has shape \(2,\)"),
        ({"eps_fn": None}, "give either eps_fn or x0_fn"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict, sentence: str) -> None:
    y = wrong.pop("y", jnp.zeros((3, 2, 3, 3)))
    with pytest.raises(ValueError, match=sentence):
        run(y, super_resolution(SHAPE, 2), **wrong)


@pytest.mark.parametrize("noise", [-1.0, np.nan, np.inf])
def test_noise_that_is_no_deviation_is_refused(noise: float) -> None:
    draw = partial(ddrm, {}, KEY, jnp.zeros((1, 2, 3, 3)), grid=EVERY)
    with pytest.raises(ValueError, match=f"noise is {noise:g}; give a deviation of at"):
        draw(measurement=super_resolution(SHAPE, 2), eps_fn=tanh_model, noise=noise)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: super_resolution(SHAPE, 4), "factor is 4; it must divide the height"),
        (lambda: super_resolution(SHAPE, 0), "factor is 0"),
        (lambda: colourisation((4, 4, 1)), "there are 3 weights; give one for each of"),
        (lambda: gaussian_blur(SHAPE, 0.0), "deviation is 0.0; give more than 0"),
        (lambda: gaussian_blur(SHAPE, np.inf), "deviation is inf; .* at most 6, the"),
        (lambda: gaussian_blur(SHAPE, 1e9), "deviation is 1000000000.0; give more"),
        (lambda: gaussian_blur(SHAPE, np.nan), "deviation is nan; give more than 0"),
        (
            lambda: separable((4, 6, 3), np.eye(6), np.eye(6)),
            r"rows has shape \(6, 6\); images \(4, 6, 3\) need \(4, 4\)",
        ),
        (
            lambda: separable((4, 6, 3), np.eye(4), np.ones((3, 6))),
            r"columns has shape \(3, 6\)",
        ),
        (lambda: linear(SHAPE, np.eye(3)), r"matrix has shape \(3, 3\)"),
    ],
)
def test_a_measurement_that_cannot_be_is_refused(make: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
