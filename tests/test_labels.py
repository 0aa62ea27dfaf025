"""Labels reach the network, can be withheld from it, and guide what it draws."""

import dataclasses
import functools
import itertools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from PIL import Image
from test_scripts import script as load_script

from ddpm_jax import keys as per_image
from ddpm_jax import parallel
from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.build import conditioned
from ddpm_jax.build import init_params
from ddpm_jax.chains import Chain
from ddpm_jax.chains import check_chain
from ddpm_jax.config import Config
from ddpm_jax.config import Objective
from ddpm_jax.data import Batch
from ddpm_jax.data import batches
from ddpm_jax.data import load
from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.items import LazyImages
from ddpm_jax.guidance import drop_labels
from ddpm_jax.labels import labelled
from ddpm_jax.loading import load_trained
from ddpm_jax.sampling import compile_sampler
from ddpm_jax.train_loop import train
from ddpm_jax.train_loop import with_labels
from ddpm_jax.train_step import init_state
from ddpm_jax.train_step import make_optimiser
from ddpm_jax.train_step import train_step
from ddpm_jax.train_step import train_steps

CLASSES = 3
T = jnp.array([1, 4, 7])
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)


def config_with(**changes: Any) -> Config:  # noqa: ANN401
    data = dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=1)
    model = dataclasses.replace(tiny.MODEL, num_classes=CLASSES)
    sections = {"data": data, "model": model} | changes
    return dataclasses.replace(tiny.CONFIG, **sections)


@functools.cache
def parts_and_params(prediction: str = "eps") -> tuple[Parts, Any]:
    parts = build(config_with(objective=Objective(prediction=prediction)))
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(functools.partial(init_params, parts), jax.random.key(0))
    return parts, jax.tree.map(lambda x: rng.normal(size=x.shape, scale=0.3), shapes)


def test_a_network_of_classes_has_one_row_more_than_them_and_nothing_else_new() -> None:
    shapes = [
        jax.eval_shape(functools.partial(init_params, build(c)), jax.random.key(0))
        for c in (config_with(), config_with(model=tiny.MODEL))
    ]
    labelled, plain = (tree["params"] for tree in shapes)
    assert labelled.pop("class_embed")["embedding"].shape == (CLASSES + 1, 32)
    assert jax.tree.map(jnp.shape, labelled) == jax.tree.map(jnp.shape, plain)


@pytest.mark.slow
def test_no_label_is_the_label_behind_the_last_and_each_label_another_answer() -> None:
    parts, params = parts_and_params()
    network = jax.jit(parts.network)
    none = network(params, X, T)
    answers = [network(params, X, T, labels=jnp.full(3, label)) for label in range(4)]
    assert np.array_equal(answers[CLASSES], none)
    for label in range(CLASSES):
        assert abs(answers[label] - none).max() > 0.01
    mixed = network(params, X, T, labels=jnp.array([2, 0, 3]))
    picked = [answers[label][row] for row, label in enumerate([2, 0, 3])]
    np.testing.assert_allclose(mixed, picked, rtol=1e-5, atol=1e-6)


def test_labels_that_the_network_cannot_take_are_refused() -> None:
    parts, params = parts_and_params()
    with pytest.raises(ValueError, match=r"labels \(2,\) must be \[B\]"):
        parts.network(params, X, T, labels=jnp.zeros(2, jnp.int32))
    plain = build(config_with(model=tiny.MODEL))
    with pytest.raises(ValueError, match="takes no labels"):
        jax.eval_shape(
            lambda key: plain.network(
                init_params(plain, key), X, T, labels=jnp.zeros(3, jnp.int32)
            ),
            jax.random.key(0),
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prediction", "scale"),
    [("eps", 0.0), ("v", 2.5)],
)
def test_guidance_goes_from_no_label_through_the_label_and_beyond(
    prediction: str, scale: float
) -> None:
    parts, params = parts_and_params(prediction)
    labels = jnp.array([0, 1, 2])

    def x_0(parts: Parts) -> np.ndarray:
        name = "eps_fn" if prediction == "eps" else "x0_fn"
        return np.asarray(jax.jit(parts.sampler[name])(params, X, T))

    none, label = x_0(parts), x_0(conditioned(parts, labels))
    guided = x_0(labelled(parts, jnp.arange(3), (0, 1, 2), scale))
    np.testing.assert_allclose(guided, none + scale * (label - none), atol=2e-4)


@pytest.mark.slow
def test_the_share_of_labels_that_is_withheld_is_withheld_for_each_image_alone() -> (
    None
):
    keys = per_image.image_keys(jax.random.key(3), 20_000)
    labels = jnp.arange(20_000) % 10
    dropped = np.asarray(drop_labels(keys, labels, 10, 0.2))
    changed = dropped != np.asarray(labels)
    assert set(dropped[changed]) == {10}
    # Five standard deviations of a binomial share.
    assert abs(changed.mean() - 0.2) < 5 * (0.2 * 0.8 / 20_000) ** 0.5
    some = drop_labels(keys[7:9], labels[7:9], 10, 0.2)
    assert np.array_equal(some, dropped[7:9])
    assert np.array_equal(drop_labels(keys, labels, 10, 0.0), labels)


def test_the_loss_withholds_labels_just_where_it_has_dropout() -> None:
    hidden = dataclasses.replace(tiny.CONFIG.train, label_dropout=0.9999)
    parts = build(config_with(train=hidden))
    seen = []

    def network(params: Any, x_t: Any, t: Any, dropout_keys: Any, labels: Any) -> Any:  # noqa: ANN401
        seen.append(np.asarray(labels))
        return x_t

    keys = per_image.image_keys(jax.random.key(0), 3)
    labels = jnp.array([0, 1, 2])
    options = parts.loss_fn.keywords | {"network": network}
    loss = functools.partial(parts.loss_fn.func, **options)
    loss({}, keys, X, None, labels)
    loss({}, keys, X, keys, labels)
    assert [x.tolist() for x in seen] == [[0, 1, 2], [CLASSES] * 3]


@pytest.mark.parametrize(
    ("chain", "sentence"),
    [
        (Chain(label=(3,)), "label is 3 and the model knows 3 classes; give 0 to 2"),
        (Chain(label=(0, -1)), "label is -1"),
        (Chain(guidance=2.0), "guidance is 2 and there is no label"),
        (Chain(label=(0,), guidance=-1.0), "guidance is -1.0; give 0"),
        (Chain(label=(0,), guidance=float("nan")), "guidance is nan; give 0"),
    ],
)
def test_a_label_that_the_model_does_not_know_is_answered_in_one_sentence(
    chain: Chain, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_chain(build(config_with()), chain)


def test_a_model_without_labels_or_without_their_dropout_says_so() -> None:
    check_chain(build(config_with()), Chain(label=(0, 2), guidance=2.0))
    with pytest.raises(ValueError, match="trained without labels"):
        check_chain(build(config_with(model=tiny.MODEL)), Chain(label=(0,)))
    always = build(
        config_with(train=dataclasses.replace(tiny.CONFIG.train, label_dropout=0.0))
    )
    check_chain(always, Chain(label=(1,)))
    for chain in (Chain(), Chain(label=(1,), guidance=2.0)):
        with pytest.raises(ValueError, match="always saw a label"):
            check_chain(always, chain)


def test_images_without_the_labels_that_are_asked_for_are_refused(
    tmp_path: pathlib.Path,
) -> None:
    images = np.zeros((4, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "bare.npz", images)
    np.savez(tmp_path / "two.npz", images, np.array([0, 1, 1, 0]))
    for name, sentence in (("bare", "has no labels"), ("two", "has 2 classes; set it")):
        with pytest.raises(ValueError, match=sentence):
            with_labels(config_with(), load(str(tmp_path / f"{name}.npz")))
    plain = with_labels(config_with(model=tiny.MODEL), load("digits"))
    assert plain.train_labels is None and plain.held_out_labels is None


def test_folders_are_classes_and_keep_them_beside_a_broken_file(
    tmp_path: pathlib.Path,
) -> None:
    values = {"cat/a.png": 0, "cat/b.png": 1, "dog/c.png": 100, "dog/old/d.png": 101}
    for name, value in values.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), value).save(path)
    (tmp_path / "set" / "cat" / "aa.png").write_bytes(b"no image")
    found = load(str(tmp_path / "set"), held_out=1, cache_dir=str(tmp_path / "cache"))
    assert found.report.classes == ("cat", "dog")
    for images, labels in (
        (found.train, found.train_labels),
        (found.held_out, found.held_out_labels),
    ):
        assert labels is not None
        shown = images[np.arange(len(images))][:, 0, 0, 0]
        assert ((shown >= 100) == (labels == 1)).all()
    for other in ("notes.txt", "notes/more.txt"):  # no images, and so no classes
        (tmp_path / "set" / other).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / other).write_text("hello")
    again = load(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert again.report.classes == ("cat", "dog")
    (tmp_path / "set" / "e.png").write_bytes((path).read_bytes())
    outside = load(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert outside.report.classes == () and outside.train_labels is None


def test_an_array_beside_the_images_is_labels_just_where_it_can_be(
    tmp_path: pathlib.Path,
) -> None:
    images = np.zeros((3, 8, 8, 1), np.uint8)
    for second in ([0, 2, 0], [0, 1], [0, 1, -1], [0, 1, 10**9], [0.0, 1.0, 2.0]):
        np.savez(tmp_path / "some.npz", arr_0=images, arr_1=np.array(second))
        found = load(str(tmp_path / "some.npz"), held_out=0)
        labels = None if found.train_labels is None else found.train_labels.tolist()
        assert labels == ([0, 2, 0] if second == [0, 2, 0] else None)


@pytest.mark.slow
def test_a_model_trained_with_labels_draws_what_it_is_told(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Class 0 is black and class 1 white."""
    images = np.repeat(np.array([0, 255], np.uint8), 20)
    images = np.broadcast_to(images[:, None, None, None], (40, 8, 8, 1))
    np.savez(tmp_path / "two.npz", images, np.arange(40) // 20)
    fields = dict(steps=100, batch_size=16, learning_rate=1e-2, warmup_steps=5)
    config = dataclasses.replace(
        tiny.with_train(**fields),
        data=dataclasses.replace(tiny.CONFIG.data, source=str(tmp_path / "two.npz")),
        model=dataclasses.replace(tiny.MODEL, num_classes=2, dropout=0.0),
        objective=Objective(prediction="x_0"),
        log=dataclasses.replace(
            tiny.CONFIG.log,
            every=100,
            eval_every=100,
            eval_images=2,
            sample_every=100,
            sample_images=8,  # whose program those below are
            checkpoint_every=100,
        ),
    )
    train(config, tmp_path / "run")
    with Image.open(tmp_path / "run" / "samples" / "step_0000100.png") as board:
        assert board.height > 1.9 * board.width  # a column for each class
    trained = load_trained(tmp_path / "run")
    sample = compile_sampler(trained, seed=0, batch_size=8, chain=Chain(label=(0, 1)))
    means = sample(np.arange(8)).mean(axis=(1, 2, 3))
    assert (means[::2] < 64).all() and (means[1::2] > 191).all()
    assert json.loads((tmp_path / "run" / "data.json").read_text())["classes"] == [
        "0",
        "1",
    ]
    draw = load_script("sample").main
    shared = ["--workdir", str(tmp_path / "run"), "--num", "8", "--batch-size", "8"]
    asked = ["--label", "0", "1"]
    few = [*shared, *asked, "--num", "1", "--steps", "2", "--out"]
    assert draw([*few, str(tmp_path / "few")]) == 0
    assert "remark: 1 of the 2 labels are drawn\n" in capsys.readouterr().out
    assert draw([*shared, *asked, "--out", str(tmp_path / "out")]) == 0
    with np.load(tmp_path / "out" / "samples.npz") as drawn:
        np.testing.assert_array_equal(drawn["arr_0"], sample(np.arange(8)))
        assert drawn["arr_1"].tolist() == [0, 1] * 4
    with Image.open(tmp_path / "out" / "grid.png") as board:
        assert board.height > 1.9 * board.width
    with pytest.raises(ValueError, match="label is 2 and the model knows 2 classes"):
        draw([*shared, "--label", "2", "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


def test_the_batches_of_any_process_have_the_labels_of_their_images() -> None:
    values = np.arange(10, dtype=np.uint8)
    for part in range(2):
        stream = batches(
            values.reshape(10, 1, 1, 1),
            values.astype(np.int64) % 3,
            seed=3,
            start_step=5,
            batch_size=6,
            process_index=part,
            process_count=2,
        )
        for batch in itertools.islice(stream, 4):
            np.testing.assert_array_equal(batch.images.ravel() % 3, batch.labels)


def test_a_broken_image_is_stood_in_for_by_one_of_its_class() -> None:
    labels = np.array([0, 1, 1, 0, 0])

    def image(number: int) -> np.ndarray:
        if number == 0:
            raise Unusable("corrupt or truncated")
        return np.full((1, 1, 1), number, np.uint8)

    images = LazyImages("some", str, image, np.arange(5), (1, 1, 1), labels)
    with pytest.warns(UserWarning, match="stands in"):
        assert images[np.array([0, 1])].ravel().tolist() == [3, 1]


LINE = {"a": jnp.ones(3)}
OPTIMISER = make_optimiser(0.1, warmup_steps=0)


def label_loss(
    params: dict[str, jax.Array],
    keys: jax.Array,
    x_0: jax.Array,
    dropout_keys: jax.Array,
    labels: jax.Array,
) -> jax.Array:
    noise = per_image.normal(keys, (1,))[:, 0]
    return (params["a"][labels] - x_0.mean((1, 2, 3)) - 0.1 * noise) ** 2


@pytest.mark.slow
def test_labels_go_with_their_images_over_devices_parts_and_dispatches() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 2, 2, 1), np.uint8)
    labels = np.random.default_rng(1).integers(0, 3, (4, 8))
    step = functools.partial(train_step, loss_fn=label_loss, optimiser=OPTIMISER)
    first, key = init_state(LINE, OPTIMISER), jax.random.key(0)

    def end(step: Any, **options: Any) -> np.ndarray:  # noqa: ANN401
        state, compiled = first, jax.jit(functools.partial(step, **options))
        for batch in map(Batch, images, labels):
            state, _ = compiled(state, batch, key)
        return np.asarray(state.params["a"])

    expected = end(step)
    assert len(set(expected.tolist())) == 3
    np.testing.assert_allclose(end(step, accumulate=2), expected, rtol=1e-5)
    together = jax.jit(functools.partial(train_steps, step=step))
    state, _ = together(first, Batch(images, labels), key)
    np.testing.assert_allclose(state.params["a"], expected, rtol=1e-5)
    both, keys = parallel.replicate(first), parallel.replicate(key)
    shards = [parallel.shard(batch) for batch in map(Batch, images, labels)]
    on_two = parallel.compile_step(
        functools.partial(step, axis_name=parallel.AXIS), both, shards[0], keys
    )
    for batch in shards:
        both, _ = on_two(both, batch, keys)
    np.testing.assert_allclose(both.params["a"], expected, rtol=1e-5)
