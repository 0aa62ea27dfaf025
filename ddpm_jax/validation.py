"""The door: what is wrong with a config, said in one sentence before anything is built.

pydantic checks each field; the rules that span fields are here. What passes is what
the JSON of the config gives back.
"""

import dataclasses
import functools
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pydantic

from ddpm_jax.config import Config
from ddpm_jax.config import Log
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import Train
from ddpm_jax.config import schedule_of
from ddpm_jax.denoiser import LEARNED
from ddpm_jax.denoiser import check_model
from ddpm_jax.prediction import check_objective
from ddpm_jax.spelling import one_of

# What pydantic calls a mistake, in words for a person.
ALLOWED = {
    "greater_than_equal": "at least {ge:.12g}",
    "greater_than": "more than {gt:.12g}",
    "less_than_equal": "at most {le:.12g}",
    "less_than": "less than {lt:.12g}",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "True or False",
    "string_type": "a word or a path",
    "string_too_short": "a path",
    "tuple_type": "a tuple of numbers",
    "too_short": "at least {min_length} of them",
    "too_long": "{max_length} of them",
    "missing": "one more of them",
    "dataclass_type": "a {class_name} with its fields",
}


@functools.cache
def _adapter() -> pydantic.TypeAdapter[Config]:
    return pydantic.TypeAdapter(Config)


def validate(config: Config) -> Config:
    """Returns the config if it describes a run, else raises ValueError: one sentence.

    Example:
      >>> validate(Config(train=Train(batch_size=-1)))
      Traceback (most recent call last):
      ...
      ValueError: train.batch_size is -1; give at least 1
    """
    return from_dict(dataclasses.asdict(config))


def from_dict(fields: dict[str, Any]) -> Config:
    """Validates the nested fields of a config, as a checkpoint holds them."""
    # Through JSON, so that what passes here is what the stored config will give back.
    return from_json(json.dumps(fields, default=repr))


def from_json(text: str) -> Config:
    """Reads and validates a config that `to_json` wrote.

    Raises:
      ValueError: one sentence that names the field, what it is, and what is allowed.
    """
    try:
        checked = _adapter().validate_json(text)
    except pydantic.ValidationError as error:
        raise ValueError(_sentence(error)) from None
    objective = checked.objective
    check_objective(
        objective.prediction, objective.loss, objective.variance, objective.loss_weight
    )
    _check_self_condition(objective)
    schedule = schedule_of(checked)
    if objective.prediction == "eps":
        check_model(schedule.ends_in_noise, eps_fn=lambda params, x_t, t: x_t)
    _check_decay(checked.train)
    _check_label_dropout(checked.train)
    _check_dispatch(checked.train, checked.log)
    _check_attention(checked.model)
    _check_keep_best(checked.log)
    return checked


def _check_self_condition(objective: Objective) -> None:
    # Channels behind the first C would be the variance's in one place and the guess's
    # in another; no paper has both.
    if objective.self_condition and objective.variance in LEARNED:
        raise ValueError(
            f"objective.self_condition can't go with objective.variance "
            f"{objective.variance!r}; use 'fixed_large' or 'fixed_small'"
        )


def _check_dispatch(train: Train, log: Log) -> None:
    together = train.steps_per_dispatch
    counts = {"train.steps": train.steps} | {
        f"log.{name}": getattr(log, name)
        for name in ("every", "eval_every", "sample_every", "checkpoint_every")
    }
    if log.metric_every is not None:
        counts["log.metric_every"] = log.metric_every
    for name, count in counts.items():
        if count % together:
            raise ValueError(
                f"{name} is {count}, which is not a multiple of "
                f"train.steps_per_dispatch {together}: nothing is seen between the "
                "steps of one dispatch, so choose numbers that divide"
            )


def _check_keep_best(log: Log) -> None:
    # Else what is measured is hardly ever saved, and what is saved not measured.
    name = "eval_every" if log.metric_every is None else "metric_every"
    measured, saved = getattr(log, name), log.checkpoint_every
    if log.keep_best and measured % saved and saved % measured:
        raise ValueError(
            f"log.keep_best is of checkpoints whose score is known, and log.{name} is "
            f"{measured} while log.checkpoint_every is {saved}; make one a multiple of "
            "the other"
        )


def _check_attention(model: Model) -> None:
    part = "level" if model.attention_head_dim is None else "head"
    width = model.attention_head_dim or model.ch * max(model.ch_mult)
    if model.attention == "cudnn" and (model.dtype != "bfloat16" or width > 256):
        raise ValueError(
            f"model.attention is 'cudnn', model.dtype {model.dtype!r} and the widest "
            f"{part} has {width} channels; cuDNN's attention takes bfloat16 and at "
            "most 256, so use 'xla', or change model.dtype or model.ch"
        )


def _check_label_dropout(train: Train) -> None:
    # Draws have 16 bits: a smaller share would be none, and not said to be.
    if 0 < train.label_dropout < 1e-4:
        raise ValueError(
            f"train.label_dropout is {train.label_dropout}; give 0 or at least 0.0001"
        )


def _check_decay(train: Train) -> None:
    if train.decay == "cosine" and train.warmup_steps >= train.steps:
        raise ValueError(
            f"train.warmup_steps is {train.warmup_steps} and train.steps is "
            f"{train.steps}; with train.decay 'cosine' the warm-up must end first, so "
            "lower train.warmup_steps"
        )


def _sentence(error: pydantic.ValidationError) -> str:
    first = error.errors()[0]
    # pydantic names the branch of a union in the path; a reader wants the field.
    path, kind, got = [str(x) for x in first["loc"][:2]], first["type"], first["input"]
    context = first.get("ctx", {})
    if not path:
        why = context.get("error", "it is no object of sections")
        return f"the config is not JSON of a config: {why}"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"there is no field {'.'.join(path)}{_fields_near(path)}"
    said = f"{'.'.join(path)} is {got!r}"
    if kind == "literal_error":
        return said + one_of(got, re.findall(r"[^\s',]+", _listed(context["expected"])))
    if kind not in ALLOWED:
        return f"{said}; pydantic says: {first['msg']}"
    return f"{said}; give {ALLOWED[kind].format(**context)}"


def _listed(expected: str) -> str:
    """pydantic's "'a', 'b' or 'c'" without the word between the last two."""
    return expected.replace(" or ", ", ")


def _fields_near(path: list[str]) -> str:
    """Which field may have been meant by an unknown one, and which there are."""
    section = Config() if len(path) == 1 else getattr(Config(), path[0])
    return one_of(path[-1], [field.name for field in dataclasses.fields(section)])


def load_config(path: str | Path) -> Config:
    """Runs a config file's get_config() and validates what it returns.

    Raises:
      FileNotFoundError, ValueError: one sentence on what is wrong with the file.
    """
    path = Path(path)
    if not path.is_file():
        known = ", ".join(str(p) for p in sorted(Path("configs").glob("*.py")))
        raise FileNotFoundError(f"there is no config file {path}; there are: {known}")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file; a config file ends in .py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise AttributeError("it does not define get_config()")
        config = module.get_config()
    except SyntaxError as error:
        place = f"{path}, line {error.lineno}"
        raise ValueError(f"{place} is not Python: {error.msg}") from error
    except Exception as error:
        raise ValueError(f"{path} can't be run: {error}") from error
    if not isinstance(config, Config):
        raise ValueError(
            f"get_config() of {path} returned {type(config).__name__}; it must return "
            "a ddpm_jax.config.Config"
        )
    return validate(config)
