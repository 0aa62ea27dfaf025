"""SDEdit between its two ends, the picture and a fresh sample; and fewer steps."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax import keys as per_image
from ddpm_jax.diffusion import q_sample
from ddpm_jax.editing.respace import respace
from ddpm_jax.editing.sdedit import first_steps
from ddpm_jax.editing.sdedit import sdedit
from ddpm_jax.reverse import reverse_step
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule

BETAS = linear_beta_schedule(1000)
SCHEDULE = make_schedule(BETAS)
SHORT = make_schedule(linear_beta_schedule(12, 1e-3, 0.4))
JSD = make_schedule(SCHEDULES["jsd"](12, 0, 0))
KEY = jax.random.key(0)
STATIC = ("num_steps", "eps_fn", "x0_fn", "variance", "clip_x0")
redraw = jax.jit(sdedit, static_argnames=STATIC)
IMAGES = jnp.linspace(-0.9, 0.9, 3 * 2).reshape(3, 2)


def tanh_model(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.tanh(x_t) * (1 + 0.01 * t[:, None])


def test_no_steps_return_the_picture_and_all_steps_are_sampling() -> None:
    same = redraw({}, KEY, IMAGES, num_steps=0, eps_fn=tanh_model, schedule=SHORT)
    assert (np.asarray(same) == np.asarray(IMAGES)).all()
    # jsd ends in pure noise, so nothing of the picture is left.
    options = {"x0_fn": tanh_model, "schedule": JSD}
    edited = redraw({}, KEY, IMAGES, num_steps=12, **options)
    np.testing.assert_allclose(
        edited, ddpm_sample({}, KEY, IMAGES.shape, **options), atol=1e-6
    )
    # The paper's schedule leaves 0.6 % of it, which a model of N(0, 1) keeps.
    options = {"eps_fn": oracles.gaussian_eps(0, 1, SCHEDULE), "schedule": SCHEDULE}
    edited = redraw({}, KEY, IMAGES, num_steps=1000, clip_x0=False, **options)
    plain = ddpm_sample({}, KEY, IMAGES.shape, clip_x0=False, **options)
    assert 0 < abs(edited - plain).max() < 1e-3


@pytest.mark.parametrize("num_steps", [100, 300, 600])
def test_the_share_of_a_picture_that_is_kept_is_that_of_bayes_rule(
    num_steps: int,
) -> None:
    mean, std, picture, count = 0.2, 0.5, 0.9, 4096
    images = jnp.full((count, 1), picture)
    eps_fn = oracles.gaussian_eps(mean, std, SCHEDULE)
    x_0 = redraw(
        {},
        KEY,
        images,
        num_steps=num_steps,
        eps_fn=eps_fn,
        schedule=SCHEDULE,
        variance="fixed_small",
        clip_x0=False,
    )
    # x_0' is drawn from p(x_0 | x_t), so E x_0' = mean + kept (picture - mean), and
    # its variance is that of the posterior and that of the noise in x_t, shrunk.
    ab = np.cumprod(1 - BETAS)[num_steps - 1]
    kept = ab * std**2 / (ab * std**2 + 1 - ab)
    variance = kept**2 * (1 - ab) / ab + (1 - kept) * std**2
    assert float(x_0.mean()) == pytest.approx(mean + kept * (picture - mean), abs=0.03)
    assert float(x_0.std()) == pytest.approx(np.sqrt(variance), rel=0.06)


def test_it_is_the_forward_process_and_then_a_python_loop() -> None:
    keys = per_image.image_keys(KEY, 3)
    eps = per_image.normal(per_image.fold_in(keys, 12), (2,))
    x = q_sample(SHORT, IMAGES, jnp.full(3, 6), eps)
    for t in reversed(range(7)):
        step = reverse_step(
            {}, x, jnp.full(3, t), eps_fn=tanh_model, schedule=SHORT, clip_x0=True
        )
        z = per_image.normal(per_image.fold_in(keys, t), (2,))
        x = step.mean + (jnp.exp(0.5 * step.log_variance) * z if t > 0 else 0.0)
    edited = redraw({}, keys, IMAGES, num_steps=7, eps_fn=tanh_model, schedule=SHORT)
    np.testing.assert_allclose(edited, x, atol=1e-5)
    alone = redraw(
        {}, keys[1:2], IMAGES[1:2], num_steps=7, eps_fn=tanh_model, schedule=SHORT
    )
    np.testing.assert_allclose(edited[1:2], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_steps": 13}, r"num_steps is 13; give 0..12, the steps of noise"),
        ({"num_steps": 0.5}, "num_steps is 0.5; give a whole number"),
        ({"keys": per_image.image_keys(KEY, 2)}, r"keys has shape \(2,\)"),
        ({"eps_fn": None}, "give either eps_fn or x0_fn"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict, sentence: str) -> None:
    good = {"keys": KEY, "num_steps": 3, "eps_fn": tanh_model, "schedule": SHORT}
    arguments = {**good, **wrong}
    keys = arguments.pop("keys")
    with pytest.raises(ValueError, match=sentence):
        sdedit({}, keys, IMAGES, **arguments)


def test_the_first_steps_of_a_schedule_end_in_noise_only_if_they_are_all() -> None:
    assert first_steps(JSD, 12).ends_in_noise
    part = first_steps(JSD, 11)
    assert not part.ends_in_noise and part.num_timesteps == 11
    np.testing.assert_array_equal(part.log_variance_small, JSD.log_variance_small[:11])


def test_a_respaced_schedule_has_the_marginals_of_the_times_it_keeps() -> None:
    asked = []

    def x0_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        asked.append(t.tolist())
        return x_t

    model = respace(SCHEDULE, 4, x0_fn=x0_fn)
    kept, times = model["schedule"], np.array([0, 333, 666, 999])
    model["x0_fn"]({}, jnp.zeros((4, 1)), jnp.arange(4))
    assert asked == [times.tolist()]
    np.testing.assert_allclose(
        kept.alphas_cumprod, np.cumprod(1 - BETAS)[times], rtol=1e-5
    )
    assert respace(JSD, 3, x0_fn=x0_fn)["schedule"].ends_in_noise
    assert respace(SCHEDULE, 1, x0_fn=x0_fn)["schedule"].num_timesteps == 1


def test_a_respaced_chain_has_the_exact_moments_of_its_own_steps() -> None:
    mean, std, count = -0.3, 0.4, 8192
    model = respace(SCHEDULE, 50, eps_fn=oracles.gaussian_eps(mean, std, SCHEDULE))
    betas = np.asarray(model["schedule"].betas, np.float64)
    m, v = oracles.gaussian_chain_moments(betas, mean, std, np.sqrt(betas))
    x_0 = ddpm_sample({}, KEY, (count, 1), clip_x0=False, **model)
    assert float(x_0.mean()) == pytest.approx(m, abs=4 * np.sqrt(v / count) + 1e-4)
    assert float(x_0.var()) == pytest.approx(v, rel=4 * np.sqrt(2 / count))


def test_a_learned_variance_stays_on_all_steps_and_is_left_out_on_fewer() -> None:
    def both(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.concatenate([x_t, 0 * x_t], axis=-1)

    whole = respace(SCHEDULE, 1000, eps_fn=both, variance="learned")
    assert whole["variance"] == "learned" and whole["schedule"] is SCHEDULE
    fewer = respace(SCHEDULE, 10, eps_fn=both, variance="learned")
    assert fewer["variance"] == "fixed_small"
    assert fewer["eps_fn"]({}, IMAGES, jnp.zeros(3, int)).shape == IMAGES.shape
    assert (
        respace(SCHEDULE, 10, eps_fn=both, variance=both)["variance"] == "fixed_small"
    )


@pytest.mark.parametrize("num_steps", [0, 1001, 2.0])
def test_a_wrong_number_of_steps_is_refused(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"num_steps is {num_steps}; give"):
        respace(SCHEDULE, num_steps, eps_fn=tanh_model)
