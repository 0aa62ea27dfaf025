"""Draws with diffusers' schedulers, for tests/test_samplers_diffusers.py to draw again.

Needs torch and diffusers, which the project does not; run it in an environment of its
own, where the two are of the versions that the file in tests/fixtures names:

    python tools/make_sampler_fixtures.py

The model is a formula, so that both sides have it; conventions that differ between the
projects are settled here, by the arguments of each scheduler.
"""

from pathlib import Path

import diffusers
import numpy as np
import torch

OUT = Path(__file__).resolve().parents[1] / "tests/fixtures/diffusers_samplers.npz"
PAPER = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
DPMPP = {"algorithm_type": "dpmsolver++", "timestep_spacing": "linspace"}
THRESHOLD = {"thresholding": True, "dynamic_thresholding_ratio": 0.8}
# Name: scheduler, its arguments, steps. "leading" is the only spacing in which
# DDIMScheduler's next t is the next of its list.
CASES: dict[str, tuple[str, dict, int]] = {
    "ddim_clipped": ("DDIMScheduler", {"clip_sample": True}, 10),
    "ddim": ("DDIMScheduler", {"clip_sample": False}, 20),
    "dpmpp_1": ("DPMSolverMultistepScheduler", {**DPMPP, "solver_order": 1}, 10),
    "dpmpp_2": ("DPMSolverMultistepScheduler", {**DPMPP, "solver_order": 2}, 10),
    "dpmpp_2_threshold": (
        "DPMSolverMultistepScheduler",
        {**DPMPP, **THRESHOLD, "solver_order": 2, "sample_max_value": 1e9},
        10,
    ),
    "dpmpp_3": ("DPMSolverMultistepScheduler", {**DPMPP, "solver_order": 3}, 10),
    # From 15 steps on diffusers lowers the order of the very last step alone.
    "dpmpp_3_long": ("DPMSolverMultistepScheduler", {**DPMPP, "solver_order": 3}, 20),
    "unipc_1": ("UniPCMultistepScheduler", {"solver_order": 1}, 10),
    "unipc_2": ("UniPCMultistepScheduler", {"solver_order": 2}, 10),
    "unipc_3": ("UniPCMultistepScheduler", {"solver_order": 3}, 10),
    "heun": ("HeunDiscreteScheduler", {}, 10),
}


def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """What both sides take for a network: eps."""
    return torch.tanh(x) * (1 - float(t) / 4000)


def draw(name: str, x_T: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Returns the falling times of a case, without the end, and its x_0."""
    kind, arguments, num_steps = CASES[name]
    scheduler = getattr(diffusers, kind)(**PAPER, **arguments)
    scheduler.set_timesteps(num_steps)
    x, step_arguments = x_T, {}
    if kind == "DDIMScheduler":  # else eps is not derived again after clipping
        step_arguments = {"use_clipped_model_output": True}
    if kind == "HeunDiscreteScheduler":  # its x is x_t / alpha
        x = x_T * (scheduler.sigmas[0].double() ** 2 + 1) ** 0.5
    for t in scheduler.timesteps:
        eps = model(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(eps, t, x, **step_arguments).prev_sample
    times = np.unique(scheduler.timesteps.numpy())[::-1].astype(np.int32)
    return times, x.numpy()


def karras_sigmas(num_steps: int) -> np.ndarray:
    """Their sigma / alpha of Karras' spacing, without the 0 at the end."""
    scheduler = diffusers.DPMSolverMultistepScheduler(**PAPER, use_karras_sigmas=True)
    scheduler.set_timesteps(num_steps)
    return scheduler.sigmas.numpy()[:-1]


def main() -> None:
    """Writes the fixtures."""
    x_T = torch.tensor(np.random.default_rng(0).normal(size=(4, 6, 1)))
    arrays = {"x_T": x_T.numpy(), "karras_sigmas": karras_sigmas(10)}
    for name in CASES:
        arrays[f"{name}/times"], arrays[f"{name}/x_0"] = draw(name, x_T)
    versions = f"diffusers {diffusers.__version__}, torch {torch.__version__}"
    OUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(OUT, versions=versions, **arrays)
    print(f"{OUT.name}: {len(CASES)} cases, {OUT.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
