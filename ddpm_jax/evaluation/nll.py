"""The metric nll of evaluate.py: the variational bound of a data set, and its files."""

from functools import partial
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.build import Parts
from ddpm_jax.build import conditioned
from ddpm_jax.evaluation.image_rows import measured_rows
from ddpm_jax.evaluation.task import Measured
from ddpm_jax.evaluation.task import Number
from ddpm_jax.evaluation.task import Task
from ddpm_jax.evaluation.task import digest
from ddpm_jax.evaluation.task import number
from ddpm_jax.images import to_model_range
from ddpm_jax.likelihood import bits_per_dim
from ddpm_jax.loading import weights_identity
from ddpm_jax.plots import plot_rate_distortion
from ddpm_jax.rate_distortion import Bound
from ddpm_jax.rate_distortion import merge_terms
from ddpm_jax.rate_distortion import moments_of_terms
from ddpm_jax.rate_distortion import rate_distortion
from ddpm_jax.rate_distortion import summarise
from ddpm_jax.rate_distortion import term_table
from ddpm_jax.tables import write_csv

ROWS = "nll"


def protocol(task: Task) -> dict[str, Any]:
    """What nll is measured of, and how."""
    settings, parts = task.settings, task.trained.parts
    return {
        **weights_identity(task.trained),
        **task.measured.protocol,
        "terms": parts.schedule.num_timesteps + 1,
        "noise draws a term": settings.draws,
        "cdf of the decoder": settings.cdf,
        "predicted x_0 clipped": parts.sampler["clip_x0"],
        "seed": settings.seed,
        **task.conditioning(),
    }


def measure(task: Task) -> Measured:
    """The bound, its parts, a table of its terms and the rate-distortion curve."""
    parts, settings = task.trained.parts, task.settings
    function = partial(image_terms, parts=parts, draws=settings.draws, cdf=settings.cdf)
    of = protocol(task)
    fields = row_type(parts.schedule.num_timesteps)
    rows = measured_rows(task, ROWS, of, function, fields)
    moments = reduce(
        merge_terms,
        (moments_of_terms(*(part[x] for x in fields.names or ())) for part in rows),
    )
    curve, end = rate_distortion(moments), f"{settings.split}_{digest(of)}"
    files = [
        write_csv(task.out / f"nll_terms_{end}.csv", term_table(moments)),
        write_csv(task.out / f"rate_distortion_{end}.csv", curve),
        *plot_rate_distortion(task.out / f"rate_distortion_{end}.png", curve),
    ]
    return Measured(numbers(summarise(moments)), files)


def row_type(num_timesteps: int) -> np.dtype[Any]:
    """What is kept of an image: the arguments of `moments_of_terms`."""
    terms = ("<f4", (num_timesteps,))
    fields = [("prior", "<f4"), ("terms", *terms), ("mse", *terms), ("noise", "<f4")]
    return np.dtype(fields)


def image_terms(
    shared: tuple[object, jax.Array],
    rows: dict[str, jax.Array],
    *,
    parts: Parts,
    draws: int,
    cdf: str,
) -> dict[str, jax.Array]:
    """The terms of uint8 images [n, H, W, C], as fields of a row: means over draws.

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
    bound = terms.terms.sum(axis=2)
    alone = bound.var(axis=1, ddof=1) if draws > 1 else jnp.full(len(bound), jnp.nan)
    return {
        "prior": terms.prior,
        "terms": terms.terms.mean(axis=1),
        "mse": terms.mse.mean(axis=1),
        "noise": alone / draws,
    }


def numbers(bound: Bound) -> list[Number]:
    """The parts of a bound, as they are printed."""
    parts = [
        number("bits per dimension", bound.total, "bits/dim"),
        number("rate", bound.rate, "bits/dim"),
        number("distortion", bound.distortion, "bits/dim"),
        number("prior", bound.prior, "bits/dim"),
        number("RMSE", bound.rmse, "on the scale of 0..255"),
    ]
    if not np.isnan(bound.noise_error):
        share = Number("error by noise alone", bound.noise_error, None, "bits/dim")
        parts.append(share)
    return parts
