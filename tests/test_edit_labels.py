"""edit.py with a model that knows classes: each mode draws what the label says."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from PIL import Image
from test_edit import pixels
from test_edit import run

from ddpm_jax import parallel
from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.config import Objective
from ddpm_jax.denoise_mode import Denoise
from ddpm_jax.edit_files import write_edits
from ddpm_jax.edit_modes import Colourise
from ddpm_jax.edit_modes import Deblur
from ddpm_jax.edit_modes import Img2img
from ddpm_jax.edit_modes import Inpaint
from ddpm_jax.edit_modes import Mode
from ddpm_jax.edit_modes import Upscale
from ddpm_jax.exporting import export_safetensors
from ddpm_jax.loading import Trained
from ddpm_jax.loading import load_trained
from ddpm_jax.weights import save_weights

OPTIONS = {"fit": "crop", "num": 1, "seed": 0, "batch_size": 2}
# Of no gray, and of no mean in blocks of 2x2: what an edit of gray can't settle.
CHROMA = np.array([0.587, -0.299, 0.0])
CHECKS = np.indices((8, 8)).sum(0)[..., None] % 2 - 0.5
HEIGHTS = np.array([0.4, -0.4, 0.1])  # of classes 0 and 1, and of no label


def truth(channels: int) -> np.ndarray:
    """What each label, the last for none, stands for: [3, 8, 8, C] in [-1, 1]."""
    pattern = CHECKS * CHROMA if channels == 3 else CHECKS
    return HEIGHTS[:, None, None, None] * pattern


def parts_of(channels: int, dropout: float = 0.1) -> Parts:
    data = dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=channels)
    config = dataclasses.replace(
        tiny.with_train(label_dropout=dropout),
        data=data,
        model=dataclasses.replace(tiny.MODEL, num_classes=2),
        objective=Objective(prediction="x_0"),
    )
    table = jnp.asarray(truth(channels), jnp.float32)

    def network(
        params: object, x_t: jax.Array, t: jax.Array, labels: jax.Array
    ) -> jax.Array:
        return table[labels]

    return build(config)._replace(network=network)


def model(channels: int) -> Trained:
    return Trained(tiny.CONFIG, parts_of(channels), {}, 6, True)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two gray pictures, small ones of the same, and a mask, white above."""
    for name, size in (("a", 8), ("b", 8), ("small_a", 4), ("small_b", 4)):
        picture = Image.fromarray(np.full((size, size), 128, np.uint8))
        picture.save(tmp_path / f"{name}.png")
    mask = np.repeat(np.array([255, 0], np.uint8), 4)[:, None].repeat(8, axis=1)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


MODES = {
    "img2img": (1, lambda a: Img2img(a, strength=1.0)),
    "inpaint": (1, lambda a: Inpaint(a, mask=a[0].with_name("mask.png"), jump=3)),
    "upscale": (1, lambda a: Upscale(tuple(p.with_name(f"small_{p.name}") for p in a))),
    "colourise": (3, Colourise),
    # So much noise leaves the model alone.
    "deblur": (1, lambda a: Deblur(a, noise=1e6)),
    "denoise": (1, lambda a: Denoise(a, noise=30.0)),
    "denoise_draw": (1, lambda a: Denoise(a, noise=30.0, draw=True)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_every_mode_draws_what_each_pictures_label_says(
    name: str, guidance: float, files: Path
) -> None:
    channels, mode_of = MODES[name]
    mode: Mode = mode_of((files / "a.png", files / "b.png"))
    given = {**OPTIONS, "label": (1, 0), "guidance": guidance}
    written = write_edits(files / "out", model(channels), mode, **given)
    drawn = np.stack([pixels(path) for path in written[:2]]).reshape(2, 8, 8, channels)
    values = truth(channels)
    expected = values[2] + guidance * (values[[1, 0]] - values[2])
    above = (expected + 1)[:, :4] * 127.5
    np.testing.assert_allclose(drawn[:, :4], above, atol=1.6)


@pytest.mark.slow
def test_one_label_is_for_all_pictures_and_variations(files: Path) -> None:
    mode = Img2img((files / "a.png", files / "b.png"), strength=1.0)
    given = {**OPTIONS, "num": 2, "label": (1,)}
    for path in write_edits(files / "out", model(1), mode, **given)[:4]:
        expected = (truth(1)[1, ..., 0] + 1) * 127.5
        np.testing.assert_allclose(pixels(path), expected, atol=1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of cats and dogs that was drawn, not trained."""
    folder = tmp_path_factory.mktemp("weights")
    data = dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=1)
    config = dataclasses.replace(
        tiny.with_train(label_dropout=0.1),
        data=data,
        model=dataclasses.replace(tiny.MODEL, num_classes=2),
    )
    params = parallel.run_once(partial(init_params, build(config)), jax.random.key(0))
    known = {"config": dataclasses.asdict(config), "classes": ("cat", "dog")}
    first = save_weights(folder / "first", params, step=6, **known)
    # As it is handed on, the names go with it.
    (path,) = export_safetensors(load_trained(first), folder / "second.safetensors")
    return path


@pytest.mark.slow
def test_a_class_is_given_by_its_name_and_named(
    weights: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("--workdir", weights, "img2img", files / "a.png", "--strength", 0.3)
    for label in ("dog", 1):
        assert run(*line, "--out", files / str(label), "--label", label) == 0
        assert "\nlabel 1: dog\n" in capsys.readouterr().out
    same = [pixels(files / folder / "a_0.png") for folder in ("dog", "1")]
    np.testing.assert_array_equal(*same)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--label", "dgo"),
            "which is no class of this model; did you mean dog?",
        ),
        (("--label", "7"), "label is 7 and the model knows 2 classes; give 0 to 1"),
        (("--label", "horse"), "no class of this model; it has cat, dog"),
        (("--guidance", 2), "guidance is 2 and there is no label to guide to"),
        (("--label", "cat", "--guidance", "nan"), "guidance is nan; give 0"),
        (("--label", 0, 1, 0), "--label gives 3 classes and there are 2 pictures"),
    ],
)
def test_a_label_that_does_not_fit_is_refused_in_one_sentence(
    arguments: tuple,
    sentence: str,
    weights: Path,
    files: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ("--workdir", weights, "--out", files / "out", *arguments)
    assert run(*line, "img2img", files / "a.png", files / "b.png") == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (files / "out").exists()


def test_a_model_without_labels_or_that_always_saw_one_says_so(files: Path) -> None:
    mode = Img2img((files / "a.png",))
    plain = dataclasses.replace(
        tiny.CONFIG,
        data=dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=1),
    )
    trained = Trained(plain, build(plain), {}, 6, True)
    with pytest.raises(ValueError, match="trained without labels and knows no classes"):
        write_edits(files / "out", trained, mode, **OPTIONS, label=(1,))
    always = model(1)._replace(parts=parts_of(1, dropout=0.0))
    with pytest.raises(ValueError, match="always saw a label"):
        write_edits(files / "out", always, mode, **OPTIONS)
