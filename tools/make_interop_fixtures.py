"""What diffusers answers and draws, for tests/test_diffusers_folder.py to compare with.

Needs torch and diffusers beside the project; run it in an environment of its own:

    python tools/make_interop_fixtures.py

Weights come of a formula, tests/torch_weights.py, and the noise of a chain is this
project's own, so that a fixture is configs, shapes and small arrays.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import diffusers
import jax
import numpy as np
import torch

from ddpm_jax import keys as per_image

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from torch_weights import made_up  # noqa: E402, as it is no package

OUT = ROOT / "tests/fixtures/diffusers"
# What the published configs have, and the defaults of diffusers do not.
PAPER = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 2,
}


def unet(
    widths: tuple[int, ...], attends: tuple[int, ...], **changed: object
) -> dict[str, Any]:
    """The arguments of a UNet2DModel of the paper with attention in some levels."""
    levels = range(len(widths))
    down = [f"{'Attn' * (i in attends)}DownBlock2D" for i in levels]
    up = [f"{'Attn' * (i in attends)}UpBlock2D" for i in reversed(levels)]
    blocks = {"down_block_types": down, "up_block_types": up}
    return {**PAPER, "block_out_channels": widths, **blocks, **changed}


ONE = {"layers_per_block": 1}  # block on each level, as compiling takes the tests long
GRAY = {"in_channels": 1, "out_channels": 1}
CASES: dict[str, dict[str, Any]] = {
    "cifar": unet((8, 16, 16, 16), (1,), sample_size=16),
    "six_levels": unet((4, 4, 8, 8, 16, 16), (4,), sample_size=32, **ONE),
    "gray": unet((8, 16), (), sample_size=32, **GRAY, **ONE),
    "heads": unet((8, 16), (1,), sample_size=(4, 6), attention_head_dim=4, **ONE),
    "classes": unet((8,), (0,), sample_size=4, num_class_embeds=5, **ONE),
    "cosines_first": unet((8,), (), sample_size=4, flip_sin_to_cos=True, **ONE),
}
# As networks of diffusers' own examples are; but for an epsilon that shows.
CASES["defaults"] = {
    **unet((8, 16), (1,), sample_size=8, **ONE),
    "attention_head_dim": 8,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "norm_eps": 0.03,
}
SHAPE = 2, 1, 3, 2  # of what the chains draw
SHORT = {"num_train_timesteps": 12, "beta_start": 0.01, "beta_end": 0.3}
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {"variance_type": "fixed_large"}),
    "ddpm_leading": ("DDPMScheduler", {"variance_type": "fixed_large"}),
    "ddpm_linspace": ("DDPMScheduler", {"timestep_spacing": "linspace"}),
    "ddpm_trailing": ("DDPMScheduler", {"timestep_spacing": "trailing"}),
    "small": ("DDPMScheduler", {"clip_sample": False}),
    "v_cosine": (
        "DDPMScheduler",
        {"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2"},
    ),
    "x_0_quad": (
        "DDPMScheduler",
        {"prediction_type": "sample", "beta_schedule": "scaled_linear"},
    ),
    "zero_snr": (
        "DDPMScheduler",
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ),
    "trained_betas": (
        "DDPMScheduler",
        {"trained_betas": np.append(np.linspace(0.01, 0.3, 6), [0.3] * 6).tolist()},
    ),
    "ddim": ("DDIMScheduler", {}),
    # Where the steps divide T, as here; else theirs do not end where the next begins.
    "ddim_trailing": ("DDIMScheduler", {"timestep_spacing": "trailing"}),
    "ddim_unclipped": ("DDIMScheduler", {"clip_sample": False}),
}
STEPS = {
    **{name: 4 for name, (kind, _) in SCHEDULERS.items() if kind == "DDIMScheduler"},
    **{"ddpm_leading": 4, "ddpm_linspace": 5, "ddpm_trailing": 5},
}
"""Of the chains that do not take all."""


def make_model(name: str) -> diffusers.UNet2DModel:
    """The network of a case, with made-up weights."""
    model = diffusers.UNet2DModel(**CASES[name]).eval()
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    weights = {key: torch.tensor(value) for key, value in made_up(shapes).items()}
    model.load_state_dict(weights)
    return model


def inputs(model: diffusers.UNet2DModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of noise, and their t."""
    size = model.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    shape = 2, model.config.in_channels, height, width
    x = np.random.Generator(np.random.Philox(0)).random(shape) * 4 - 2
    return torch.tensor(x, dtype=torch.float32), torch.tensor([0, 700])


def noise(shape: tuple[int, ...], number: int) -> torch.Tensor:
    """The noise of step t, or x_T for T, that `ddpm_sample` draws from key 0."""
    batch, channels, height, width = shape
    keys = per_image.image_keys(jax.random.key(0), batch)
    images = per_image.normal(
        per_image.fold_in(keys, number), (height, width, channels)
    )
    return torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)


def formula(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """What the chains of the tests ask, in the place of a network."""
    return torch.tanh(x) * (1 - float(t) / 40)


def draw(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    scheduler: diffusers.SchedulerMixin,
    num_steps: int | None = None,
) -> torch.Tensor:
    """Draws images of a shape with a scheduler and this project's noise."""
    num_timesteps = scheduler.config.num_train_timesteps
    scheduler.set_timesteps(num_steps or num_timesteps)
    x = noise(shape, num_timesteps)
    for t in scheduler.timesteps:
        with torch.no_grad():
            answer = model(x, t)
        if isinstance(scheduler, diffusers.DDIMScheduler):
            # Else eps is not derived again after clipping.
            x = scheduler.step(answer, t, x, use_clipped_model_output=True).prev_sample
            continue
        # The scheduler draws its own noise, for which ours is put in.
        z = noise(shape, int(t))
        module = diffusers.schedulers.scheduling_ddpm
        with mock.patch.object(module, "randn_tensor", lambda *_, z=z, **__: z):
            x = scheduler.step(answer, t, x).prev_sample
    return x


def write(name: str, model: diffusers.UNet2DModel, folder: Path) -> None:
    """Writes config and shapes of a case, and what it answers."""
    config = json.loads(model.to_json_string())
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    text = json.dumps({"config": config, "shapes": shapes}, separators=(",", ":"))
    (folder / f"{name}.json").write_text(text + "\n")
    x, t = inputs(model)
    labels = None if model.class_embedding is None else torch.tensor([4, 1])
    with torch.no_grad():
        eps = model(x, t, labels).sample
    np.savez_compressed(folder / f"{name}.npz", x=x, t=t, eps=eps)


def main() -> None:
    """Writes the fixtures."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in CASES:
        write(name, make_model(name), OUT)
    chains, configs = {}, {}
    for name, (kind, arguments) in SCHEDULERS.items():
        scheduler = getattr(diffusers, kind)(**SHORT, **arguments)
        chains[name] = draw(formula, SHAPE, scheduler, STEPS.get(name)).numpy()
        configs[name] = json.loads(scheduler.to_json_string())
    np.savez_compressed(OUT / "chains.npz", **chains)
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    said = {"versions": versions, "schedulers": configs, "steps": STEPS}
    text = json.dumps(said, indent=1)
    (OUT / "schedulers.json").write_text(text + "\n")
    size = sum(path.stat().st_size for path in OUT.iterdir())
    print(f"{len(CASES)} networks, {len(chains)} chains, {size} bytes, {versions}")


if __name__ == "__main__":
    main()
