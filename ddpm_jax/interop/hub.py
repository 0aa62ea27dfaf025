"""Models of the Hugging Face hub: from an id to a folder of its files.

huggingface_hub, which is optional, downloads and keeps them: in $HF_HOME, or else in
~/.cache/huggingface. Under HF_HUB_OFFLINE=1 only what is there is used.
"""

import re
from pathlib import Path

from ddpm_jax.interop.diffusers import INDEX
from ddpm_jax.interop.diffusers import SCHEDULER
from ddpm_jax.interop.diffusers import UNET
from ddpm_jax.interop.diffusers import WEIGHTS

ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""owner/name, or owner/name@revision."""

NOTES = {
    "google/ddpm-cifar10-32": "its card does not say whether these are the averages, "
    "which the paper draws with; compare another copy if that matters",
}
"""What to know of a model before its images are measured, by its id."""

MOST_SHOWN = 8
"""Of what is in a folder, where something else was asked for."""

INSTALL = 'pip install "ddpm_jax[hub]"'
CONFIGS = [INDEX, UNET, SCHEDULER, f"unet/{UNET}", f"scheduler/{SCHEDULER}"]


def fetch(name: str) -> Path:
    """The path of a model, downloaded if the name is no path here but one on the hub.

    A path may be that of a TensorFlow checkpoint, which is a prefix of its files.

    Raises:
      FileNotFoundError: if there is no such path, and none can be meant.
      ModuleNotFoundError: if huggingface_hub is needed.
      OSError: if the hub can't be reached, or has no such model for us.

    Example:
      >>> fetch("runs/no/such/run")
      Traceback (most recent call last):
      FileNotFoundError: there is no file or folder runs/no/such/run
    """
    # A TensorFlow checkpoint is named without .index, as it is several files.
    if Path(name).exists() or Path(f"{name}.index").is_file():
        return Path(name)
    if not ID.fullmatch(name):
        raise FileNotFoundError(absent(name))
    # Many have their weights in both forms; the second is for the others.
    folder = download(name, [*CONFIGS, *weights("safetensors")])
    if not any(folder.rglob("*.safetensors")):
        folder = download(name, [*CONFIGS, *weights("bin")])
    return folder


def absent(name: str) -> str:
    """That a path is not here, and what is in its folder if that is."""
    folder = Path(name).parent
    said = f"there is no file or folder {name}"
    if "/" not in name or not folder.is_dir():
        return said
    found = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(found[:MOST_SHOWN]) or "nothing"
    return f"{said}: in {folder} there is {shown}{', ...' * (len(found) > MOST_SHOWN)}"


def weights(suffix: str) -> list[str]:
    """Patterns of the files of weights: whole, or in shards with an index.

    Copies in half precision, or not averaged, have a word between and are left there.

    Example:
      >>> weights("bin")[:2]
      ['diffusion_pytorch_model.bin', 'diffusion_pytorch_model.bin.index.json']
    """
    files = [f"{WEIGHTS}.{suffix}", f"{WEIGHTS}.{suffix}.index.json"]
    shards = f"{WEIGHTS}-[0-9]*-of-[0-9]*.{suffix}"
    return [f"{place}{file}" for place in ("", "unet/") for file in (*files, shards)]


def download(name: str, patterns: list[str]) -> Path:
    """Downloads the files of a model that patterns allow, but for those that are here.

    Raises:
      ModuleNotFoundError, OSError: as fetch.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{absent(name)}; if it is a model of the Hugging Face hub, that needs one "
            f"more package: {INSTALL}"
        ) from None
    model, _, revision = name.partition("@")
    try:
        folder = huggingface_hub.snapshot_download(
            model, revision=revision or None, allow_patterns=patterns
        )
    except (OSError, ValueError) as error:
        raise OSError(f"{absent(name)}; and {reason(error, revision)}") from None
    return Path(folder)


def reason(error: Exception, revision: str) -> str:
    """Why the hub gave no model, in a few words; its own messages are paragraphs."""
    from huggingface_hub import constants
    from huggingface_hub import errors

    hub = "the Hugging Face hub"
    match error:
        case errors.RevisionNotFoundError():
            return f"the model of that name on {hub} has no revision {revision}"
        case errors.GatedRepoError():
            return f"{hub} gives that model to those alone whom its authors let in"
        case errors.RepositoryNotFoundError():
            return f"{hub} has no such model, or a private one"
        case errors.LocalEntryNotFoundError() if constants.HF_HUB_OFFLINE:
            return f"{hub} is not asked (HF_HUB_OFFLINE), and its cache lacks the model"
        case errors.LocalEntryNotFoundError():
            return f"{hub} can't be reached, and its cache lacks the model"
    first = (str(error).strip() or repr(error)).splitlines()[0]
    return f"no such model could be had from {hub}: {first}"
