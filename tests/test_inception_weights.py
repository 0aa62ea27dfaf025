"""The weights of Inception: fetched whole or not at all; what other files are told."""

import hashlib
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddpm_jax.files import checksum
from ddpm_jax.metrics import inception
from ddpm_jax.metrics import inception_weights
from ddpm_jax.metrics.extractors import make_extractor
from ddpm_jax.metrics.inception import inception_features
from ddpm_jax.metrics.inception import resize
from ddpm_jax.metrics.inception_weights import check_shapes
from ddpm_jax.metrics.inception_weights import convert
from ddpm_jax.metrics.inception_weights import fetch
from ddpm_jax.metrics.inception_weights import receive

CONTENT = b"weights" * 1000
FIXTURES = Path(__file__).parent / "fixtures"


def test_a_download_is_kept_if_its_checksum_is_right(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "w.pth"
    receive(io.BytesIO(CONTENT), path, hashlib.sha256(CONTENT).hexdigest())
    assert path.read_bytes() == CONTENT
    assert checksum(path) == hashlib.sha256(CONTENT).hexdigest()


def test_of_another_download_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its SHA-256 is"):
        receive(io.BytesIO(CONTENT[:-1]), tmp_path / "w.pth", inception_weights.SHA256)
    assert not list(tmp_path.iterdir())


def test_without_a_network_it_is_said_where_to_get_the_file(tmp_path: Path) -> None:
    # Nothing listens on port 1 of this machine.
    with pytest.raises(FileNotFoundError, match=r"can't be fetched .*--weights") as e:
        fetch("https://127.0.0.1:1/w.pth", tmp_path / "w.pth", "")
    assert inception_weights.URL in str(e.value)
    with pytest.raises(FileNotFoundError, match=r"no file .*; get pt_inception"):
        make_extractor("inception", tmp_path / "w.pth")
    with pytest.raises(ValueError, match="is not https"):
        fetch("http://127.0.0.1:1/w.pth", tmp_path / "w.pth", "")


def test_other_files_of_torch_are_refused() -> None:
    with pytest.raises(ValueError, match="holds no Inception-v3 of FID: 'fc.weight'"):
        make_extractor("inception", FIXTURES / "torch/zip.pt")


def test_other_weights_are_an_extractor_of_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In place of 96 MB; the name is made of the checksum of the file alone.
    path = tmp_path / "w.pth"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(inception_weights, "load_inception", lambda path: {})
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert make_extractor("inception", path).name == f"inception-{sha256[:8]}"
    monkeypatch.setattr(inception_weights, "SHA256", sha256)
    assert make_extractor("inception", path).name == "inception"


def test_the_network_is_shown_gray_levels_less_128_over_128(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Shown:
        """In place of the network, which it answers for with what it is shown."""

        def apply(self, params: object, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            return x, x

    monkeypatch.setattr(inception, "Inception", Shown)
    levels = np.array([0, 64, 128, 255], np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (4, 5, 7, 1))
    shown, _ = inception_features({}, jnp.asarray(images))
    assert shown.shape == (4, 299, 299, 3)
    expected = np.array([-1, -0.5, 0, 127 / 128])[:, None, None, None]
    np.testing.assert_allclose(shown, np.broadcast_to(expected, shown.shape), atol=1e-6)


@pytest.mark.slow
def test_networks_of_another_shape_are_refused() -> None:
    variables = convert({"fc.weight": np.zeros((1000, 2048))})
    with pytest.raises(ValueError, match="branch1x1/conv/bias is absent and should be"):
        check_shapes(variables, "w.pth")


def test_batch_normalisation_is_folded_into_the_convolution() -> None:
    random = np.random.default_rng(0)
    kernel, x = random.normal(size=(4, 3, 1, 1)), random.normal(size=(7, 3))
    weight, bias, mean = random.normal(size=(3, 4))
    variance = random.uniform(0.1, 2, 4)
    bn = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
    state = {f"block.bn.{name}": value for name, value in bn.items()}
    state |= {"block.conv.weight": kernel, "fc.weight": np.zeros((2, 2))}
    conv = convert(state)["params"]["block"]["conv"]
    y = x @ kernel[:, :, 0, 0].T
    exact = (y - mean) / np.sqrt(variance + 1e-3) * weight + bias
    got = x @ conv["kernel"][0, 0] + conv["bias"]
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5)


def test_images_are_resized_as_tensorflow_1_did() -> None:
    # Pixel i lies at i * 3 / 5: 0, 0.6, 1.2, 1.8, 2.4, and beyond 2 there is no other.
    ramp = np.array([0.0, 10.0, 30.0], np.float32)
    image = np.broadcast_to(ramp[None, :, None, None], (1, 3, 3, 1))
    rows = np.array([0, 6, 14, 26, 30], np.float32)
    got = np.asarray(resize(image, 5))
    expected = np.broadcast_to(rows[:, None], (5, 5))
    np.testing.assert_allclose(got[0, :, :, 0], expected, rtol=1e-6, atol=1e-5)


def test_images_of_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels, not 2"):
        inception_features({}, np.zeros((1, 8, 8, 2), np.uint8))
