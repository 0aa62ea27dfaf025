"""Fine-tuning: a run whose parameters begin as those of another model, its source.

The EMA, the step and the optimiser begin anew. What a source can be is what
`loading.load_pretrained` reads.
"""

from functools import partial

import jax
import optax

from ddpm_jax.build import Parts
from ddpm_jax.build import init_params
from ddpm_jax.config import Config
from ddpm_jax.config import flatten
from ddpm_jax.denoiser import LEARNED
from ddpm_jax.loading import Trained
from ddpm_jax.loading import describe
from ddpm_jax.loading import load_pretrained
from ddpm_jax.transfer import Transfer
from ddpm_jax.transfer import transfer

LAYERS = (
    "ch",
    "ch_mult",
    "num_res_blocks",
    "num_groups",
    "norm_epsilon",
    "attention_resolutions",
    "attention_head_dim",
    "downsample_padding",
    "freq_shift",
)
"""The fields of a model that decide which layers it has, and what they compute."""


def load_source(config: Config) -> Trained | None:
    """The model that config.train.init_from names, if it does.

    Raises:
      FileNotFoundError, ValueError: one sentence, if there is none.
    """
    path = config.train.init_from
    return None if path is None else load_pretrained(path)


def weights_for(
    config: Config, parts: Parts, source: Trained, classes: tuple[str, ...] = ()
) -> tuple[optax.Params, list[str]]:
    """The weights of a source, and lines on what becomes of them in a config's network.

    classes are those of the run's images.

    Raises:
      ValueError: if the network can't take them; with the fields that would mend it.
    """
    path = config.train.init_from
    fresh = jax.eval_shape(partial(init_params, parts), jax.random.key(0))
    fields = fields_to_set(source.config, config)
    advice = f"to begin as {path}, give {' '.join(fields)}"
    try:
        _, report = transfer(source.params, fresh)
    except ValueError as error:
        raise ValueError(f"{error}; {advice}" if fields else str(error)) from None
    if fields:
        raise ValueError(f"the layers of this config compute something else; {advice}")
    return source.params, remarks(source, config, report, classes)


def fields_to_set(source: Config, config: Config) -> list[str]:
    """The flags with which a config's network has the layers of a source's.

    Levels attend by their height, so another size of images moves the heights.

    Example:
      >>> from ddpm_jax.config import Data, Model
      >>> data = Data(image_size=(32, 32), channels=3)
      >>> fields_to_set(Config(data=data), Config(data=data, model=Model(ch=32)))
      ['--model.ch 128']
    """
    wanted = {name: getattr(source.model, name) for name in LAYERS}
    given = {name: getattr(config.model, name) for name in LAYERS}
    if (levels := attending(source)) == attending(config):
        wanted["attention_resolutions"] = given["attention_resolutions"]
    else:
        assert config.data.image_size is not None
        height = config.data.image_size[0]
        wanted["attention_resolutions"] = tuple(height // 2**i for i in levels)
    return [
        f"--model.{name.replace('_', '-')} {flag_value(wanted[name])}"
        for name in LAYERS
        if wanted[name] != given[name]
    ]


def attending(config: Config) -> list[int]:
    """The levels of a config's network that attend.

    Example:
      >>> from ddpm_jax.config import Data
      >>> attending(Config(data=Data(image_size=(32, 32))))
      [1]
    """
    assert config.data.image_size is not None
    height, model = config.data.image_size[0], config.model
    levels = range(len(model.ch_mult))
    return [i for i in levels if height // 2**i in model.attention_resolutions]


def flag_value(value: float | tuple[int, ...] | None) -> str:
    """A number, a tuple of them, or None, as a person types it after a flag."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def remarks(
    source: Trained, config: Config, report: Transfer, classes: tuple[str, ...] = ()
) -> list[str]:
    """What a run says of its source: which weights, and what is not as it was."""
    said = [f"initialised from {config.train.init_from}; {describe(source)}"]
    if report.made_again:
        said.append(f"made again, as they do not fit: {', '.join(report.made_again)}")
    if report.left_out:
        said.append(f"left out, as the new network has none: {report.left_out[0]}")
    kept = source.config.model.num_classes and "class_embed" not in report.made_again
    if kept and config.model.num_classes and source.classes != classes:
        was, now = (", ".join(c[:5]) or "not known" for c in (source.classes, classes))
        said.append(
            f"remark: the embedding of the classes is the source's, whose are {was}; "
            f"here they are {now}"
        )
    if changes := relearns(source.config, config):
        said.append(
            f"remark: {', '.join(changes)} since the source was trained, so what the "
            "network answers must be learned anew"
        )
    return said


def relearns(source: Config, config: Config) -> list[str]:
    """The differences of two configs after which equal weights are no equal model.

    Example:
      >>> from ddpm_jax.config import Objective
      >>> relearns(Config(), Config(objective=Objective(prediction="v")))
      ["objective.prediction: 'eps' -> 'v'"]
    """
    before, after = flatten(source), flatten(config)
    names = [name for name in before if name.startswith("process.")]
    names.append("objective.prediction")
    if {before["objective.variance"], after["objective.variance"]} & set(LEARNED):
        names.append("objective.variance")
    return [
        f"{name}: {before[name]!r} -> {after[name]!r}"
        for name in names
        if before[name] != after[name]
    ]
