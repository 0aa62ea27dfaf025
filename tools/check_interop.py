"""Draws whole chains with diffusers and with this project, and compares the images.

Needs torch and diffusers beside the project; run it in an environment of its own:

    python tools/check_interop.py

The numbers of docs/pretrained.md are what it prints: for each network the largest
difference in what it answers, over the largest answer, and in the images of chains of
1000 steps and of 50 steps of DDIM, from the same x_T with the same noise. Exported
models are loaded by DDPMPipeline, which is called once, with no tensor missing, and
draw the same images. Last, a model of docs/ that was trained here is drawn from so.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import torch
from make_interop_fixtures import CASES
from make_interop_fixtures import draw
from make_interop_fixtures import inputs
from make_interop_fixtures import make_model

from ddpm_jax.chains import Chain
from ddpm_jax.chains import chain_of
from ddpm_jax.chains import labelled
from ddpm_jax.exporting import export_diffusers
from ddpm_jax.images import to_uint8
from ddpm_jax.sampling import Trained
from ddpm_jax.sampling import load_pretrained

TRAINED = Path(__file__).resolve().parents[1] / "docs/cifar_small/ema.safetensors"
LABELS = 4, 1  # of the two images, where a network knows classes
CHAINS: dict[str, tuple[str, dict[str, object], int]] = {
    "1000 steps, clipped": ("DDPMScheduler", {"variance_type": "fixed_large"}, 1000),
    "1000 steps, not clipped": ("DDPMScheduler", {"clip_sample": False}, 1000),
    "DDIM, 50 steps, clipped": ("DDIMScheduler", {}, 50),
    "DDIM, 50 steps, not clipped": ("DDIMScheduler", {"clip_sample": False}, 50),
}


def save(model: diffusers.UNet2DModel, scheduler: object, folder: Path) -> Trained:
    """A model as diffusers saves it, loaded here."""
    diffusers.DDPMPipeline(model, scheduler).save_pretrained(folder)
    return load_pretrained(str(folder))


def asking(
    model: diffusers.UNet2DModel,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A network as a function of x_t and t, told of two classes if it knows any."""
    labels = None if model.class_embedding is None else torch.tensor(LABELS)
    return lambda x, t: model(x, t, labels).sample


def to_last(x: torch.Tensor) -> np.ndarray:
    """Images with their channels last, as this project has them."""
    return x.permute(0, 2, 3, 1).numpy()


def off(ours: jax.Array, theirs: torch.Tensor) -> float:
    """The largest difference, over the largest number, or over 1 if that is less."""
    exact = to_last(theirs)
    return float(np.abs(np.asarray(ours) - exact).max() / max(np.abs(exact).max(), 1))


def answers(model: diffusers.UNet2DModel, trained: Trained) -> float:
    """How far apart two networks are."""
    x, t = inputs(model)
    with torch.no_grad():
        theirs = asking(model)(x, t)
    x_t, times = to_last(x), jnp.asarray(t.numpy(), jnp.int32)
    labels = None if model.class_embedding is None else jnp.array(LABELS)
    asked = {} if labels is None else {"labels": labels}
    ours = jax.jit(trained.parts.network)(trained.params, x_t, times, **asked)
    scale = float(theirs.abs().max())
    difference = np.asarray(ours) - to_last(theirs)
    return float(np.abs(difference).max()) / scale


def images(trained: Trained, steps: int) -> jax.Array:
    """Two images of key 0."""
    all_of_them = steps == trained.parts.schedule.num_timesteps
    chain = Chain() if all_of_them else Chain("ddim", steps, trained.spacing)
    if trained.config.model.num_classes is not None:
        chain = chain._replace(label=LABELS)
    parts = labelled(trained.parts, chain, jnp.arange(2))
    sample = jax.jit(chain_of(parts, chain), static_argnames="shape")
    return sample(trained.params, jax.random.key(0), (2, *trained.parts.shape))


def check_exported(trained: Trained, theirs: torch.Tensor, folder: Path) -> float:
    """How far what DDPMPipeline draws from an exported model is from what it drew."""
    export_diffusers(trained, folder)
    pipeline = diffusers.DDPMPipeline.from_pretrained(folder)
    _, loading = diffusers.UNet2DModel.from_pretrained(
        folder / "unet", output_loading_info=True
    )
    assert not any(loading.values()), loading
    if pipeline.unet.class_embedding is None:  # no pipeline passes labels on
        called = pipeline(num_inference_steps=2, output_type="np").images
        assert np.isfinite(called).all()
        assert called.shape == (1, *to_last(theirs).shape[1:])
    again = draw(asking(pipeline.unet), theirs.shape, pipeline.scheduler)
    return float((again - theirs).abs().max() / max(float(theirs.abs().max()), 1))


def check_trained_here() -> None:
    """Prints how far diffusers' images of a model trained here are from ours."""
    trained = load_pretrained(str(TRAINED))
    with tempfile.TemporaryDirectory() as folder:
        export_diffusers(trained, Path(folder) / "out")
        pipeline = diffusers.DDPMPipeline.from_pretrained(Path(folder) / "out")
        unet = pipeline.unet.eval()
        theirs = draw(asking(unet), inputs(unet)[0].shape, pipeline.scheduler)
    steps = trained.parts.schedule.num_timesteps
    x_0 = images(trained, steps)
    apart = np.abs(np.asarray(to_uint8(x_0), int) - to_uint8(to_last(theirs)))
    print(f"{TRAINED.parent.name}: {steps} steps: {off(x_0, theirs):.1e}")
    print(f"{(apart == 0).mean():.2%} of its uint8 the same, at most {apart.max()} off")


def main() -> None:
    """Prints a table."""
    for name in sys.argv[1:] or CASES:
        model = make_model(name)
        with tempfile.TemporaryDirectory() as folder:
            trained = save(model, diffusers.DDPMScheduler(), Path(folder))
        print(f"{name}: answer {answers(model, trained):.1e}", flush=True)
        for chain, (kind, arguments, steps) in CHAINS.items():
            scheduler = getattr(diffusers, kind)(**arguments)
            theirs = draw(asking(model), inputs(model)[0].shape, scheduler, steps)
            with tempfile.TemporaryDirectory() as folder:
                trained = save(model, scheduler, Path(folder) / "in")
                line = f"{name}: {chain}: {off(images(trained, steps), theirs):.1e}"
                if kind == "DDPMScheduler":
                    again = check_exported(trained, theirs, Path(folder) / "out")
                    line += f", exported {again:.1e}"
            print(line, flush=True)
    if not sys.argv[1:]:
        check_trained_here()
    print(
        f"torch {torch.__version__}, diffusers {diffusers.__version__}", jax.__version__
    )


if __name__ == "__main__":
    main()
