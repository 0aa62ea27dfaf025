"""What is drawn for an image is a function of (key, index of the image) alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddpm_jax import keys as per_image


def data(keys: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(keys))


def draw(keys: jax.Array, name: str) -> np.ndarray:
    draws = {
        "normal": lambda: per_image.normal(keys, (3, 2)),
        "randint": lambda: per_image.randint(keys, 1000),
        "bernoulli": lambda: per_image.bernoulli(keys, 0.5),
    }
    return np.asarray(draws[name]())


def test_key_i_is_the_root_key_with_i_folded_in() -> None:
    keys = per_image.image_keys(jax.random.key(3), 5, start=2)
    for row, i in enumerate(range(2, 7)):
        one = jax.random.fold_in(jax.random.key(3), i)
        np.testing.assert_array_equal(data(keys[row]), data(one))


def test_start_may_be_traced() -> None:
    traced = jax.jit(lambda key, start: per_image.image_keys(key, 3, start))
    expected = per_image.image_keys(jax.random.key(0), 3, 7)
    np.testing.assert_array_equal(data(traced(jax.random.key(0), 7)), data(expected))


@pytest.mark.parametrize("name", ["normal", "randint", "bernoulli"])
def test_an_image_draws_the_same_in_any_batch(name: str) -> None:
    whole = draw(per_image.image_keys(jax.random.key(1), 64), name)
    part = draw(per_image.image_keys(jax.random.key(1), 10, start=30), name)
    alone = draw(per_image.image_keys(jax.random.key(1), 1, start=37), name)
    np.testing.assert_array_equal(whole[30:40], part)
    np.testing.assert_array_equal(whole[37:38], alone)
    assert len(np.unique(whole.reshape(64, -1), axis=0)) > 1


def test_normals_are_unit_and_differ_from_image_to_image() -> None:
    x = np.asarray(
        per_image.normal(per_image.image_keys(jax.random.key(0), 200), (50,))
    )
    assert x.mean() == pytest.approx(0, abs=4 / 100)
    assert x.var() == pytest.approx(1, abs=4 * 2**0.5 / 100)
    across = np.corrcoef(x)[~np.eye(200, dtype=bool)]
    assert abs(across).max() < 0.75


def test_integers_are_uniform_over_all_that_is_below_stop() -> None:
    t = np.asarray(per_image.randint(per_image.image_keys(jax.random.key(0), 4000), 4))
    counts = np.bincount(t, minlength=4)
    assert counts.size == 4
    assert abs(counts - 1000).max() < 4 * (4000 * 0.25 * 0.75) ** 0.5


def test_booleans_are_true_with_their_probability() -> None:
    keys = per_image.image_keys(jax.random.key(0), 4000)
    share = np.asarray(per_image.bernoulli(keys, 0.2)).mean()
    assert share == pytest.approx(0.2, abs=4 * (0.16 / 4000) ** 0.5)


def test_folding_a_number_in_gives_each_image_another_key() -> None:
    keys = per_image.image_keys(jax.random.key(0), 4)
    folded = [data(per_image.fold_in(keys, i)) for i in range(3)]
    assert len(np.unique(np.concatenate(folded), axis=0)) == 12
    one = jax.random.fold_in(keys[2], 1)
    np.testing.assert_array_equal(folded[1][2], data(one))


def test_one_key_stands_for_those_of_images_0_to_n() -> None:
    expected = per_image.image_keys(jax.random.key(0), 3)
    for given in (jax.random.key(0), per_image.image_keys(jax.random.key(0), 3)):
        np.testing.assert_array_equal(
            data(per_image.one_each(given, 3)), data(expected)
        )


def test_a_wrong_number_of_keys_is_refused_in_a_sentence() -> None:
    keys = per_image.image_keys(jax.random.key(0), 4)
    with pytest.raises(ValueError, match=r"keys has shape \(4,\); .* 3 images"):
        per_image.one_each(keys, 3)
    with pytest.raises(ValueError, match=r"keys has shape \(2, 2\)"):
        per_image.one_each(jnp.reshape(keys, (2, 2)), 4)
