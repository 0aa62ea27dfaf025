"""Every experiment of configs/: it loads, it fits its images, and it is the paper's."""

import ast
import dataclasses
import functools
import importlib.util
import math
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from ddpm_jax import command
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import differences
from ddpm_jax.denoiser import LEARNED
from ddpm_jax.loss_weights import loss_weight
from ddpm_jax.validation import load_config

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))

# What the sources that have one size hold, for configs that leave the size to them.
SHAPES = {"digits": ((8, 8), 1), "tfds:cifar10": ((32, 32), 3)}

# Ho et al. (2020), Sec. B, and Sec. 4 for the number of parameters in millions.
PAPER = {
    # name: parameters, steps, batch, learning rate, dropout, flips, size
    "cifar": (35.7, 800_000, 128, 2e-4, 0.1, True, None),
    "celeba_hq256": (114, 500_000, 64, 2e-5, 0.0, True, (256, 256)),
    "lsun_bedroom": (114, 2_400_000, 64, 2e-5, 0.0, False, (256, 256)),
    "lsun_bedroom_large": (256, 1_150_000, 64, 2e-5, 0.0, False, (256, 256)),
    "lsun_cat": (114, 1_800_000, 64, 2e-5, 0.0, True, (256, 256)),
    "lsun_church": (114, 1_200_000, 64, 2e-5, 0.0, True, (256, 256)),
}

# Table 2: what is predicted, what is minimised, and the variance.
TABLE_2 = {
    "eps_simple": ("eps", "simple", "fixed_large"),
    "eps_vlb_fixed": ("eps", "vlb", "fixed_large"),
    "eps_vlb_learned": ("eps", "vlb", "learned"),
    "mean_simple": ("posterior_mean", "simple", "fixed_large"),
    "mean_vlb_fixed": ("posterior_mean", "vlb", "fixed_large"),
    "mean_vlb_learned": ("posterior_mean", "vlb", "learned"),
}

# Nichol and Dhariwal (2021), CIFAR-10: loss and how t is drawn.
IMPROVED = {
    "cifar_improved": ("hybrid", "uniform"),
    "cifar_improved_vlb": ("vlb", "importance"),
}


def config_of(name: str) -> Config:
    return load_config(ROOT / "configs" / f"{name}.py")


def card_of(name: str) -> str:
    path = ROOT / "configs" / f"{name}.py"
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def with_shape(config: Config) -> Config:
    data = config.data
    if data.image_size is None:
        size, channels = SHAPES[data.source]
        data = dataclasses.replace(data, image_size=size, channels=channels)
    return dataclasses.replace(config, data=data)


def parameter_count(name: str) -> int:
    config = with_shape(config_of(name))
    # What is of no account is left out, so that equal networks are counted once.
    data = Data(image_size=config.data.image_size, channels=config.data.channels)
    model = dataclasses.replace(config.model, dropout=0.0)
    learned = config.objective.variance in LEARNED
    return count(model, data, learned, config.objective.self_condition)


@functools.cache
def count(model: Model, data: Data, learned: bool, self_condition: bool) -> int:
    rest = Objective(self_condition=self_condition)
    if learned:
        rest = Objective(loss="vlb", variance="learned")
    parts = build(Config(model=model, data=data, objective=rest))
    params = jax.eval_shape(functools.partial(init_params, parts), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def named_count(name: str) -> int | None:
    found = re.search(r"^Network:\s+([\d,]+) parameters", card_of(name), re.M)
    return int(found[1].replace(",", "")) if found else None


def test_there_is_a_config_of_each_of_the_papers_runs() -> None:
    rows = {f"ablation_{row}" for row in TABLE_2}
    digits = {"digits", "digits_class", "digits_p2", "digits_v", "digits_weighted"}
    assert {*PAPER, *rows, *digits, *IMPROVED, "emoji", "folder"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_config_loads_and_its_network_takes_its_images(name: str) -> None:
    config = with_shape(config_of(name))
    assert build(config).shape == (*config.data.image_size, config.data.channels)


# A network of each size and kind; tracing another takes seconds.
QUICK = ("celeba_hq256", "cifar", "digits")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in NAMES
        if named_count(name)
    ],
)
def test_the_network_has_the_parameters_that_the_card_names(name: str) -> None:
    assert parameter_count(name) == named_count(name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if "large" in name else ())
        for name in PAPER
    ],
)
def test_the_papers_runs_have_the_papers_numbers(name: str) -> None:
    config, (millions, *numbers) = config_of(name), PAPER[name]
    train, data = config.train, config.data
    assert [
        train.steps,
        train.batch_size,
        train.learning_rate,
        config.model.dropout,
        data.flip,
        data.image_size,
    ] == numbers
    assert parameter_count(name) / 1e6 == pytest.approx(millions, rel=0.005)
    assert named_count(name), "the card names the size of the paper's network"
    assert (train.warmup_steps, train.ema_decay, train.decay) == (5000, 0.9999, "none")
    small = "fixed_small" if name != "cifar" else "fixed_large"
    assert config.objective.variance == small


def test_every_256_pixel_network_goes_down_to_8_pixels_and_attends_at_16() -> None:
    for name in PAPER:
        model = config_of(name).model
        if name == "cifar":
            continue
        assert model.ch_mult == (1, 1, 2, 2, 4, 4)
        assert 256 // 2 ** (len(model.ch_mult) - 1) == 8
        assert model.attention_resolutions == (16,)


@pytest.mark.parametrize("row", TABLE_2)
def test_a_row_of_table_2_differs_from_cifar_in_its_objective_only(row: str) -> None:
    config = config_of(f"ablation_{row}")
    changed = differences(config_of("cifar"), config)
    assert all(line.startswith("objective.") for line in changed), changed
    objective = config.objective
    got = objective.prediction, objective.loss, objective.variance
    assert got == TABLE_2[row]


@pytest.mark.slow
def test_a_learned_variance_costs_the_last_convolution_one_more_output_each() -> None:
    more = parameter_count("ablation_eps_vlb_learned") - parameter_count("cifar")
    assert more == 3 * (3 * 3 * 128 + 1)


@pytest.mark.parametrize("name", IMPROVED)
def test_the_improved_runs_have_the_flags_of_their_papers_code(name: str) -> None:
    config, (loss, sampling) = config_of(name), IMPROVED[name]
    objective, model, train = config.objective, config.model, config.train
    assert (objective.prediction, objective.variance) == ("eps", "learned_range")
    assert (objective.loss, objective.t_sampling) == (loss, sampling)
    assert (config.process.schedule, config.process.num_timesteps) == ("cosine", 4000)
    assert (model.ch, model.num_res_blocks, model.dropout) == (128, 3, 0.3)
    assert (train.learning_rate, train.batch_size) == (1e-4, 128)
    changed = differences(config_of("cifar_improved"), config)
    assert all(line.startswith("objective.") for line in changed), changed


@pytest.mark.parametrize("name", ["digits_p2", "digits_v", "digits_weighted"])
def test_digits_of_later_papers_differ_in_process_and_objective_only(name: str) -> None:
    changed = differences(config_of("digits"), config_of(name))
    sections = {line.split(".")[0] for line in changed}
    assert "objective" in sections
    assert sections <= {"process", "objective"}


@pytest.mark.parametrize("name", NAMES)
def test_no_config_gives_a_t_the_weight_0(name: str) -> None:
    parts = build(with_shape(config_of(name)))
    if parts.objective.loss == "vlb":
        return  # its terms have the weights of the bound
    t = jnp.arange(parts.schedule.num_timesteps)
    prediction, weight = parts.objective.prediction, parts.objective.loss_weight
    weights = loss_weight(parts.schedule, t, prediction=prediction, name=weight)
    assert (weights > 0).all()


def test_the_digits_of_a_class_differ_in_their_labels_only() -> None:
    changed = differences(config_of("digits"), config_of("digits_class"))
    assert [line for line in changed if not line.startswith("log.")] == [
        "model.num_classes: None -> 10"
    ]


def test_no_row_of_the_paper_is_said_to_be_measured_here() -> None:
    for name in NAMES:
        ours = name not in {*PAPER, *IMPROVED} and not name.startswith("ablation_")
        if not ours:
            words = " ".join(card_of(name).split())
            assert "paper's number" in words or name in IMPROVED, name
            assert re.search("not yet measured by this project", words, re.I), name


def test_the_flags_in_the_cards_are_flags_of_train_or_sample(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    for name in ("train", "sample"):
        spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
        assert spec and spec.loader
        script = importlib.util.module_from_spec(spec)
        # The texts of the help are read from the source of the module of this name.
        monkeypatch.setitem(sys.modules, name, script)
        spec.loader.exec_module(script)
        with pytest.raises(SystemExit):
            command.parse(getattr(script, name.title()), ["--help"])
    known = set(re.findall(r"--[a-z][\w.-]*\w", capsys.readouterr().out))
    for name in NAMES:
        flags = set(re.findall(r"--[a-z][\w.-]*\w", card_of(name)))
        assert flags <= known, f"{name}: {flags - known}"
