"""Models by their id on the Hugging Face hub, from a cache that was filled before.

No test reaches the hub: the cache has the form in which huggingface_hub keeps files.
"""

import shutil
import sys
from http.server import BaseHTTPRequestHandler
from http.server import HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from diffusers_files import SCHEDULERS
from diffusers_files import described
from diffusers_files import write as write_diffusers
from huggingface_hub import constants
from huggingface_hub.utils import filter_repo_objects
from test_scripts import run

from ddpm_jax.interop.hub import fetch
from ddpm_jax.interop.hub import weights
from ddpm_jax.loading import describe
from ddpm_jax.loading import load_pretrained

TENSORFLOW = Path(__file__).parent / "fixtures" / "tensorflow"

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, without a way to the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def keep(cache: Path, name: str, *files: str, revision: str = "main") -> Path:
    """Puts files of a model into the cache."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / revision).write_text(COMMIT)
    for file in files:
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).write_text("{}")
    return snapshot


def test_a_model_in_the_cache_is_found_without_the_hub(cache: Path) -> None:
    snapshot = keep(
        cache, "google/ddpm-cat-256", "config.json", "diffusion_pytorch_model.bin"
    )
    assert fetch("google/ddpm-cat-256") == snapshot


def test_a_revision_follows_the_name(cache: Path) -> None:
    snapshot = keep(cache, "a/b", "config.json", revision="v2")
    assert fetch("a/b@v2") == snapshot
    with pytest.raises(OSError, match="no file or folder a/b; and the Hugging"):
        fetch("a/b")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"), [("google/ddpm-cifar10-32", True), ("google/ddpm-cat-256", False)]
)
def test_of_a_model_that_may_not_be_averaged_one_is_told(
    cache: Path, name: str, says: bool
) -> None:
    snapshot = keep(cache, name)
    write_diffusers(snapshot, *described("gray"), SCHEDULERS["ddpm"], flat=True)
    model = load_pretrained(name)
    assert (model.given, model.revision) == (name, COMMIT)
    said = describe(model)
    assert ("does not say whether these are the averages" in said) == says


def test_a_path_that_is_there_is_no_id(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    keep(cache, "a/b", "config.json")
    assert fetch("a/b") == Path("a/b")


def test_a_tensorflow_checkpoint_is_a_path_and_no_id(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named without .index, so there is no file of that name."""
    shutil.copytree(TENSORFLOW, tmp_path / "dir")
    sentence = "model.ckpt has no average, which others there have"  # so it was read
    for name in (str(TENSORFLOW / "model.ckpt"), "dir/model.ckpt"):
        assert fetch(name) == Path(name)
        with pytest.raises(ValueError, match=sentence):
            load_pretrained(name)
        assert run("sample", "--pretrained", name, "--out", tmp_path / "out") == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("diffusion_pytorch_model.safetensors", True),
        ("unet/diffusion_pytorch_model.safetensors", True),
        ("unet/diffusion_pytorch_model.safetensors.index.json", True),
        ("unet/diffusion_pytorch_model-00001-of-00002.safetensors", True),
        ("unet/diffusion_pytorch_model.fp16.safetensors", False),
        ("unet/diffusion_pytorch_model.non_ema.safetensors", False),
        ("unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors", False),
        ("unet/diffusion_pytorch_model.bin", False),
    ],
)
def test_only_the_weights_that_are_read_are_downloaded(file: str, wanted: bool) -> None:
    found = list(filter_repo_objects([file], allow_patterns=weights("safetensors")))
    assert found == [file] * wanted


def test_what_is_nowhere_is_one_sentence(cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file or folder runs/digits/best$"):
        fetch("runs/digits/best")
    offline = r"not asked \(HF_HUB_OFFLINE\), and its cache lacks the model$"
    with pytest.raises(OSError, match=f"^there is no .* runs/digits; and .*{offline}"):
        fetch("runs/digits")
    for run_ in ("b", "a"):
        Path("runs", run_).mkdir(parents=True)
    sentence = "^there is no file or folder {}: in runs there is a, b{}"
    for name, rest in (("./runs/digits", "$"), ("runs/digits", "; and the")):
        with pytest.raises(OSError, match=sentence.format(name, rest)):
            fetch(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (404, "RepoNotFound", "has no such model, or a private one$"),
        (401, "RepoNotFound", "has no such model, or a private one$"),
        (404, "RevisionNotFound", "hub has no revision v2$"),
        (403, "GatedRepo", "gives that model to those alone whom its authors let in$"),
        (500, "", "can't be reached, and its cache lacks the model$"),
        (200, "", "could be had from the Hugging Face hub: [^\n]*$"),
    ],
)
def test_what_a_hub_refuses_is_one_sentence(
    cache: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, sentence: str
) -> None:
    """The hub is a server of this machine, which gives its answers."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        with pytest.raises(OSError, match=f"^there is no [^\n]*; and [^\n]*{sentence}"):
            fetch("a/b@v2")
        server.shutdown()


def test_without_huggingface_hub_the_line_that_installs_it_is_given(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .ddpm_jax\[hub\]"):
        fetch("google/ddpm-cat-256")
