"""Labels by number and by name, and what is known of the names."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ddpm_jax.chains import chain_of_options
from ddpm_jax.classes import describe
from ddpm_jax.classes import numbers_of
from ddpm_jax.workdir import read_classes

NAMES = ("airplane", "automobile", "Bird", "cat")


def test_a_label_is_a_name_or_a_number() -> None:
    assert numbers_of(["2", "cat", "airplane"], NAMES) == (2, 3, 0)
    digits = tuple("0123456789")
    assert numbers_of(["10", "7"], digits) == (10, 7)  # check_labels refuses 10
    assert numbers_of(["-1"], NAMES) == (-1,)
    own = {"sampler": "ddpm", "spacing": "uniform", "classes": NAMES}
    chain = chain_of_options(SimpleNamespace(label=("cat", "2")), **own)
    assert chain.label == (3, 2)
    assert chain_of_options(SimpleNamespace(), **own).label == ()


def test_of_folders_called_by_numbers_the_name_is_meant() -> None:
    months = tuple(sorted(str(month) for month in range(1, 13)))
    for number, month in enumerate(months):
        assert numbers_of([month], months) == (number,)
    with pytest.raises(ValueError, match="label is '0', which is no class of this"):
        numbers_of(["0"], months)


@pytest.mark.parametrize(
    ("label", "classes", "sentence"),
    [
        ("\N{ARABIC-INDIC DIGIT THREE}", NAMES, "which is no class.*; it has airpl"),
        ("2", ("-1", "007", "10"), "label is '2', which is no class of this model"),
        ("aeroplane", NAMES, "did you mean airplane\\?"),
        ("bird", NAMES, "did you mean Bird\\?"),
        ("3.5", NAMES, "label is '3.5', which is no class.*; it has airplane, auto"),
        ("horse", tuple("abcdefghijkl"), "it has a, b, c, d, e, f, g, h, i, j, ...$"),
        ("cat", (), "has no names of classes; give their numbers"),
    ],
)
def test_what_is_no_class_is_answered_with_what_is(
    label: str, classes: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        numbers_of([label], classes)


def test_each_class_is_named_once_and_not_a_thousand_of_them() -> None:
    assert describe([3, 0, 3], NAMES) == ["label 3: cat", "label 0: airplane"]
    assert describe([3], ()) == describe([1], "01") == []
    many = describe(range(1000), [f"n{i:05}" for i in range(1000)])
    assert len(many) == 11 and many[-1] == "and 990 more"


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        ('{"classes": ["cat", "dog"]}', ("cat", "dog")),
        ('{"training images": 5}', ()),  # of a run that was told no classes
        ('{"classes": [1, 2]}', ()),
        ('{"classes": "cat"}', ()),
        ("[]", ()),
        ("{", ()),
        (None, ()),
    ],
)
def test_names_are_those_of_a_runs_data(
    stored: str | None, names: tuple[str, ...], tmp_path: Path
) -> None:
    if stored is not None:
        (tmp_path / "data.json").write_text(stored)
    assert read_classes(tmp_path) == names
