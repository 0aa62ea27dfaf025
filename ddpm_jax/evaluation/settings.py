"""How a model is evaluated: the options of evaluate.py that metrics read."""

import dataclasses
from pathlib import Path
from typing import Literal

from ddpm_jax.command import ChainOptions
from ddpm_jax.config import Fit


@dataclasses.dataclass(frozen=True)
class Settings(ChainOptions):
    """How a model is evaluated; which metrics read an option comes first.

    The chain is of fid, kid, is and pr: it draws their samples.
    """

    seed: int = 0
    """Of all noise."""
    batch_size: int = 64
    """Images at a time."""
    data: str | None = None
    """The images, as in a config's data.source; those of its own run if not given."""
    fit: Fit | None = None
    """How --data of another size is brought to the model's; refused if not given."""
    split: Literal["held_out", "train"] = "held_out"
    """nll, nll_ode: which of them."""
    num: int | None = None
    """nll, nll_ode: how many of them, in an order that is shuffled once for all; all if
    not given."""
    num_samples: int | None = None
    """fid, kid, is, pr: how many samples; 50,000, or all of --samples, if not given."""
    samples: Path | None = None
    """fid, kid, is, pr: measure these, an .npz, a folder or a zip, and draw none."""
    reference: str = "train"
    """fid, kid, pr: the images to compare with, train or held_out; for fid also the
    path of an .npz of their mu and sigma."""
    num_reference: int | None = None
    """fid, kid, pr: how many of those, in the same order; all if not given. Fewer than
    10,000 are in the name of the metric."""
    extractor: str = "inception"
    """fid, kid, is, pr: whose features: inception, pixels8, digits_cnn, cifar10_cnn."""
    weights: Path | None = None
    """The file of the extractor's weights, where it is not the usual one."""
    draws: int = 1
    """nll: draws of the noise for each term of the bound."""
    cdf: Literal["exact", "tanh"] = "exact"
    """nll: the normal CDF of the decoder; tanh is the paper code's approximation."""
    trace: Literal["hutchinson", "exact"] = "hutchinson"
    """nll_ode: how the divergence is had; exact takes a pass for each dimension."""
    probes: int = 1
    """nll_ode: random vectors of Hutchinson's estimate."""
    tolerance: float = 1e-5
    """nll_ode: relative and absolute error that a step of the solver may make."""
