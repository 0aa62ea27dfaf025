"""The configuration of a run: frozen dataclasses of plain data.

A file in configs/ defines `get_config() -> Config`. validation.py reads one and says
in one sentence what is wrong with it; build.py makes of it the network and the
functions that the rest of the program takes. Apart from the training loop, no code
below the scripts sees a Config.
"""

import dataclasses
import json
import os
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

import pydantic
import tyro
from pydantic import Field

from ddpm_jax.data import Dataset
from ddpm_jax.data import load
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import Schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.zero_snr import rescale_zero_snr

STRICT = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Count = Annotated[int, Field(ge=1)]
# jax.random.key takes the lower 32 bits: larger seeds would be others in disguise.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
CountOrZero = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
# The names of SAMPLERS, FITS and EXTRACTORS, which tests hold them to.
Sampler = Literal[
    "ddpm", "ddim", "dpmpp_2m", "dpmpp_3m", "unipc_2", "unipc_3", "heun", "edm"
]
Fit = Literal["crop", "pad", "pad_white", "stretch"]
ExtractorName = Literal["inception", "pixels8", "digits_cnn", "cifar10_cnn"]
# As the file system has it, so that runs/digits/ is runs/digits.
AnyPath = Annotated[str, Field(min_length=1), pydantic.AfterValidator(os.path.normpath)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


@dataclasses.dataclass(frozen=True)
class Process:
    """The forward process: Sec. 2 of Ho et al. (2020)."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    schedule: Literal[
        "linear", "quad", "warmup10", "warmup50", "const", "jsd", "cosine", "sigmoid"
    ] = "linear"
    """How the betas run from beta_start to beta_end."""
    num_timesteps: Annotated[Count, Field(le=1_000_000)] = 1000
    """T, the number of steps."""
    beta_start: Positive = 1e-4
    """The first beta."""
    beta_end: Positive = 0.02
    """The last beta."""
    rescale_zero_snr: bool = False
    """Rescale the betas so that the last step ends in pure noise; not for eps."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """What the network predicts, and what it is trained for: Table 2."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    prediction: Literal["eps", "x_0", "posterior_mean", "v"] = "eps"
    """What the network predicts."""
    loss: Literal["simple", "vlb", "hybrid"] = "simple"
    """Squared error, the variational bound, or the first and a little of the second."""
    variance: Literal["fixed_large", "fixed_small", "learned", "learned_range"] = (
        "fixed_large"
    )
    """Variance of the reverse steps: beta, the posterior's, or the network's."""
    loss_weight: Literal["none", "min_snr", "p2"] = "none"
    """Weight of the squared error at each t."""
    t_sampling: Literal["uniform", "antithetic", "importance"] = "uniform"
    """Which t a training step draws: alone, in pairs t and T - 1 - t, or by loss."""
    self_condition: bool = False
    """Show the network its own last guess of x_0, in half of the training images."""
    clip_x0: bool = True
    """Clip the predicted x_0 to [-1, 1] while sampling."""


@dataclasses.dataclass(frozen=True)
class Model:
    """The U-Net: Sec. B of Ho et al. (2020)."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    ch: Count = 128
    """Channels of the first level."""
    ch_mult: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 2, 2)
    """Channels of each level, as multiples of ch; each level halves the size."""
    num_res_blocks: Count = 2
    """Residual blocks per level on the way down; one more on the way up."""
    attention_resolutions: tuple[Count, ...] = (16,)
    """Heights of the levels whose blocks are followed by self-attention."""
    attention_head_dim: Count | None = None
    """Channels of an attention head; None: one head, as in the paper."""
    dropout: Fraction = 0.1
    """Share of activations dropped in each residual block."""
    num_groups: Count = 32
    """Groups of the group normalisation."""
    norm_epsilon: Positive = 1e-6
    """Added to the variance there."""
    downsample_padding: tuple[Literal[0, 1], Literal[1]] = (0, 1)
    """Pixels before and after an image whose size is halved; PyTorch's are (1, 1)."""
    freq_shift: Literal[0, 1] = 1
    """1: the frequencies of the time embedding end at 1/10000; 0: one step before."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the convolutions; parameters and statistics are float32 always."""
    attention: Literal["xla", "cudnn"] = "xla"
    """Who computes attention; cudnn is NVIDIA's, for bfloat16 and GPUs."""
    remat: bool = False
    """Going backwards, compute each block again instead of keeping it: less memory."""
    num_classes: Count | None = None
    """Classes of the images that the network is told of; None: it takes no labels."""
    precision: Literal["default", "high", "highest"] = "default"
    """Matrix multiplication of float32: default is bf16 on TPU and TF32 on GPU."""


@dataclasses.dataclass(frozen=True)
class Data:
    """The images."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    source: str = "tfds:cifar10"
    """digits, emoji, tfds:NAME, lsun:FOLDER, or a folder, a .zip or an .npz."""
    image_size: tuple[Count, Count] | None = None
    """Height and width in pixels; None: as the source has them."""
    channels: Literal[1, 3, 4] | None = None
    """1 gray, 3 RGB (transparency over white), 4 RGBA; None: as the source has them."""
    fit: Fit = "crop"
    """How images of another shape are brought to image_size."""
    held_out: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the images to hold out; None: the source's own rule."""
    seed: Seed = 0
    """Chooses which images are held out."""
    flip: bool = True
    """Mirror images left to right at random."""


@dataclasses.dataclass(frozen=True)
class Train:
    """The optimiser and its run: Sec. B of Ho et al. (2020)."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    steps: Count = 800_000
    """Updates in all."""
    batch_size: Count = 128
    """Images of one update, over all devices."""
    learning_rate: Positive = 2e-4
    """Adam's, after the warm-up."""
    warmup_steps: CountOrZero = 5000
    """Updates over which the learning rate rises from 0."""
    decay: Literal["none", "cosine"] = "none"
    """What the learning rate does after the warm-up."""
    label_dropout: Fraction = 0.1
    """Share of the images whose label is withheld, so that guidance can be used."""
    accumulate: Count = 1
    """Micro-batches of a device's batch; their gradients are added up: less memory."""
    steps_per_dispatch: Count = 1
    """Updates in one compiled loop, for GPUs and TPUs; slow on a CPU."""
    grad_clip: Positive = 1.0
    """Largest global norm of a gradient."""
    ema_decay: Fraction = 0.9999
    """Decay of the running average of the parameters."""
    seed: Seed = 0
    """Of the parameters, the order of the images, and all noise."""
    init_from: Annotated[AnyPath | None, tyro.conf.arg(aliases=["--init-from"])] = None
    """A model as whose EMA the parameters begin: a run, a .safetensors file, or what
    sample.py takes as --pretrained."""


@dataclasses.dataclass(frozen=True)
class Log:
    """What is written while training, and how often (in steps)."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    every: Count = 100
    """Scalars."""
    eval_every: Count = 2000
    """Loss on held-out images."""
    eval_images: Count = 512
    """Held-out images of one such loss, at the most."""
    sample_every: Count = 20_000
    """A grid of samples."""
    sample_images: Count = 64
    """Samples in that grid."""
    metric_every: Count | None = None
    """Frechet distance of samples of the EMA to the training images; None: never."""
    metric_samples: Annotated[int, Field(ge=2)] = 1000
    """Samples of one such distance; they begin as the same noise each time."""
    metric_extractor: ExtractorName = "inception"
    """Whose features are compared; FID is inception's."""
    metric_sampler: Sampler = "dpmpp_2m"
    """How these samples are drawn, as in sample.py."""
    metric_steps: Count | None = 20
    """Steps of their chain; None: all T."""
    checkpoint_every: Count = 5000
    """A checkpoint."""
    keep: Count = 2
    """Newest checkpoints to keep."""
    keep_period: Count | None = 100_000
    """Keep also those at multiples of this step."""
    keep_best: bool = False
    """Keep also that of the lowest metric or, without one, held-out loss of the EMA."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A run. The defaults are the paper's for CIFAR-10."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = STRICT

    process: Process = Process()
    objective: Objective = Objective()
    model: Model = Model()
    data: Data = Data()
    train: Train = Train()
    log: Log = Log()


def schedule_of(config: Config) -> Schedule:
    """The tables of the config's process."""
    process = config.process
    betas = SCHEDULES[process.schedule](
        process.num_timesteps, process.beta_start, process.beta_end
    )
    if process.rescale_zero_snr:
        betas = rescale_zero_snr(betas)
    return make_schedule(betas)


NOT_GIVEN = "not given"
"""The source of the images of another project's model, which comes without them."""


def dataset_of(data: Data) -> Dataset:
    """The images that a section of a config names; errors as `data.load`."""
    if data.source == NOT_GIVEN:
        raise ValueError(
            "a model of another project comes without its images; give --data"
        )
    return load(
        data.source,
        image_size=data.image_size,
        channels=data.channels,
        fit=data.fit,
        held_out=data.held_out,
        seed=data.seed,
    )


def to_json(config: Config) -> str:
    """The config as JSON, which `validation.from_json` reads back.

    Example:
      >>> to_json(Config()).splitlines()[1]
      '  "process": {'
    """
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def describe(config: Config) -> str:
    """The config in a few lines, one for each section.

    Example:
      >>> print(describe(Config()).splitlines()[0][:60])
      process: schedule=linear num_timesteps=1000 beta_start=0.000
    """
    return "\n".join(
        f"{section}: " + " ".join(f"{name}={value}" for name, value in fields.items())
        for section, fields in dataclasses.asdict(config).items()
    )


def differences(stored: Config, given: Config) -> list[str]:
    """One line for each field in which two configs differ.

    Example:
      >>> differences(Config(), Config(train=Train(seed=1)))
      ['train.seed: 0 -> 1']
    """
    before, after = flatten(stored), flatten(given)
    return [
        f"{name}: {before[name]!r} -> {after[name]!r}"
        for name in after
        if before[name] != after[name]
    ]


def flatten(config: Config) -> dict[str, Any]:
    """The fields of a config by their dotted names."""
    return {
        f"{section}.{field}": value
        for section, fields in dataclasses.asdict(config).items()
        for field, value in fields.items()
    }
