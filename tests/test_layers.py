"""The layers of docs/architecture.md, held against the imports of the sources."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ddpm_jax"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MATHEMATICS = {
    "decoder",
    "denoiser",
    "diffusion",
    "guidance",
    "keys",
    "likelihood",
    "loss_weights",
    "editing",
    "losses",
    "rate_distortion",
    "reverse",
    "samplers",
    "schedules",
    "spacings",
    "time_grids",
    "timesteps",
    "zero_snr",
}
MAY_IMPORT = {"ddpm_jax", "jax", "numpy"}
SOLE_USERS = {
    # weights.py for safetensors.flax, which knows bfloat16.
    "flax": {
        "blocks.py",
        "classifier.py",
        "inception.py",
        "inception_blocks.py",
        "unet.py",
        "weights.py",
    },
    "orbax": {"checkpoint.py", "checkpoint_items.py"},
    "pmap": {"parallel.py"},
}


def layers() -> dict[str, int]:
    """Reads {"keys": 0, "data": 0, ..., "train_loop": 5} from docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| L(\d+) \| ([^|]+) \|", text, re.MULTILINE)
    names = [(name, n) for n, cell in rows for name in re.findall(r"`(.+?)`", cell)]
    return {name.removesuffix(".py").rstrip("/"): int(n) for name, n in names}


def part(path: Path) -> str:
    """Names a source as the table does: its first folder, or its module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def label(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(path: Path) -> set[str]:
    """Returns the dotted names that a source imports, at any depth of the code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import on line {node.lineno}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def identifiers(path: Path) -> set[str]:
    """Returns every identifier of a source: names, attributes, parts of imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    found = {node.id for node in nodes if isinstance(node, ast.Name)}
    found |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return found | {word for name in imports(path) for word in name.split(".")}


def test_the_table_names_every_part_of_the_package_and_no_other() -> None:
    assert set(layers()) == {part(path) for path in SOURCES} - {"__init__"}


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_imports_point_from_a_higher_layer_to_a_lower_one(path: Path) -> None:
    layer = layers() | {"__init__": 11}
    ours = [name.split(".") for name in imports(path) if name.startswith("ddpm_jax.")]
    targets = {words[1] for words in ours} - {part(path)}
    unplaced = {part(path), *targets} - set(layer)
    assert not unplaced, f"docs/architecture.md places {unplaced} on no layer"
    upward = {target for target in targets if layer[target] >= layer[part(path)]}
    assert not upward, f"{part(path)} imports {upward}, which is not below it"


@pytest.mark.parametrize("name", sorted(MATHEMATICS))
def test_the_mathematics_imports_jax_numpy_and_itself_only(name: str) -> None:
    sources = [path for path in SOURCES if part(path) == name]
    words = [name.split(".") for path in sources for name in imports(path)]
    assert sources, f"ddpm_jax/{name} is missing"
    assert {first for first, *_ in words} <= MAY_IMPORT | sys.stdlib_module_names
    assert {w[1] for w in words if w[0] == "ddpm_jax"} <= MATHEMATICS


@pytest.mark.parametrize("word", SOLE_USERS)
def test_one_file_alone_knows(word: str) -> None:
    users = {path.name for path in SOURCES if word in identifiers(path)}
    assert users == SOLE_USERS[word]
