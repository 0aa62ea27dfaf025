"""scheduler_config.json of diffusers, and the fields of a Config that mean the same.

Each key is honoured or refused by name. diffusers computes its tables in float32, this
project in float64: a chain of 1000 steps differs by less than 1e-3 for that.
"""

import numpy as np

from ddpm_jax.interop.kinds import ANY
from ddpm_jax.interop.kinds import FLAG
from ddpm_jax.interop.kinds import NUMBER
from ddpm_jax.interop.kinds import TEXT
from ddpm_jax.interop.kinds import Fields
from ddpm_jax.interop.kinds import Kind
from ddpm_jax.interop.kinds import number
from ddpm_jax.interop.kinds import optional
from ddpm_jax.interop.kinds import refusal
from ddpm_jax.interop.kinds import several
from ddpm_jax.interop.kinds import whole
from ddpm_jax.interop.kinds import with_defaults
from ddpm_jax.schedules import SCHEDULES

DEFAULTS: Fields = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "variance_type": "fixed_small",
    "clip_sample": True,
    "prediction_type": "epsilon",
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "clip_sample_range": 1.0,
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "steps_offset": 0,
    "rescale_betas_zero_snr": False,
}
"""What an absent key means: the arguments of DDPMScheduler in diffusers 0.42."""

DDPM, DDIM = "DDPMScheduler", "DDIMScheduler"
SCHEDULERS = {
    DDPM: DEFAULTS,
    DDIM: {
        **{key: DEFAULTS[key] for key in DEFAULTS if key != "variance_type"},
        "set_alpha_to_one": True,
    },
}
"""The schedulers that can be read and written, and their keys."""

SAMPLERS = {DDPM: "ddpm", DDIM: "ddim"}
"""Their schedulers, and our names of the chains that they draw."""

MOST_TIMESTEPS = 100_000
BETA = number("a number above 0 and below 1", lambda value: 0 < value < 1)
KINDS: dict[str, Kind] = {
    "num_train_timesteps": whole(1, MOST_TIMESTEPS),
    "beta_start": BETA,
    "beta_end": BETA,
    "beta_schedule": TEXT,
    "trained_betas": optional(several(NUMBER, MOST_TIMESTEPS)),
    "variance_type": TEXT,
    "clip_sample": FLAG,
    "prediction_type": TEXT,
    "thresholding": FLAG,
    "dynamic_thresholding_ratio": NUMBER,
    "clip_sample_range": NUMBER,
    "sample_max_value": NUMBER,
    "timestep_spacing": TEXT,
    "steps_offset": ANY,
    "rescale_betas_zero_snr": FLAG,
    "set_alpha_to_one": ANY,
}
"""What each key may hold; the two that may be anything have one legal value."""

BETAS = {
    "linear": "linear",
    "scaled_linear": "quad",
    "squaredcos_cap_v2": "cosine",
}
"""Their names of beta schedules, and ours; any other betas travel as numbers."""

VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "learned_range": "learned_range",
}
"""Their names of variances, and ours; their "learned" is no logarithm."""

PREDICTIONS = {"epsilon": "eps", "sample": "x_0", "v_prediction": "v"}

SPACINGS = {"leading": "leading", "linspace": "uniform", "trailing": "trailing"}
"""Their names of where the steps of a short chain lie, and ours."""


def from_scheduler_config(given: Fields, source: object) -> dict[str, Fields]:
    """The process and objective sections of the Config of a scheduler.

    Raises:
      ValueError: one sentence that names the key that can't be honoured.
    """
    kind = given.get("_class_name", DDPM)
    if not isinstance(kind, str) or kind not in SCHEDULERS:
        raise refusal("_class_name", kind, source, " or ".join(SCHEDULERS))
    config = with_defaults(given, SCHEDULERS[kind], KINDS, source)
    variance = choice(config, "variance_type", VARIANCES, source, "fixed_small")
    choice(config, "timestep_spacing", SPACINGS, source)
    for key, allowed in (("steps_offset", 0), ("set_alpha_to_one", True)):
        if config.get(key, allowed) != allowed:
            raise refusal(key, config[key], source, f"{allowed!r}")
    return {
        "process": process_of(config, source),
        "objective": {
            "prediction": choice(config, "prediction_type", PREDICTIONS, source),
            "variance": variance,
            "loss": "hybrid" if variance == "learned_range" else "simple",
            "clip_x0": clips(config, source),
        },
    }


def sampler_of(given: Fields) -> str:
    """The chain that a scheduler draws, in our words."""
    return SAMPLERS[given.get("_class_name", DDPM)]


def spacing_of(given: Fields) -> str:
    """Where the steps of a short chain lie, in our words."""
    return SPACINGS[{**DEFAULTS, **given}["timestep_spacing"]]


def choice(
    config: Fields,
    key: str,
    names: dict[str, str],
    source: object,
    default: str | None = None,
) -> str:
    """Our word for the value of a key, or default where the scheduler has no such."""
    value = config.get(key, default)
    if value not in names:
        raise refusal(key, value, source, f"one of {', '.join(names)}")
    return names[value]


def clips(config: Fields, source: object) -> bool:
    """Whether the predicted x_0 is clipped to [-1, 1]."""
    if config["thresholding"]:
        # Their threshold lies within 1 and sample_max_value.
        if config["sample_max_value"] != 1:
            raise refusal(
                "thresholding",
                True,
                source,
                "false, or sample_max_value 1",
            )
        return True
    if config["clip_sample"] and config["clip_sample_range"] != 1:
        raise refusal("clip_sample_range", config["clip_sample_range"], source, "1.0")
    return config["clip_sample"] is True


def process_of(config: Fields, source: object) -> Fields:
    """The process section; betas that are given as numbers must be of a known kind."""
    process = {
        "schedule": None,
        "num_timesteps": config["num_train_timesteps"],
        "beta_start": config["beta_start"],
        "beta_end": config["beta_end"],
        "rescale_zero_snr": config["rescale_betas_zero_snr"],
    }
    if config["trained_betas"] is None:
        process["schedule"] = choice(config, "beta_schedule", BETAS, source)
        return process
    betas = np.asarray(config["trained_betas"], np.float64)
    if betas.shape != (config["num_train_timesteps"],):
        raise ValueError(
            f"trained_betas in {source} are {betas.size} numbers, and "
            f"num_train_timesteps is {config['num_train_timesteps']}"
        )
    ends = config["beta_start"], config["beta_end"]
    for start, end in (ends, (float(betas[0]), float(betas[-1]))):
        for name, schedule in SCHEDULES.items():
            if np.allclose(schedule(betas.size, start, end), betas, 1e-6, 0):
                ours = {"schedule": name, "beta_start": start, "beta_end": end}
                return {**process, **ours}
    raise ValueError(
        f"trained_betas in {source} are none of {', '.join(SCHEDULES)}; this project "
        "has no other schedules"
    )


def to_scheduler_config(
    config: dict[str, Fields], betas: np.ndarray, *, kind: str = DDPM, spacing: str
) -> Fields:
    """scheduler_config.json of the scheduler that a Config describes: every key.

    betas [T] are those of its schedule, before any rescaling. spacing says where the
    steps of a short chain lie.

    Raises:
      ValueError: if diffusers has no such variance, prediction or spacing.
    """
    process, objective = config["process"], config["objective"]
    theirs = {ours: name for name, ours in BETAS.items()}
    named = theirs.get(process["schedule"])
    if kind == DDIM and objective["variance"] == "learned_range":
        raise ValueError(
            "objective.variance is 'learned_range', and such a network answers on "
            f"twice the channels, which a {DDIM} does not read; give --sampler ddpm"
        )
    fields = {
        **DEFAULTS,
        "num_train_timesteps": process["num_timesteps"],
        "beta_start": process["beta_start"],
        "beta_end": process["beta_end"],
        "beta_schedule": named or "linear",
        "trained_betas": None if named else betas.tolist(),
        "variance_type": word(VARIANCES, "objective.variance", objective["variance"]),
        "clip_sample": objective["clip_x0"],
        "prediction_type": word(
            PREDICTIONS, "objective.prediction", objective["prediction"]
        ),
        "timestep_spacing": word(SPACINGS, "spacing", spacing),
        "rescale_betas_zero_snr": process["rescale_zero_snr"],
    }
    return {key: fields.get(key, default) for key, default in SCHEDULERS[kind].items()}


def word(names: dict[str, str], field: str, value: str) -> str:
    """Their word for the value of a field."""
    found = {ours: name for name, ours in reversed(names.items())}
    if value not in found:
        raise ValueError(
            f"{field} is {value!r}, which diffusers lacks; it has {', '.join(found)}"
        )
    return found[value]
