"""Denoising Diffusion Probabilistic Models (Ho et al. 2020) in JAX."""

from ddpm_jax.diffusion import predict_eps
from ddpm_jax.diffusion import predict_eps_from_v
from ddpm_jax.diffusion import predict_v
from ddpm_jax.diffusion import predict_x0
from ddpm_jax.diffusion import predict_x0_from_mean
from ddpm_jax.diffusion import predict_x0_from_v
from ddpm_jax.diffusion import q_posterior
from ddpm_jax.diffusion import q_sample
from ddpm_jax.guidance import classifier_eps
from ddpm_jax.guidance import classifier_free_eps
from ddpm_jax.guidance import classifier_x0
from ddpm_jax.keys import image_keys
from ddpm_jax.likelihood import bits_per_dim
from ddpm_jax.losses import mean_loss
from ddpm_jax.losses import simple_loss
from ddpm_jax.losses import v_loss
from ddpm_jax.losses import vlb_loss
from ddpm_jax.losses import x0_loss
from ddpm_jax.ode_likelihood import ode_log_density
from ddpm_jax.reverse import reverse_step
from ddpm_jax.samplers import SAMPLERS
from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.samplers.ddim import ddim_sample
from ddpm_jax.samplers.ddim_invert import ddim_invert
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.samplers.ddpm import ddpm_sample_frames
from ddpm_jax.samplers.dpmpp import dpmpp_sample
from ddpm_jax.samplers.edm import edm_sample
from ddpm_jax.samplers.unipc import unipc_sample
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import Schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.spacings import SPACINGS
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

__all__ = [
    "SAMPLERS",
    "SCHEDULES",
    "SPACINGS",
    "Schedule",
    "TimeGrid",
    "ancestral_sample",
    "bits_per_dim",
    "classifier_eps",
    "classifier_x0",
    "classifier_free_eps",
    "ddim_invert",
    "ddim_sample",
    "ddpm_sample",
    "ddpm_sample_frames",
    "dpmpp_sample",
    "edm_sample",
    "image_keys",
    "make_schedule",
    "make_time_grid",
    "mean_loss",
    "ode_log_density",
    "predict_eps",
    "predict_eps_from_v",
    "predict_v",
    "predict_x0",
    "predict_x0_from_mean",
    "predict_x0_from_v",
    "q_posterior",
    "q_sample",
    "reverse_step",
    "simple_loss",
    "time_grid_at",
    "unipc_sample",
    "v_loss",
    "vlb_loss",
    "x0_loss",
]
