"""Every command and every piece of Python in the documents is one that runs.

Commands are parsed as their scripts would, files and all, and not run. Python is run,
with sizes that are smaller than the page's.
"""

import itertools
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_docs import CONFIGS
from test_docs import ROOT
from test_docs import SCRIPTS
from test_docs import pages
from test_docs import read
from test_scripts import script

from ddpm_jax import command

CALL = re.compile(rf"python3? ((?:{SCRIPTS})\.py\b[^`]*)")
ENDS = {"&&", "||", "|", ";", ">", "2>&1"}
PAGES = [str(p.relative_to(ROOT)) for p in (*pages(), *CONFIGS)]
SNIPPETS = {"README.md": 2, "docs/editing.md": 2, "docs/samplers.md": 1}
# What is large in the snippets, and what it is here.
SMALLER = {
    "UNet(ch=32, ch_mult=(1, 2)": (
        "UNet(ch=8, ch_mult=(1,), num_res_blocks=1, attention_resolutions=(), "
        "num_groups=4"
    ),
    "(1, 32, 32, 3)": "(1, 8, 8, 3)",
    "(4, 32, 32, 3)": "(2, 8, 8, 3)",
    "(1000, 1e-4, 0.02)": "(4, 1e-4, 0.02)",
    "shape = (16,": "shape = (2,",
    "(*labels.shape, 32, 32, 3)": "(*labels.shape, 8, 8, 3)",
    "(schedule, 20, ": "(schedule, 2, ",
    "(trained.parts.schedule, 50, ": "(trained.parts.schedule, 5, ",
}


def calls(page: str) -> Iterator[list[str]]:
    """Yields the words of each command of a page, fenced, quoted or in a docstring."""
    text = read(page).replace("\\\\\n", " ").replace("\\\n", " ")
    for line in text.splitlines():
        for match in CALL.finditer(line):
            words = shlex.split(match[1], comments=True)
            yield list(itertools.takewhile(lambda word: word not in ENDS, words))


def pythons(page: str) -> list[str]:
    """Returns the fenced Python of a page."""
    return re.findall(r"^```python\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if any(calls(page))])
def test_every_command_of_a_page_parses(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    for name, *words in calls(page):
        monkeypatch.setattr(sys, "argv", [name])
        kind = name.removesuffix(".py")
        options = getattr(script(kind), kind.capitalize())
        try:
            command.parse(options, words)
        except (SystemExit, ValueError) as error:
            if "--help" not in words:
                line = shlex.join([name, *words])
                pytest.fail(f"{page}: {line}\n{error}\n{capsys.readouterr().err}")


def test_a_command_that_does_not_parse_would_be_seen(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\npython sample.py \\\n    --sampler dim --num 3  # a remark\n```"
    )
    assert [*calls(str(page))] == [["sample.py", "--sampler", "dim", "--num", "3"]]
    with pytest.raises(pytest.fail.Exception, match="did you mean ddim"):
        test_every_command_of_a_page_parses(str(page), monkeypatch, capsys)


def test_the_pages_with_python_are_those_that_are_run() -> None:
    found = {page: len(pythons(page)) for page in PAGES}
    assert {page: count for page, count in found.items() if count} == SNIPPETS


@pytest.mark.slow
@pytest.mark.parametrize("page", SNIPPETS)
def test_the_python_of_a_page_runs(
    page: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for text in pythons(page):
        for large, small in SMALLER.items():
            text = text.replace(large, small)
        exec(compile(text, page, "exec"), names)
    name, shape = {
        "README.md": ("images", (2, 8, 8, 1)),
        "docs/editing.md": ("again", (2, 8, 8, 1)),
        "docs/samplers.md": ("x_0", (2, 8, 8, 3)),
    }[page]
    assert names[name].shape == shape
