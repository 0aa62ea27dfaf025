"""The metric nll of evaluate.py: the variational bound of a data set, and its files."""

from functools import partial
from typing import Any

import jax
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.build import Parts
from ddpm_jax.build import conditioned
from ddpm_jax.evaluation.image_rows import measured_rows
from ddpm_jax.evaluation.task import Measured
from ddpm_jax.evaluation.task import Number
from ddpm_jax.evaluation.task import Task
from ddpm_jax.evaluation.task import number
from ddpm_jax.images import to_model_range
from ddpm_jax.likelihood import bits_per_dim
from ddpm_jax.plots import plot_rate_distortion
from ddpm_jax.rate_distortion import Bound
from ddpm_jax.rate_distortion import rate_distortion
from ddpm_jax.rate_distortion import summarise
from ddpm_jax.rate_distortion import term_table
from ddpm_jax.sampling import weights_identity
from ddpm_jax.tables import write_csv

ROWS = "nll"


def identity(task: Task) -> dict[str, Any]:
    """What the terms of an image depend on, beside the model."""
    settings, parts = task.settings, task.trained.parts
    return {
        **task.data_protocol(),
        "noise draws a term": settings.draws,
        "cdf of the decoder": settings.cdf,
        "predicted x_0 clipped": parts.sampler["clip_x0"],
        "seed": settings.seed,
        **task.model_protocol(),
    }


def protocol(task: Task) -> dict[str, Any]:
    """What nll is measured of, and how."""
    return {
        "images": len(task.rows),
        "terms": task.trained.parts.schedule.num_timesteps + 1,
        **identity(task),
    }


def measure(task: Task) -> Measured:
    """The bound, its parts, a table of its terms and the rate-distortion curve."""
    trained, settings = task.trained, task.settings
    shape = (settings.draws, trained.parts.schedule.num_timesteps)
    fields = [("prior", "<f4"), ("terms", "<f4", shape), ("mse", "<f4", shape)]
    function = partial(
        image_terms, parts=trained.parts, draws=settings.draws, cdf=settings.cdf
    )
    kind = weights_identity(trained) | identity(task)
    rows = measured_rows(task, ROWS, kind, function, np.dtype(fields))
    arrays = rows["prior"], rows["terms"], rows["mse"]
    curve = rate_distortion(*arrays)
    files = [
        write_csv(task.out / "nll_terms.csv", term_table(*arrays)),
        write_csv(task.out / "rate_distortion.csv", curve),
        *plot_rate_distortion(task.out / "rate_distortion.png", curve),
    ]
    return Measured(numbers(summarise(*arrays)), files)


def image_terms(
    shared: tuple[object, jax.Array],
    rows: dict[str, jax.Array],
    *,
    parts: Parts,
    draws: int,
    cdf: str,
) -> dict[str, jax.Array]:
    """The terms of uint8 images [n, H, W, C], as fields of a row.

    rows is `image_rows.examples`; shared is (params, key); image i draws from
    fold_in(key, i).
    """
    params, key = shared
    if "label" in rows:
        parts = conditioned(parts, rows["label"])
    terms = bits_per_dim(
        params,
        per_image.fold_in_each(key, rows["index"]),
        to_model_range(rows["image"]),
        schedule=parts.schedule,
        draws=draws,
        cdf=cdf,
        **parts.sampler,
    )
    return terms._asdict()


def numbers(bound: Bound) -> list[Number]:
    """The parts of a bound, as they are printed."""
    found = [
        number("bits per dimension", bound.total, "bits/dim"),
        number("rate", bound.rate, "bits/dim"),
        number("distortion", bound.distortion, "bits/dim"),
        number("prior", bound.prior, "bits/dim"),
        number("RMSE", bound.rmse, "of 255"),
    ]
    if not np.isnan(bound.noise_error):
        share = Number("error by noise alone", bound.noise_error, None, "bits/dim")
        found.append(share)
    return found
