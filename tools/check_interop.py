"""Draws whole chains with diffusers and with this project, and compares the images.

Needs torch and diffusers beside the project; run it in an environment of its own:

    python tools/check_interop.py

The numbers of docs/pretrained.md are what it prints: for each network the largest
difference in what it answers, over the largest answer, and in the images of chains of
1000 steps and of 50, from the same x_T with the same noise. Exported models are loaded
by DDPMPipeline, which is called once, with no tensor missing, and draw the same images.
Last, a model of docs/ that was trained here is drawn from so. Names of networks as
arguments, or `trained`, choose a part.
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
from ddpm_jax.exporting import export_diffusers
from ddpm_jax.images import to_uint8
from ddpm_jax.labels import labelled
from ddpm_jax.loading import Trained
from ddpm_jax.loading import load_pretrained

TRAINED = Path(__file__).resolve().parents[1] / "docs/cifar_small/ema.safetensors"
LABELS = 4, 1  # of the two images, where a network knows classes
SAMPLERS = "ddpm", "ddim"
CHAINS: dict[str, tuple[str, dict[str, object], int]] = {
    "1000 steps, clipped": ("DDPMScheduler", {"variance_type": "fixed_large"}, 1000),
    "1000 steps, not clipped": ("DDPMScheduler", {"clip_sample": False}, 1000),
    "DDIM, 50 steps, clipped": ("DDIMScheduler", {}, 50),
    "DDIM, 50 steps, not clipped": ("DDIMScheduler", {"clip_sample": False}, 50),
}
SPACINGS = "leading", "linspace", "trailing"
CHAINS |= {
    f"{kind[:4]}, 50 steps, {spacing}": (kind, {"timestep_spacing": spacing}, 50)
    for kind in ("DDPMScheduler", "DDIMScheduler")
    for spacing in SPACINGS
    if (kind, spacing) != ("DDIMScheduler", "leading")  # which is the default
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


def images(trained: Trained, steps: int, chain: Chain | None = None) -> jax.Array:
    """Two images of key 0, by the model's own chain if none is given."""
    all_of_them = steps == trained.parts.schedule.num_timesteps
    if chain is None:
        own = trained.sampler, None if all_of_them else steps
        chain = Chain(*own, "uniform" if all_of_them else trained.spacing)
    if trained.config.model.num_classes is not None:
        chain = chain._replace(label=LABELS)
    parts = labelled(trained.parts, jnp.arange(2), chain.label, chain.guidance)
    sample = jax.jit(chain_of(parts, chain), static_argnames="shape")
    return sample(trained.params, jax.random.key(0), (2, *trained.parts.shape))


def check_exported(
    trained: Trained, theirs: torch.Tensor, folder: Path, steps: int
) -> float:
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
    again = draw(asking(pipeline.unet), theirs.shape, pipeline.scheduler, steps)
    return float((again - theirs).abs().max() / max(float(theirs.abs().max()), 1))


def check_trained_here() -> None:
    """Prints how far diffusers' images of a model trained here are from ours.

    Those of short chains are compared with sample.py's, `--steps 50`, whatever the
    scheduler that diffusers is given.
    """
    trained = load_pretrained(str(TRAINED))
    ours = {sampler: images(trained, 50, Chain(sampler, 50)) for sampler in SAMPLERS}
    all_steps = trained.parts.schedule.num_timesteps
    for sampler in SAMPLERS:
        with tempfile.TemporaryDirectory() as folder:
            export_diffusers(trained, Path(folder) / "out", sampler)
            pipeline = diffusers.DiffusionPipeline.from_pretrained(Path(folder) / "out")
        unet, own = pipeline.unet.eval(), pipeline.scheduler
        if sampler == "ddpm":
            theirs = draw(asking(unet), inputs(unet)[0].shape, own)
            report(f"ddpm, {all_steps} steps", images(trained, all_steps), theirs)
        for spacing in SPACINGS:
            scheduler = type(own).from_config(own.config, timestep_spacing=spacing)
            theirs = draw(asking(unet), inputs(unet)[0].shape, scheduler, 50)
            chosen = " (exported)" * (spacing == own.config.timestep_spacing)
            report(f"{sampler}, 50 steps, {spacing}{chosen}", ours[sampler], theirs)
    trailing = images(trained, 50, Chain("ddim", 50, "trailing"))
    report("the last, and --spacing trailing", trailing, theirs)


def report(name: str, ours: jax.Array, theirs: torch.Tensor) -> None:
    """Prints how far two images of the trained model are from diffusers'."""
    apart = np.abs(np.asarray(to_uint8(ours), int) - to_uint8(to_last(theirs)))
    line = f"{TRAINED.parent.name}: {name}: {off(ours, theirs):.1e}"
    line += f", {(apart == 0).mean():.2%} of its uint8 the same, "
    print(line + f"at most {apart.max()} off", flush=True)


def main() -> None:
    """Prints a table."""
    asked = sys.argv[1:] or [*CASES, "trained"]
    for name in [name for name in asked if name in CASES]:
        model = make_model(name)
        with tempfile.TemporaryDirectory() as folder:
            trained = save(model, diffusers.DDPMScheduler(), Path(folder))
        print(f"{name}: answer {answers(model, trained):.1e}", flush=True)
        for chain, (kind, arguments, steps) in CHAINS.items():
            scheduler = getattr(diffusers, kind)(**arguments)
            theirs = draw(asking(model), inputs(model)[0].shape, scheduler, steps)
            with tempfile.TemporaryDirectory() as folder:
                trained = save(model, scheduler, Path(folder) / "in")
                apart = off(images(trained, steps), theirs)
                again = check_exported(trained, theirs, Path(folder) / "out", steps)
            line = f"{name}: {chain}: {apart:.1e}, exported {again:.1e}"
            print(line, flush=True)
    if "trained" in asked:
        check_trained_here()
    print(
        f"torch {torch.__version__}, diffusers {diffusers.__version__}", jax.__version__
    )


if __name__ == "__main__":
    main()
