"""What the scripts share: the words of a command line become a checked Config."""

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from ddpm_jax import command
from ddpm_jax.config import Config
from ddpm_jax.config import flatten
from ddpm_jax.validation import load_config
from ddpm_jax.validation import validate

ROOT = Path(__file__).resolve().parents[1]
FILE = """
from ddpm_jax.config import *


def get_config():
    return Config(
        model=Model(ch=64, ch_mult=(1, 4)),
        data=Data(source="digits"),
        train=Train(steps=77, warmup_steps=9, learning_rate=0.25),
    )
"""


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> type[Config]:
    """The class Train of train.py."""
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    assert spec and spec.loader
    train = importlib.util.module_from_spec(spec)
    # The texts of the help are read from the source of the module of this name.
    monkeypatch.setitem(sys.modules, "train", train)
    spec.loader.exec_module(train)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    return train.Train


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return str(path)


def parsed(options: type[Config], *words: str) -> Config:
    return command.config_of(command.parse(options, list(words)))


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--train.steps 5", "train.steps", 5),
        ("--train.steps=5", "train.steps", 5),
        ("--train.batch_size 6", "train.batch_size", 6),
        ("--train.learning-rate 1e-3", "train.learning_rate", 1e-3),
        ("--train.learning-rate 1", "train.learning_rate", 1.0),
        ("--train.decay cosine", "train.decay", "cosine"),
        ("--model.ch-mult 1 2", "model.ch_mult", (1, 2)),
        ("--model.ch-mult 8", "model.ch_mult", (8,)),
        ("--model.attention-resolutions", "model.attention_resolutions", ()),
        ("--data.image-size 28 36", "data.image_size", (28, 36)),
        ("--data.image-size None", "data.image_size", None),
        ("--data.channels 3", "data.channels", 3),
        ("--data.no-flip", "data.flip", False),
        ("--data.source tfds:mnist", "data.source", "tfds:mnist"),
        ("--log.keep-period None", "log.keep_period", None),
        ("--objective.no-clip-x0", "objective.clip_x0", False),
    ],
)
def test_an_override_is_typed_and_changes_its_field_only(
    words: str, name: str, value: object, options: type[Config], file: str
) -> None:
    got = flatten(parsed(options, "--config", file, *words.split()))
    assert got[name] == value and type(got[name]) is type(value)
    assert got == flatten(load_config(file)) | {name: value}
    validate(parsed(options, "--config", file, *words.split()))


def test_without_overrides_the_config_is_the_files(
    options: type[Config], file: str
) -> None:
    assert parsed(options, "--config", file) == load_config(file)
    assert parsed(options, f"--config={file}") == load_config(file)


def test_without_a_file_the_config_is_the_defaults(options: type[Config]) -> None:
    given = command.parse(options, [])
    assert command.config_of(given) == Config()
    assert type(command.config_of(given)) is Config


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("--model.chmult 1 2", "--model.ch-mult"),
        ("--train.learningrate 1", "--train.learning-rate"),
        ("--trian.steps 5", "--train.steps"),
        ("--work-dir x", "--workdir"),
    ],
)
def test_a_misspelt_field_is_answered_with_the_right_name(
    words: str,
    answer: str,
    options: type[Config],
    file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(options, "--config", file, *words.split())
    said = capsys.readouterr().err
    assert words.split()[0] in said
    assert "Perhaps you meant" in said and answer in said


@pytest.mark.parametrize(
    "words",
    [
        "--train.steps many",
        "--train.steps 1.5",
        "--train.steps",
        "--train.learning-rate fast",
        "--model.ch-mult 1 x",
        "--data.image-size 28",
        "--data.channels 2",
        "--data.flip maybe",
        "--train.steps None",
    ],
)
def test_a_wrong_type_is_refused_with_the_name_of_the_field(
    words: str, options: type[Config], file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(options, "--config", file, *words.split())
    said = capsys.readouterr().err
    assert words.split()[-1] in said or words.split()[0] in said


@pytest.mark.parametrize("word", ["nan", "inf", "-1", "0"])
def test_a_number_that_is_none_is_refused_by_its_field(
    word: str, options: type[Config], file: str
) -> None:
    words = ("--config", file, "--train.learning-rate", word)
    with pytest.raises(ValueError, match=f"train.learning_rate is {word}"):
        validate(parsed(options, *words))


def described(text: str, name: str) -> tuple[str, str]:
    """The type and the default of a field, as the help says them."""
    flag = re.escape("--" + name.replace("_", "-"))
    found = re.search(rf"{flag}(,? .*?) \(default: ([^)]*)\)", text)
    assert found, f"{flag} is not in the help"
    return found[1].split(" ")[1], found[2]


@pytest.mark.parametrize("with_file", [False, True])
def test_help_lists_every_field_with_its_type_and_default(
    with_file: bool,
    options: type[Config],
    file: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as left:
        command.parse(options, [*(("--config", file) if with_file else ()), "--help"])
    assert left.value.code == 0
    # The help stands in boxes, broken into lines.
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    kinds = {
        int: ("INT", "{0"),
        float: "FLOAT",
        str: ("STR", "{"),
        tuple: ("[INT", "{INT", "{0"),
    }
    for name, value in flatten(load_config(file) if with_file else Config()).items():
        kind, default = described(text, name)
        words = value if isinstance(value, tuple) else (value,)
        assert default == " ".join(map(str, words)), name
        if isinstance(value, bool):
            assert kind.startswith("--"), name
        elif value is None:
            assert kind.startswith("{None"), name
        else:
            assert kind.startswith(kinds[type(value)]) or "|INT" in kind, name


def raising(error: BaseException) -> Callable[[list[str]], int]:
    def main(arguments: list[str]) -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("ch is 0"), 2, "error: ch is 0\n"),
        (FileNotFoundError("no run"), 2, "error: no run\n"),
        (ModuleNotFoundError("pip install x"), 2, "error: pip install x\n"),
        (FloatingPointError("not finite"), 1, "error: not finite\n"),
        (KeyboardInterrupt("stopped at 3"), 130, "interrupted: stopped at 3\n"),
    ],
)
def test_an_expected_error_is_a_sentence_and_an_exit_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(raising(error), []) == code
    assert capsys.readouterr().err == said


def test_an_unexpected_error_keeps_its_traceback() -> None:
    with pytest.raises(KeyError):
        command.run(raising(KeyError("a mistake of ours")), [])


def test_main_is_given_the_arguments_and_its_answer_is_the_exit_code() -> None:
    assert command.run(len, ["a", "b", "c"]) == 3


@pytest.mark.slow
def test_dev_mode_shows_the_traceback_as_well() -> None:
    program = (
        "import sys; from ddpm_jax.command import run; sys.exit(run({}, ['many']))"
    )
    program = program.format("lambda words: int(words[0])")
    line = [sys.executable, "-X", "dev", "-W", "ignore", "-c", program]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: invalid literal for int()")


def test_a_number_outside_its_range_is_refused_with_its_flag() -> None:
    @dataclasses.dataclass
    class Options:
        batch_size: int

    command.check_range(Options(1), batch_size=(1, 1))
    with pytest.raises(ValueError, match="--batch-size is 0; give at least 1"):
        command.check_range(Options(0), batch_size=(1, None))
    with pytest.raises(ValueError, match="--batch-size is 9; give at most 8"):
        command.check_range(Options(9), batch_size=(1, 8))


def test_compiled_programs_are_kept_where_the_user_says_or_else_in_his_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = jax.config.jax_compilation_cache_dir
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == before
    try:
        command.set_up_jax()
        assert jax.config.jax_compilation_cache_dir == before
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
        command.set_up_jax()
        assert "ddpm_jax" in Path(jax.config.jax_compilation_cache_dir).parts
        assert jax.config.jax_compilation_cache_dir != before
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
