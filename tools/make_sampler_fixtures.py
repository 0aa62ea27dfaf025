"""Draws with the samplers of other projects, for tests to draw the same again.

Needs torch, and diffusers or k-diffusion, which the project does not; run it in an
environment of its own, where they are of the versions that the files in tests/fixtures
name:

    python tools/make_sampler_fixtures.py diffusers
    python tools/make_sampler_fixtures.py k_diffusion

They are for tests/test_samplers_diffusers.py and tests/test_samplers_k_diffusion.py.
The models are formulas, so that both sides have them; conventions that differ between
the projects are settled here, by the arguments of each sampler.
"""

import importlib.metadata
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

FIXTURES = Path(__file__).resolve().parents[1] / "tests/fixtures"
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
    import diffusers

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
    import diffusers

    scheduler = diffusers.DPMSolverMultistepScheduler(**PAPER, use_karras_sigmas=True)
    scheduler.set_timesteps(num_steps)
    return scheduler.sigmas.numpy()[:-1]


def from_diffusers() -> dict[str, np.ndarray]:
    """The cases of diffusers."""
    x_T = torch.tensor(np.random.default_rng(0).normal(size=(4, 6, 1)))
    arrays = {"x_T": x_T.numpy(), "karras_sigmas": karras_sigmas(10)}
    for name in CASES:
        arrays[f"{name}/times"], arrays[f"{name}/x_0"] = draw(name, x_T)
    return arrays


# Two dimensions, of two normals each: [D, K].
MIXTURE = {
    "weights": np.array([[0.5, 0.5], [0.3, 0.7]]),
    "means": np.array([[0.4, 0.4], [-0.6, 0.5]]),
    "stds": np.array([[0.3, 0.3], [0.3, 0.2]]),
}
STEPS = 12
CHURN = {"s_churn": 40.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 0.0}
# Name: function of k_diffusion.sampling, its arguments. With s_noise 0 the churn goes
# back without adding noise, and with eta 0 what is stochastic is not.
K_CASES: dict[str, tuple[str, dict]] = {
    "euler": ("sample_euler", {}),
    "heun": ("sample_heun", {}),
    "heun_churn": ("sample_heun", CHURN),
    "dpmpp_2m": ("sample_dpmpp_2m", {}),
    "dpmpp_3m": ("sample_dpmpp_3m_sde", {"eta": 0.0, "noise_sampler": 0}),
}


def denoised(y: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """E[x_0 | y] of the mixture, where y = x_0 + sigma n: y is [B, D], sigma [B]."""
    weights, means, stds = map(torch.tensor, MIXTURE.values())
    variance = stds**2 + sigma[:, None, None] ** 2
    gap = y[..., None] - means
    share = (weights.log() - 0.5 * gap**2 / variance - 0.5 * variance.log()).softmax(-1)
    return (share * (means + stds**2 / variance * gap)).sum(-1)


def from_k_diffusion() -> dict[str, np.ndarray]:
    """The cases of k-diffusion, from unit noise times the largest sigma / alpha."""
    from k_diffusion import sampling

    torch.set_default_dtype(torch.float64)  # or their sigmas are float32
    # The betas as a schedule stores them.
    betas = np.linspace(1e-4, 0.02, 1000).astype(np.float32).astype(np.float64)
    log_alpha_bar = np.log1p(-betas).cumsum()
    ratios = np.sqrt(np.expm1(-log_alpha_bar))  # sigma / alpha
    sigmas = sampling.get_sigmas_karras(STEPS, ratios[0], ratios[-1])
    x_T = torch.tensor(np.random.default_rng(0).normal(size=(16, 2)))
    y = x_T * (1 + sigmas[0] ** 2) ** 0.5  # x_T / alpha
    arrays = {**MIXTURE, "x_T": x_T.numpy(), "sigmas": sigmas.numpy()}
    for name, (function, arguments) in K_CASES.items():
        sample = partial(getattr(sampling, function), disable=True, **arguments)
        arrays[f"{name}/x_0"] = sample(denoised, y, sigmas).numpy()
    return arrays


PEERS = {"diffusers": from_diffusers, "k_diffusion": from_k_diffusion}


def main(name: str) -> None:
    """Writes the fixture of a project."""
    arrays = PEERS[name]()
    versions = [
        f"{package} {importlib.metadata.version(package)}"
        for package in (name, "torch")
    ]
    out = FIXTURES / f"{name}_samplers.npz"
    out.parent.mkdir(exist_ok=True)
    np.savez_compressed(out, versions=", ".join(versions), **arrays)
    print(f"{out.name}: {out.stat().st_size} bytes, {', '.join(versions)}")


if __name__ == "__main__":
    main(sys.argv[1])
