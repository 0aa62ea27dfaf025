"""What the documents name exists: links, functions, tests, flags, config cards."""

import ast
import contextlib
import functools
import importlib
import io
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from test_scripts import script as load_script

from ddpm_jax import command

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
CARD = ("reproduces:", "data:", "hardware:", "command:")
MEGABYTES = 2**20
# A home folder of Linux, macOS or Windows, or a folder of a build machine.
HOME_FOLDER = re.compile(r"(?<![\w.~-])(/home|/Users|/root|[A-Z]:\\Users)[/\\][\w.-]+")

SCRIPTS = "train|sample|edit|evaluate|export|figure"


def read(name: str) -> str:
    path = ROOT / name
    assert path.is_file(), f"{name} is missing"
    return path.read_text()


def tracked_files() -> list[Path]:
    """Returns the files that git has, or would take: not the ignored ones."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    )
    paths = [ROOT / name for name in result.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def pages() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".md"]


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def broken_links(page: Path) -> list[str]:
    """Returns the links into the repository that lead nowhere."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def maths_rows() -> list[list[str]]:
    """Returns the cells of docs/maths.md's table | equation | function | test |."""
    rows = [line for line in read("docs/maths.md").splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    heads = [n for n, row in enumerate(cells) if "function" in row and "test" in row]
    assert heads, "docs/maths.md has no table with the columns function and test"
    function, test = cells[heads[0]].index("function"), cells[heads[0]].index("test")
    return [[row[function], row[test]] for row in cells[heads[0] + 2 :]]


def exists(dotted: str) -> bool:
    """Says whether a name like ddpm_jax.diffusion.q_sample leads to an object."""
    module, _, name = dotted.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return False


def has_test(node_id: str) -> bool:
    """Says whether a name like tests/test_x.py::test_y leads to a function."""
    file, _, name = node_id.partition("::")
    tree = ast.parse(read(file))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return name.partition("[")[0] in {node.name for node in functions}


def commands(page: str = "README.md") -> list[list[str]]:
    """Returns a page's fenced `python script.py ...` lines, as words."""
    fences = re.findall(r"^```\w*\n(.*?)^```", read(page), re.DOTALL | re.M)
    lines = "".join(fences).replace("\\\n", " ").splitlines()
    call = re.compile(rf"python3? ((?:{SCRIPTS})\.py\b.*)")
    found = [call.search(line) for line in lines]
    return [shlex.split(match[1], comments=True) for match in found if match]


@functools.cache
def known_flags(script: str, *config: str) -> set[str]:
    """Returns the flags in the help of a script, which may depend on its config."""
    name = script.removesuffix(".py")
    options = getattr(load_script(name), name.capitalize())
    said = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        pytest.raises(SystemExit),
    ):
        patch.chdir(ROOT)
        patch.setenv("COLUMNS", "200")  # so that no flag is broken in two
        command.parse(options, [*config, "--help"])
    return set(re.findall(r"--[a-z][\w.-]*\w", said.getvalue().replace("_", "-")))


def config_of(words: list[str]) -> list[str]:
    """Returns the `--config FILE` of a command, or nothing."""
    text = shlex.join(words).replace("--config=", "--config ").split()
    at = text.index("--config") if "--config" in text else len(text)
    return text[at : at + 2]


def mode_of(words: list[str]) -> list[str]:
    """Returns the mode of an edit.py command, or nothing."""
    modes = ("inpaint", "img2img", "upscale", "deblur", "colourise", "denoise")
    return [word for word in words if word in modes]


def test_the_readme_shows_how_to_call_every_script() -> None:
    scripts = {f"{name}.py" for name in SCRIPTS.split("|")}
    assert {words[0] for words in commands()} == scripts


def test_every_flag_of_the_readme_is_known_to_its_script() -> None:
    for script, *rest in commands():
        known = known_flags(script, *config_of(rest), *mode_of(rest))
        known |= {"--config", "--help"}
        flags = [word.partition("=")[0] for word in rest if word[:2] == "--"]
        unknown = {flag.replace("_", "-") for flag in flags} - known
        assert not unknown, f"{script} does not know {sorted(unknown)}"


def test_every_config_that_the_readme_names_exists() -> None:
    for name in re.findall(r"\bconfigs/\w+\.py", read("README.md")):
        assert (ROOT / name).is_file(), name


def test_the_docstring_of_every_config_is_its_experiment_card() -> None:
    assert {"cifar.py", "digits.py"} <= {path.name for path in CONFIGS}
    for path in CONFIGS:
        card = ast.get_docstring(ast.parse(path.read_text())) or ""
        missing = [word for word in CARD if word not in card.lower()]
        assert not missing, f"the docstring of {path.name} lacks {missing}"
        assert f"python train.py --config configs/{path.name}" in card, path.name


def test_every_equation_leads_to_a_function_and_to_a_test() -> None:
    rows = maths_rows()
    assert rows
    for function_cell, test_cell in rows:
        functions = re.findall(r"`(ddpm_jax\.[\w.]+)`", function_cell)
        tests = re.findall(r"`(tests/\w+\.py::[^`]+)`", test_cell)
        assert functions, f"no function in {function_cell!r}"
        assert tests, f"no test in {test_cell!r}"
        assert all(map(exists, functions)), f"{functions} do not all exist"
        assert all(map(has_test, tests)), f"{tests} do not all exist"


def test_links_into_the_repository_resolve() -> None:
    read("README.md")
    broken = {str(page.relative_to(ROOT)): broken_links(page) for page in pages()}
    assert {page: links for page, links in broken.items() if links} == {}


def test_no_file_is_over_five_megabytes() -> None:
    sizes = {path: path.stat().st_size / MEGABYTES for path in tracked_files()}
    assert {path: size for path, size in sizes.items() if size > 5} == {}


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    texts = {path: path.read_text(errors="ignore") for path in tracked_files()}
    found = {path: HOME_FOLDER.search(text) for path, text in texts.items()}
    assert {path.name: match[0] for path, match in found.items() if match} == {}
