"""The metric nll_ode of evaluate.py: the exact likelihood of a data set, by the ODE."""

from functools import partial
from typing import Any

import jax
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.build import Parts
from ddpm_jax.build import conditioned
from ddpm_jax.dequantisation import bits_of
from ddpm_jax.dequantisation import dequantise
from ddpm_jax.evaluation.image_rows import measured_rows
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.evaluation.task import Measured
from ddpm_jax.evaluation.task import Number
from ddpm_jax.evaluation.task import Task
from ddpm_jax.evaluation.task import number
from ddpm_jax.images import to_model_range
from ddpm_jax.loading import weights_identity
from ddpm_jax.ode_likelihood import FlowDensity
from ddpm_jax.ode_likelihood import check_options
from ddpm_jax.ode_likelihood import import_diffrax
from ddpm_jax.ode_likelihood import ode_log_density
from ddpm_jax.rate_distortion import estimate

ROWS = "nll_ode"
FIELDS = np.dtype([("bits", "<f4"), ("steps", "<i4")])

LEAST_TOLERANCE = 1e-7
"""Of the solver; steps of less would never be small enough."""


def protocol(task: Task) -> dict[str, Any]:
    """What nll_ode is measured of, and how.

    Raises:
      ValueError: if the model can't be asked between whole t.
      ModuleNotFoundError: if diffrax is not installed.
    """
    settings = task.settings
    check(task)
    probes = {"probes": settings.probes} if settings.trace == "hutchinson" else {}
    return {
        **weights_identity(task.trained),
        **task.measured.protocol,
        "dequantisation": "uniform, one draw",
        "flow": "log alpha_bar linear between whole t, down to t = 0",
        "solver": "Tsit5",
        "tolerance": settings.tolerance,
        "trace": settings.trace,
        **probes,
        "predicted x_0 clipped": False,
        "seed": settings.seed,
        **task.conditioning(),
    }


def check(task: Task) -> None:
    """Raises ValueError or ModuleNotFoundError if there is no such likelihood."""
    trained, settings = task.trained, task.settings
    prediction = trained.config.objective.prediction
    if prediction not in ("eps", "x_0"):
        raise ValueError(
            f"nll_ode asks the model between whole t, where a prediction of "
            f"{prediction!r} has no tables; take nll, or a model of eps or x_0"
        )
    if not LEAST_TOLERANCE <= settings.tolerance < 1:
        raise ValueError(
            f"--tolerance is {settings.tolerance}; give one such as 1e-5, and at least "
            f"{LEAST_TOLERANCE:g}, as float32 knows no less"
        )
    if settings.trace == "exact" and settings.probes > 1:
        raise ValueError(
            f"--probes is {settings.probes}, the random vectors of --trace hutchinson, "
            "and the trace is exact; leave out one of the two"
        )
    import_diffrax()
    check_options(trained.parts.schedule, settings.trace, settings.probes, 0.0)


def measure(task: Task) -> Measured:
    """The likelihood, and how many steps of the solver it took."""
    function = partial(image_bits, parts=task.trained.parts, settings=task.settings)
    parts = measured_rows(task, ROWS, protocol(task), function, FIELDS)
    rows = np.concatenate(list(parts))
    lost = np.isnan(rows["bits"])
    if lost.any():
        raise ArithmeticError(
            f"the solver did not come to the end for {lost.sum()} of {lost.size} "
            "images; give a larger --tolerance"
        )
    bits = number("bits per dimension", estimate(rows["bits"]), "bits/dim")
    steps = Number("steps of the solver", float(rows["steps"].mean()), None, "")
    return Measured([bits, steps], [])


def image_bits(
    shared: tuple[object, jax.Array],
    rows: dict[str, jax.Array],
    *,
    parts: Parts,
    settings: Settings,
) -> dict[str, jax.Array]:
    """Bits/dim of uint8 images [n, H, W, C], as fields of a row.

    rows is `image_rows.examples`; shared is (params, key); image i draws from
    fold_in(key, i).
    """
    params, key = shared
    keys = per_image.fold_in_each(key, rows["index"])
    x_0 = to_model_range(rows["image"])

    def solve(key: jax.Array, x: jax.Array, label: jax.Array | None) -> FlowDensity:
        model = parts if label is None else conditioned(parts, label[None])
        density = ode_log_density(
            params,
            key[None],
            x[None],
            schedule=parts.schedule,
            eps_fn=model.sampler.get("eps_fn"),
            x0_fn=model.sampler.get("x0_fn"),
            trace=settings.trace,
            probes=settings.probes,
            tolerance=settings.tolerance,
        )
        return FlowDensity(*(leaf[0] for leaf in density))

    # One at a time, since each is solved alone, and a label must go with its image.
    density = jax.vmap(solve)(keys, dequantise(keys, x_0), rows.get("label"))
    bits = bits_of(density.log_density, x_0[0].size)
    return {"bits": bits, "steps": density.num_steps}
