"""What this project aims at, and which number of which benchmark tells."""

from typing import Any
from typing import NamedTuple

Where = dict[str, Any]
"""Values that a row of results must have."""

RATIO = "{ratio:.3f} ({low:.3f} to {high:.3f})"
TRAIN = {"kind": "train", "ch": 128, "fastest": True}
SAMPLE = {"kind": "sample", "ch": 128, "fastest": True}
NARROW = {"kind": "sample", "ch": 32, "batch_size": 1, "worker": "diffusers-pipeline"}
FP32, BF16 = {"dtype": "float32"}, {"dtype": "bfloat16"}


class Target(NamedTuple):
    """A bound on a number, on a CPU and on a GPU; a bound may be missing."""

    what: str
    at_most: tuple[str, str]
    benchmark: str
    template: str
    cpu: Where
    gpu: tuple[Where, ...] = ()


TARGETS = (
    Target(
        "train step, batch 8 (GPU: 128 and 512), over the fastest PyTorch's",
        ("<= 1.05", "<= 0.85"),
        "compare",
        RATIO,
        {**TRAIN, **FP32, "batch_size": 8},
        tuple({**TRAIN, **BF16, "batch_size": size} for size in (128, 512)),
    ),
    Target(
        "sampling step, batch 4 (GPU: 256), over the fastest PyTorch's",
        ("<= 1.00", "<= 0.80"),
        "compare",
        RATIO,
        {**SAMPLE, **FP32, "batch_size": 4},
        ({**SAMPLE, **BF16, "batch_size": 256},),
    ),
    Target(
        "sampling step, batch 16, over the fastest PyTorch's",
        ("<= 1.00", ""),
        "compare",
        RATIO,
        {**SAMPLE, **FP32, "batch_size": 16},
    ),
    Target(
        "sampling step, ch 32, batch 1, over DDPMPipeline's as shipped",
        ("<= 0.50", "<= 0.40"),
        "compare",
        RATIO,
        {**NARROW, **FP32},
        ({**NARROW, **BF16},),
    ),
    Target(
        "share of the matrix-multiply rate in the train step (GPU: the best batch)",
        (">= 60 %", ">= 40 %"),
        "train_step",
        "{share:.0%}",
        {"ch": 128, "batch_size": 8, "accumulate": 1, "remat": "no", **FP32},
        ({"ch": 128, "best": True, **BF16},),
    ),
    Target(
        "share of the train step that waits for input",
        ("< 2 %", "< 2 %"),
        "input",
        "{wait_share:.2%}",
        {"ch": 128},
        ({"ch": 128},),
    ),
    Target(
        "import ddpm_jax",
        ("< 1.0 s", ""),
        "startup",
        "{import_s:.2f} s",
        {"what": "import ddpm_jax"},
    ),
    Target(
        "first step of the CIFAR net, warm compilation cache",
        ("< 5 s", ""),
        "startup",
        "{seconds:.2f} s",
        {"what": "train step alone, warm cache", "ch": 128},
    ),
    Target(
        "peak memory of training, batch 8, over PyTorch's (eager)",
        ("<= 1.5", "<= 1.1"),
        "memory",
        "{ratio:.2f}",
        {"worker": "diffusers-eager", "ch": 128, "batch_size": 8, **FP32},
        ({"worker": "diffusers-eager", "ch": 128, "batch_size": 8, **BF16},),
    ),
)
