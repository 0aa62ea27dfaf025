"""Every term of the bound, against closed forms and a slow transcription in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from test_decoder import slow_tanh

from ddpm_jax import keys as per_image
from ddpm_jax.likelihood import bits_per_dim
from ddpm_jax.likelihood import prior_bits
from ddpm_jax.schedules import cosine_beta_schedule
from ddpm_jax.schedules import jsd_beta_schedule
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule

KEY = jax.random.key(0)
BETAS = linear_beta_schedule(20, 0.001, 0.4)
SCHEDULE = make_schedule(BETAS)
PIXELS = jnp.array([0, 3, 64, 128, 200, 255]) / 127.5 - 1
# Compiled as a whole, which is faster here than operation by operation.
bound = jax.jit(
    bits_per_dim,
    static_argnames=("eps_fn", "x0_fn", "variance", "clip_x0", "draws", "cdf"),
)


def gaussian(moments: tuple[float, float], x_t: jax.Array, t: jax.Array) -> jax.Array:
    """The optimal eps_fn of N(mean, std^2), compiled once for all means and stds."""
    return oracles.gaussian_eps(*moments, SCHEDULE)({}, x_t, t)


def expected_terms(
    mean: float, std: float, x_0: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """E[L_t] and E[(x_0 - prediction)^2] [T] of pixels x_0, with the best eps_fn.

    The prediction m + z (x_t - sqrt(ab) m) is linear in the noise, whose square has a
    mean; what the decoder's logarithm is on average is an integral.
    """
    alpha_bar = np.cumprod(1 - BETAS)
    z = np.sqrt(alpha_bar) * std**2 / (alpha_bar * std**2 + 1 - alpha_bar)
    gap = (x_0[:, None] - mean) * (1 - z * np.sqrt(alpha_bar))
    mse = (gap**2 + z**2 * (1 - alpha_bar)).mean(0)
    bits = np.empty(len(BETAS))
    for t in range(1, len(BETAS)):
        variance = BETAS[t] * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])
        share = BETAS[t] * np.sqrt(alpha_bar[t - 1]) / (1 - alpha_bar[t])
        ratio = variance / sigma[t] ** 2
        bits[t] = 0.5 * (ratio - 1 - np.log(ratio) + share**2 * mse[t] / sigma[t] ** 2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    noise = -z[0] * np.sqrt(1 - alpha_bar[0]) * nodes
    log_p = [
        [oracles.pixel_log_probability(x, x - g + n, sigma[0]) for n in noise]
        for x, g in zip(x_0, gap[:, 0], strict=True)
    ]
    bits[0] = -(np.array(log_p) @ weights).mean() / weights.sum()
    return bits / np.log(2), mse


@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small"])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.2, 0.3)])
def test_every_term_is_on_average_what_it_is_in_closed_form(
    mean: float, std: float, variance: str
) -> None:
    count = 4096
    got = bound(
        (mean, std),
        KEY,
        np.broadcast_to(PIXELS, (count, len(PIXELS))),
        eps_fn=gaussian,
        schedule=SCHEDULE,
        variance=variance,
        clip_x0=False,
    )
    log_variance = {
        "fixed_large": SCHEDULE.log_variance_large,
        "fixed_small": SCHEDULE.log_variance_small,
    }[variance]
    sigma = np.exp(np.asarray(log_variance, np.float64) / 2)
    exact = expected_terms(mean, std, np.asarray(PIXELS, np.float64), sigma)
    for values, wanted in zip((got.terms, got.mse), exact, strict=True):
        values = np.asarray(values, np.float64)[:, 0]
        error = values.std(0) / np.sqrt(count)
        assert (abs(values.mean(0) - wanted) < 5 * error + 1e-6 * wanted).all()
        assert (error < 0.05 * wanted).all()


@pytest.mark.parametrize("cdf", ["exact", "tanh"])
def test_the_terms_are_the_papers_in_slow_float64(cdf: str) -> None:
    betas, draws = linear_beta_schedule(6, 0.01, 0.5), 2
    schedule = make_schedule(betas)
    x_0 = jax.random.randint(jax.random.key(2), (2, 3, 2, 1), 0, 256) / 127.5 - 1

    def network(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        at_t = t.reshape(-1, 1, 1, 1)
        learned = -1 + jnp.sin(3 * x_t) + 0.1 * at_t
        return jnp.concatenate([jnp.cos(2 * x_t) + 0.3, learned], axis=-1)

    got = bound(
        {},
        jax.random.key(1),
        x_0,
        x0_fn=network,
        schedule=schedule,
        variance="learned",
        draws=draws,
        cdf=cdf,
    )
    assert got.terms.shape == got.mse.shape == (2, draws, 6)
    alpha_bar = np.cumprod(1 - betas)
    for i, d, t in np.ndindex(2, draws, 6):
        key = jax.random.key(1)
        for number in (i, d, t):
            key = jax.random.fold_in(key, number)
        eps = np.asarray(jax.random.normal(key, x_0.shape[1:]), np.float64)
        image = np.asarray(x_0[i], np.float64)
        x_t = np.sqrt(alpha_bar[t]) * image + np.sqrt(1 - alpha_bar[t]) * eps
        predicted = np.clip(np.cos(2 * x_t) + 0.3, -1, 1)
        mean = predicted
        if t > 0:
            pixels = zip(predicted.ravel(), x_t.ravel(), strict=True)
            means = [oracles.posterior(betas, t, x, y)[0] for x, y in pixels]
            mean = np.reshape(means, image.shape)
        log_variance = -1 + np.sin(3 * x_t) + 0.1 * t
        bits = oracles.bound_term(betas, t, image, x_t, mean, log_variance)
        if t == 0 and cdf == "tanh":
            arrays = (image.ravel(), mean.ravel(), np.exp(log_variance / 2).ravel())
            bits = -np.mean([slow_tanh(*p) for p in zip(*arrays, strict=True)])
            bits /= np.log(2)
        # That code's difference of CDFs near 1 has fewer digits in float32.
        digits = 1e-3 if cdf == "tanh" else 1e-4
        assert float(got.terms[i, d, t]) == pytest.approx(bits, rel=digits)
        squared = ((predicted - image) ** 2).mean()
        assert float(got.mse[i, d, t]) == pytest.approx(squared, rel=1e-4)


@pytest.mark.parametrize("schedule", [linear_beta_schedule, cosine_beta_schedule])
def test_the_prior_is_exact_where_it_is_a_hundred_thousandth(schedule) -> None:  # noqa: ANN001
    betas = schedule(1000)
    x_0 = np.linspace(-1, 1, 8)
    alpha_bar = np.cumprod(1 - betas)[-1]
    # expm1 and log1p: plain float64 has too few digits for 1e-9.
    nats = 0.5 * (alpha_bar * (x_0**2).mean() - np.log1p(-alpha_bar) - alpha_bar)
    got = prior_bits(make_schedule(betas), jnp.asarray(x_0, jnp.float32)[None])
    np.testing.assert_allclose(got, [nats / np.log(2)], rtol=1e-5)


def test_a_schedule_that_ends_in_noise_has_no_prior_term() -> None:
    bits = prior_bits(make_schedule(jsd_beta_schedule(4)), jnp.ones((1, 2)))
    assert bits.tolist() == [0.0]


@pytest.mark.slow
def test_with_the_true_reverse_variance_the_bound_is_the_entropy() -> None:
    std, count = 0.3, 2048
    values = std * jax.random.normal(jax.random.key(5), (count, 8))
    x_0 = jnp.round((values + 1) * 127.5) / 127.5 - 1  # far from the borders

    def variance(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        noise = 1 - SCHEDULE.alphas_cumprod[t]
        left = std**2 * noise / (SCHEDULE.alphas_cumprod[t] * std**2 + noise)
        share = SCHEDULE.posterior_mean_x_0[t]
        return jnp.log(SCHEDULE.posterior_variance[t] + share**2 * left)[:, None]

    got = bound(
        {},
        KEY,
        x_0,
        eps_fn=oracles.gaussian_eps(0.0, std, SCHEDULE),
        schedule=SCHEDULE,
        variance=variance,
    )
    total = np.asarray(got.prior) + np.asarray(got.terms, np.float64).sum((1, 2))
    mass = np.exp(-0.5 * (np.arange(-400, 401) / 127.5 / std) ** 2)
    mass /= mass.sum()
    entropy = -(mass * np.log2(mass)).sum()
    error = total.std() / np.sqrt(count)
    assert error < 0.02
    assert float(total.mean()) == pytest.approx(entropy, abs=4 * error)


@pytest.mark.slow
def test_the_terms_of_an_image_depend_on_its_key_and_the_number_of_the_draw() -> None:
    x_0 = np.broadcast_to(PIXELS, (3, len(PIXELS)))
    terms = partial(bound, (0.0, 1.0), schedule=SCHEDULE, eps_fn=gaussian)
    keys = per_image.image_keys(KEY, 3)
    all_three, last = terms(keys, x_0), terms(keys[2:], x_0[2:], draws=2)
    np.testing.assert_allclose(last.terms[:, 0], all_three.terms[2:, 0], rtol=1e-5)
    assert (last.terms[:, 0] != last.terms[:, 1]).all()
    assert (all_three.terms[0] != all_three.terms[1]).all()


@pytest.mark.slow
def test_clipping_changes_what_is_beyond_the_range_of_images() -> None:
    x_0 = jnp.zeros((1, 4))
    far = lambda params, x_t, t: jnp.full_like(x_t, 3.0)  # noqa: E731
    clipped, whole = (
        bound({}, KEY, x_0, x0_fn=far, schedule=SCHEDULE, clip_x0=clip)
        for clip in (True, False)
    )
    assert jnp.unique(clipped.mse).tolist() == [1.0]
    assert jnp.unique(whole.mse).tolist() == [9.0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"draws": 0}, "draws is 0; give at least 1"),
        ({"cdf": "erf"}, "cdf is 'erf'; it must be one of exact, tanh"),
        ({"x0_fn": lambda *_: 0}, "give either eps_fn or x0_fn"),
        ({"variance": "huge"}, "variance is 'huge'"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict, sentence: str) -> None:
    eps_fn = oracles.gaussian_eps(0.0, 1.0, SCHEDULE)
    with pytest.raises(ValueError, match=sentence):
        bits_per_dim({}, KEY, PIXELS[None], eps_fn=eps_fn, schedule=SCHEDULE, **options)
