"""Configs are checked at the door, and are plain data: JSON there and back."""

import dataclasses
from pathlib import Path
from typing import get_args
from typing import get_type_hints

import pytest

from ddpm_jax import config as module
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Log
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import Process
from ddpm_jax.config import Train
from ddpm_jax.config import describe
from ddpm_jax.config import differences
from ddpm_jax.config import flatten
from ddpm_jax.config import schedule_of
from ddpm_jax.config import to_json
from ddpm_jax.data.fit import FITS
from ddpm_jax.denoiser import LEARNED
from ddpm_jax.loss_weights import LOSS_WEIGHTS
from ddpm_jax.prediction import LOSSES
from ddpm_jax.prediction import PREDICTIONS
from ddpm_jax.reverse import VARIANCES
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.timesteps import T_SAMPLINGS
from ddpm_jax.validation import from_dict
from ddpm_jax.validation import from_json
from ddpm_jax.validation import load_config
from ddpm_jax.validation import validate

OTHER = Config(
    process=Process("cosine", 50),
    objective=Objective("x_0", "vlb", "learned", clip_x0=False),
    model=Model(ch=64, ch_mult=(1, 2), attention_resolutions=(), dtype="bfloat16"),
    data=Data("images", image_size=(24, 32), channels=1, held_out=0.25, flip=False),
    train=Train(steps=7, warmup_steps=0, decay="cosine"),
    log=Log(keep_period=None),
)


@pytest.mark.parametrize("config", [Config(), OTHER])
def test_a_config_is_itself_after_json(config: Config) -> None:
    assert from_json(to_json(config)) == config
    assert from_dict(dataclasses.asdict(config)) == config
    assert validate(config) == config


def test_other_differs_from_the_defaults_in_every_section() -> None:
    changed = {line.split(".")[0] for line in differences(Config(), OTHER)}
    assert changed == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (Config(train=Train(learning_rate=float("nan"))), "train.learning_rate is nan"),
        (Config(train=Train(learning_rate=float("inf"))), "train.learning_rate is inf"),
        (Config(train=Train(learning_rate=0.0)), "train.learning_rate is 0.0"),
        (Config(train=Train(batch_size=0)), "train.batch_size is 0"),
        (Config(train=Train(batch_size=8.5)), "train.batch_size is 8.5"),
        (Config(train=Train(batch_size="8")), "train.batch_size is '8'"),
        (Config(train=Train(steps=True)), "train.steps is True"),
        (Config(train=Train(ema_decay=1.0)), "train.ema_decay is 1.0"),
        (Config(train=Train(seed=-1)), "train.seed is -1"),
        (Config(train=Train(seed=None)), "train.seed is None"),
        (Config(model=Model(ch_mult=())), "model.ch_mult is"),
        (Config(model=Model(ch_mult=(1, 0))), "model.ch_mult is 0"),
        (Config(model=Model(dropout=1.0)), "model.dropout is 1.0"),
        (Config(model=Model(dtype="float16")), "model.dtype is 'float16'"),
        (Config(data=Data(flip=1)), "data.flip is 1"),
        (Config(data=Data(channels=2)), "data.channels is 2"),
        (Config(data=Data(held_out=1.0)), "data.held_out is 1.0"),
        (Config(log=Log(every=0)), "log.every is 0"),
        (Config(process=Process("linaer")), "process.schedule is 'linaer'"),
        (Config(process=Process(num_timesteps=0)), "process.num_timesteps is 0"),
        (Config(process=Process(beta_end=2.0)), "every beta must have 0 < beta <= 1"),
        (Config(process=Process("jsd")), "this schedule ends at alpha_bar = 0"),
        (
            Config(process=Process(rescale_zero_snr=True)),
            "this schedule ends at alpha_bar = 0",
        ),
        (
            Config(process=Process("const", 1, rescale_zero_snr=True)),
            "a schedule of 1 step can't be rescaled",
        ),
        (Config(objective=Objective("noise")), "objective.prediction is 'noise'"),
        (Config(objective=Objective(variance="learned")), "use loss 'vlb'"),
        (Config(objective=Objective(loss="hybrid")), "use variance 'learned_range'"),
        (
            Config(objective=Objective(loss="vlb", loss_weight="p2")),
            "use loss_weight 'none'",
        ),
        (
            Config(train=Train(steps=10, warmup_steps=10, decay="cosine")),
            "the warm-up must end first",
        ),
        (Config(train=Train(steps_per_dispatch=3)), "train.steps is 800000, which is"),
        (
            Config(train=Train(steps_per_dispatch=8), log=Log(every=50)),
            "log.every is 50, which is not a multiple of train.steps_per_dispatch 8",
        ),
        (Config(model=Model(attention="cudnn")), "takes bfloat16 and at most 256"),
        (
            Config(model=Model(attention="cudnn", dtype="bfloat16", ch=256)),
            "the widest level has 512 channels",
        ),
        (Config(model={"ch": 8, "chanels": 3}), "there is no field model.chanels"),
        (Config(model=None), "model is None"),
    ],
)
def test_a_wrong_value_is_answered_by_one_sentence(
    config: Config, sentence: str
) -> None:
    with pytest.raises(ValueError) as refused:
        validate(config)
    said = str(refused.value)
    assert sentence in said
    assert "\n" not in said and "pydantic" not in said


@pytest.mark.parametrize("prediction", ["x_0", "v", "posterior_mean"])
@pytest.mark.parametrize(
    "process", [Process("jsd"), Process("cosine", rescale_zero_snr=True)]
)
def test_what_ends_without_signal_may_be_trained_to_predict_another_than_eps(
    process: Process, prediction: str
) -> None:
    config = Config(process=process, objective=Objective(prediction))
    assert validate(config) == config
    assert schedule_of(config).ends_in_noise


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the config is not JSON of a config"),
        ('{"train": {"steps": 1', "the config is not JSON of a config"),
        ('{"trian": {}}', "there is no field trian"),
        ('{"train": {"setps": 1}}', "there is no field train.setps"),
        ('{"train": 3}', "train is 3"),
    ],
)
def test_what_is_not_json_of_a_config_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_json(text)


@pytest.mark.parametrize(
    ("section", "field", "known"),
    [
        (Process, "schedule", SCHEDULES),
        (Objective, "prediction", PREDICTIONS),
        (Objective, "loss", LOSSES),
        (Objective, "variance", (*VARIANCES, *LEARNED)),
        (Objective, "loss_weight", LOSS_WEIGHTS),
        (Objective, "t_sampling", T_SAMPLINGS),
        (Data, "fit", FITS),
    ],
)
def test_a_config_may_say_every_name_that_the_code_knows_and_no_other(
    section: type, field: str, known: tuple[str, ...]
) -> None:
    assert set(get_args(get_type_hints(section)[field])) == set(known)


def test_differences_name_each_field_that_changed_and_no_other() -> None:
    changed = dataclasses.replace(Config(), train=Train(steps=5, seed=2))
    assert differences(Config(), Config()) == []
    assert differences(Config(), changed) == [
        "train.steps: 800000 -> 5",
        "train.seed: 0 -> 2",
    ]


def test_the_description_names_every_field_and_its_value() -> None:
    text = describe(OTHER)
    for name, value in flatten(OTHER).items():
        section, _, field = name.partition(".")
        line = next(x for x in text.splitlines() if x.startswith(f"{section}: "))
        assert f" {field}={value}" in line


def write(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(f"from ddpm_jax.config import *\n\n{body}\n")
    return path


def test_load_config_returns_what_get_config_does(tmp_path: Path) -> None:
    body = "def get_config():\n    return Config(train=Train(steps=3))"
    assert load_config(write(tmp_path, body)) == Config(train=Train(steps=3))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "can't be run: it does not define get_config"),
        ("boom()", "can't be run: name 'boom' is not defined"),
        ("def get_config(:", "line 3 is not Python: invalid syntax"),
        ("import no_such_package", "no_such_package"),
        ("get_config = dict", "returned dict; it must return a ddpm_jax.config.Config"),
        ("get_config = lambda: Config(modle=Model())", "modle"),
        ("get_config = lambda: Config(model=Model(ch=0))", "model.ch is 0"),
    ],
)
def test_a_config_file_with_a_mistake_is_answered_by_a_sentence(
    body: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_config(write(tmp_path, body))


def test_a_missing_config_file_is_answered_by_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there are: configs.mine\.py"):
        load_config("configs/yours.py")


def test_every_field_says_what_it_is() -> None:
    source = Path(module.__file__).read_text().splitlines()
    for name in flatten(Config()):
        field = name.partition(".")[2]
        at = next(n for n, x in enumerate(source) if x.startswith(f"    {field}: "))
        after = [x for x in source[at : at + 5] if x.startswith('    """')]
        assert after, f"{name} has no docstring"
