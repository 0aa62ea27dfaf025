"""Guidance, on classes that are normal, where every part of it is known exactly."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax.guidance import classifier_eps
from ddpm_jax.guidance import classifier_free_eps
from ddpm_jax.guidance import classifier_x0
from ddpm_jax.guidance import level_near
from ddpm_jax.samplers.ddim import ddim_sample
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.zero_snr import rescale_zero_snr

SCHEDULE = make_schedule(linear_beta_schedule(1000))
SHARES, MEANS, STDS = (
    np.array([[0.3, 0.7]]),
    np.array([[-0.6, 0.5]]),
    np.full((1, 2), 0.3),
)
ALL = oracles.Mixture(SHARES, MEANS, STDS)
NULL = 2
LABELS = jnp.array([0, 1, 1, 0, 1])
X_T = jnp.array([[0.3], [-0.2], [1.5], [0.9], [-2.0]])
TIMES = [
    jnp.array([0, 70, 400, 950, 999]),
    jnp.array([0.5, 70.25, 400.0, 950.5, 999.0]),
]


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


each = pytest.mark.parametrize("t", TIMES, ids=["whole", "between"])


def labelled(
    params: object, x_t: jax.Array, t: jax.Array, labels: jax.Array
) -> jax.Array:
    """The optimal eps of each image's class, or of all classes for the null label."""

    def one(x: jax.Array, t: jax.Array, label: jax.Array) -> jax.Array:
        shares = jnp.array([[1.0, 1e-30], [1e-30, 1.0], SHARES[0]])[label]
        data = oracles.Mixture(shares[None], MEANS, STDS)
        return data.eps(x, oracles.log_ab_at(SCHEDULE, t), jnp)

    return jax.vmap(one)(x_t, t, labels)


def log_prob(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    """log p(y | x_t) by Bayes, of LABELS."""

    def one(x: jax.Array, t: jax.Array, label: jax.Array) -> jax.Array:
        log_ab = oracles.log_ab_at(SCHEDULE, t)
        return jnp.log(ALL.marginal(x, log_ab, jnp)[2][0])[label]

    return jax.vmap(one)(x_t, t, LABELS)


free = partial(
    classifier_free_eps, {}, X_T, eps_fn=labelled, labels=LABELS, null_label=NULL
)
guided = partial(
    classifier_eps,
    {},
    X_T,
    eps_fn=oracles.mixture_eps(ALL, SCHEDULE),
    log_prob_fn=log_prob,
    schedule=SCHEDULE,
)


# Compiled as a whole, which is faster here than operation by operation.
quick_free, quick_guided = jax.jit(free), jax.jit(guided)
quick_labelled = jax.jit(labelled)


@each
def test_scale_0_is_the_model_without_labels_and_1_the_model_of_the_label(
    t: jax.Array,
) -> None:
    null = quick_labelled({}, X_T, t, jnp.full_like(LABELS, NULL))
    label = quick_labelled({}, X_T, t, LABELS)
    for guide in (quick_free, quick_guided):
        np.testing.assert_allclose(guide(t, scale=0.0), null, atol=1e-6)
        np.testing.assert_allclose(guide(t, scale=1.0), label, atol=1e-4)
    assert np.abs(null - label).max() > 0.05


@each
def test_both_kinds_of_guidance_are_one_where_the_classifier_is_bayes(
    t: jax.Array,
) -> None:
    for scale in (0.5, 2.0, 5.0):
        same = np.testing.assert_allclose
        same(quick_free(t, scale=scale), quick_guided(t, scale=scale), atol=1e-4)


def test_the_guided_score_is_that_of_the_tilted_density() -> None:
    """-eps / sigma = d/dx [log p(x) + 2 (log p(x, y) - log p(x))], by differences."""
    t = TIMES[0]
    log_ab = oracles.log_alpha_bar(SCHEDULE, np.float64(t))[:, None]

    def log_p(x: np.ndarray) -> np.ndarray:
        variance = np.exp(log_ab) * STDS**2 - np.expm1(log_ab)
        gap = x - np.exp(log_ab / 2) * MEANS
        joint = np.log(SHARES) - 0.5 * gap**2 / variance - 0.5 * np.log(variance)
        total = np.logaddexp(joint[:, 0], joint[:, 1])
        return 2 * joint[np.arange(5), np.asarray(LABELS)] - total

    x, h = np.float64(X_T), 1e-5
    score = (log_p(x + h) - log_p(x - h)) / (2 * h)
    expected = -np.sqrt(-np.expm1(log_ab)) * score[:, None]
    np.testing.assert_allclose(quick_free(t, scale=2.0), expected, atol=1e-4)


def test_a_chain_draws_the_asked_class_and_with_a_larger_scale_more_than_that() -> None:
    labels = jnp.arange(400) % 2
    grid = make_time_grid(SCHEDULE, 50)

    @jax.jit
    def draw(scale: float) -> jax.Array:
        eps_fn = partial(
            classifier_free_eps,
            eps_fn=labelled,
            labels=labels,
            null_label=NULL,
            scale=scale,
        )
        return ddim_sample(
            {}, jax.random.key(0), (400, 1), grid=grid, eps_fn=eps_fn, clip_x0=False
        )

    plain, guided = draw(1.0), draw(3.0)
    middle = MEANS[0].mean()
    for label in (0, 1):
        mine = np.asarray(plain)[np.asarray(labels) == label]
        assert mine.mean() == pytest.approx(MEANS[0, label], abs=0.08)
        assert mine.std() == pytest.approx(0.3, abs=0.05)
        more = np.asarray(guided)[np.asarray(labels) == label]
        assert abs(more.mean() - middle) > abs(mine.mean() - middle) + 0.05


@pytest.mark.slow
@each
def test_a_classifier_guides_a_model_of_x0_to_the_same_density(t: jax.Array) -> None:
    log_ab = oracles.log_alpha_bar(SCHEDULE, np.float64(t))[:, None]
    alpha, sigma = np.exp(log_ab / 2), np.sqrt(-np.expm1(log_ab))
    eps_fn = oracles.mixture_eps(ALL, SCHEDULE)

    def x0_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return (x_t - sigma * eps_fn(params, x_t, t)) / alpha

    options = {"log_prob_fn": log_prob, "schedule": SCHEDULE, "scale": 2.0}
    x_0 = jax.jit(partial(classifier_x0, {}, X_T, x0_fn=x0_fn, **options))(t)
    expected = (X_T - sigma * quick_guided(t, scale=2.0)) / alpha
    np.testing.assert_allclose(x_0, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "const"])
def test_a_score_counts_by_sigma_squared_over_alpha_to_the_end(name: str) -> None:
    """Of log p(y | x) = x and x_0 = 0: 2 sigma^2 / alpha, of tiny alphas in float32."""
    schedule = make_schedule(SCHEDULES[name](1000, 1e-4, 0.02))
    with jax.enable_x64(False):
        for t in (np.array([999, 998, 500]), np.array([999.0, 998.5, 500.25])):
            x_0 = classifier_x0(
                {},
                jnp.ones((3, 1)),
                jnp.asarray(t),
                x0_fn=lambda params, x_t, t: jnp.zeros_like(x_t),
                log_prob_fn=lambda params, x_t, t: x_t[:, 0],
                schedule=schedule,
                scale=2.0,
            )
            log_ab = oracles.log_alpha_bar(schedule, np.float64(t))
            expected = -2 * np.expm1(log_ab) / np.exp(log_ab / 2)
            np.testing.assert_allclose(x_0[:, 0], expected, rtol=2e-4)


def test_a_guess_behind_x_t_is_neither_differentiated_nor_changed() -> None:
    seen = jnp.concatenate([X_T, jnp.full_like(X_T, 7.0)], axis=-1)
    t = TIMES[0]

    def answers(x: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        labels = jnp.zeros(len(x)) if labels is None else labels
        return x[:, :1] * (1.0 + labels[:, None])

    of_labels = partial(
        classifier_free_eps,
        eps_fn=lambda params, x, t, labels: answers(x, labels),
        labels=LABELS,
        null_label=NULL,
        scale=2.0,
    )
    both = [answers(X_T, jnp.full(5, n) if n == NULL else LABELS) for n in (NULL, 0)]
    found = jax.jit(of_labels)({}, seen, t)
    np.testing.assert_allclose(found, both[0] + 2 * (both[1] - both[0]), rtol=1e-5)
    by_classifier = partial(
        classifier_eps,
        eps_fn=lambda params, x, t: answers(x),
        log_prob_fn=log_prob,
        schedule=SCHEDULE,
        scale=2.0,
    )
    score = jax.jit(jax.grad(lambda x: log_prob({}, x, t).sum()))(X_T)
    expected = X_T - 2 * level_near(SCHEDULE, t, X_T).sigma * score
    np.testing.assert_allclose(jax.jit(by_classifier)({}, seen, t), expected, rtol=1e-4)


def test_noise_between_whole_t_is_finite_to_the_end_of_any_schedule() -> None:
    betas = rescale_zero_snr(linear_beta_schedule(1000))
    t = jnp.array([0.0, 500.5, 997.0, 998.0, 998.5, 999.0])
    sigma = np.asarray(level_near(make_schedule(betas), t, jnp.zeros((6, 1))).sigma)
    assert np.isfinite(sigma).all() and (np.diff(sigma[:, 0]) >= 0).all()
    assert sigma[-1] == 1.0


def test_the_network_is_called_once_and_its_variance_is_that_of_the_label() -> None:
    batches = []

    def twice(
        params: object, x_t: jax.Array, t: jax.Array, labels: jax.Array
    ) -> jax.Array:
        batches.append(x_t.shape[0])
        rest = labels[:, None] + 10.0 * jnp.ones_like(x_t)
        return jnp.concatenate([labelled(params, x_t, t, labels), rest], axis=-1)

    t = TIMES[0]
    answer = jax.jit(partial(free, eps_fn=twice))(t, scale=3.0)
    assert batches == [10]
    np.testing.assert_allclose(answer[:, :1], quick_free(t, scale=3.0), atol=1e-6)
    np.testing.assert_allclose(answer[:, 1], LABELS + 10.0)

    def with_rest(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        eps = oracles.mixture_eps(ALL, SCHEDULE)(params, x_t, t)
        return jnp.concatenate([eps, 7.0 + 0 * eps], axis=-1)

    answer = jax.jit(partial(guided, eps_fn=with_rest))(t, scale=3.0)
    np.testing.assert_allclose(answer[:, :1], quick_guided(t, scale=3.0), atol=1e-6)
    np.testing.assert_allclose(answer[:, 1], 7.0)


def test_noise_between_whole_t_is_that_of_the_time_grids() -> None:
    t = jnp.array([0.0, 0.5, 3.25, 700.75, 999.0])
    expected = np.sqrt(-np.expm1(oracles.log_alpha_bar(SCHEDULE, np.float64(t))))
    np.testing.assert_allclose(level_near(SCHEDULE, t, t).sigma, expected, rtol=1e-5)


def test_labels_that_are_not_one_an_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels has shape \(3,\); give one for each"):
        free(TIMES[0], scale=1.0, labels=LABELS[:3])
