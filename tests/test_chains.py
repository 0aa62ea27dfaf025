"""What the scripts say of a chain that is not what its options suggest."""

import dataclasses
from types import SimpleNamespace

import pytest
import tiny

from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.chains import Chain
from ddpm_jax.chains import chain_of
from ddpm_jax.chains import chain_of_options
from ddpm_jax.chains import check_chain
from ddpm_jax.chains import remarks
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Objective
from ddpm_jax.config import Process


def parts_of(**sections: object) -> Parts:
    data = Data(image_size=(8, 8), channels=1)
    return build(Config(model=tiny.MODEL, data=data, **sections))


LEARNED = parts_of(objective=Objective(loss="vlb", variance="learned"))


def test_a_learned_variance_is_left_out_aloud_where_steps_are_longer() -> None:
    few = Chain(steps=4)
    check_chain(LEARNED, few)
    assert chain_of(LEARNED, few).keywords["variance"] == "fixed_small"
    (said,) = remarks(LEARNED, few)
    assert said.startswith("remark: the model has learned the variance of single steps")
    for chain in (Chain(), Chain(threshold=0.9)):
        assert chain_of(LEARNED, chain).keywords["variance"] == "learned"
        assert remarks(LEARNED, chain) == []
    assert remarks(LEARNED, Chain("ddim", 4)) == []  # which uses no variance
    between = dataclasses.replace(LEARNED.objective, variance="learned_range")
    assert remarks(parts_of(objective=between), few) == []


def test_a_guidance_that_only_saturates_is_remarked_on() -> None:
    (said,) = remarks(LEARNED, Chain(label=(1,), guidance=100.0))
    assert said.startswith("remark: a guidance of 100 drives most pixels to black")
    assert remarks(LEARNED, Chain(label=(1,), guidance=10.0)) == []


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(
    ("steps", "begins"), [(1, 0), (501, 500), (600, 599), (50, None), (20, None)]
)
def test_a_chain_that_begins_far_below_all_noise_is_remarked_on(
    schedule: str, steps: int, begins: int | None
) -> None:
    parts = parts_of(process=Process(schedule=schedule))
    said = remarks(parts, Chain("ddim", steps, "leading"))
    assert len(said) == (begins is not None)
    if said:
        assert f"begins at t = {begins} and not at 999" in said[0]
    for spacing in ("uniform", "quadratic", "trailing", "log_snr", "karras"):
        assert remarks(parts, Chain("ddim", steps, spacing)) == []


def test_a_short_chain_lies_as_the_model_or_the_samplers_paper_has_it() -> None:
    own = {"sampler": "ddim", "spacing": "leading"}
    for sampler, steps, spacing, expected in (
        ("ddim", 10, None, "leading"),
        ("ddim", None, None, "uniform"),
        ("heun", 10, None, "karras"),
        ("edm", None, None, "uniform"),
        ("heun", 10, "uniform", "uniform"),
    ):
        options = SimpleNamespace(sampler=sampler, steps=steps, spacing=spacing)
        assert chain_of_options(options, **own).spacing == expected
