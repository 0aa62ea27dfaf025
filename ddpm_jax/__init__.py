"""Denoising Diffusion Probabilistic Models (Ho et al. 2020) in JAX."""

from ddpm_jax.diffusion import predict_eps
from ddpm_jax.diffusion import predict_x0
from ddpm_jax.diffusion import predict_x0_from_mean
from ddpm_jax.diffusion import q_posterior
from ddpm_jax.diffusion import q_sample
from ddpm_jax.keys import image_keys
from ddpm_jax.losses import mean_loss
from ddpm_jax.losses import simple_loss
from ddpm_jax.losses import vlb_loss
from ddpm_jax.losses import x0_loss
from ddpm_jax.reverse import reverse_step
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.samplers.ddpm import ddpm_sample_frames
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import Schedule
from ddpm_jax.schedules import make_schedule

__all__ = [
    "SCHEDULES",
    "Schedule",
    "ddpm_sample",
    "ddpm_sample_frames",
    "image_keys",
    "make_schedule",
    "mean_loss",
    "predict_eps",
    "predict_x0",
    "predict_x0_from_mean",
    "q_posterior",
    "q_sample",
    "reverse_step",
    "simple_loss",
    "vlb_loss",
    "x0_loss",
]
