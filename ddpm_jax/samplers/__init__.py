"""Reverse chains, one scanned function per sampler, and their names.

Those of `SAMPLERS` are called alike, `(params, keys, shape, *, grid, x_T, **model)`,
whatever else they can be told; model is what `ModelOptions` names, eps_fn or x0_fn and
the rest. grid, shape, functions and numbers are static under `jax.jit`. `ddpm_sample`,
the paper's chain of all T steps, takes a schedule in place of the grid.
"""

from collections.abc import Callable
from functools import partial

import jax

from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.samplers.ddim import ddim_sample
from ddpm_jax.samplers.dpmpp import dpmpp_sample
from ddpm_jax.samplers.edm import edm_sample
from ddpm_jax.samplers.unipc import unipc_sample

SAMPLERS: dict[str, Callable[..., jax.Array]] = {
    "ddpm": ancestral_sample,
    "ddim": ddim_sample,
    "dpmpp_2m": partial(dpmpp_sample, order=2),
    "dpmpp_3m": partial(dpmpp_sample, order=3),
    "unipc_2": partial(unipc_sample, order=2),
    "unipc_3": partial(unipc_sample, order=3),
    "heun": partial(edm_sample, churn=0.0),
    "edm": edm_sample,
}
"""Samplers by name."""
