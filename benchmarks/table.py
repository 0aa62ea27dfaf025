"""Makes the tables of a page of the JSON files: python -m benchmarks.table.

What stands between `<!-- benchmarks: NAME -->` and `<!-- /benchmarks -->` is replaced
by the table NAME; the rest of the page stays. A cell without a result stays empty.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.targets import TARGETS
from benchmarks.targets import Target
from benchmarks.targets import Where
from ddpm_jax import command

BLOCK = re.compile(
    r"(<!-- benchmarks: (\w+) -->\n).*?(<!-- /benchmarks -->)", re.DOTALL
)

# Each table: its columns, and how a cell is made of a row. Every row also knows the
# machine and the date of its file.
COLUMNS = {
    "compare": {
        "task": "{kind}, ch {ch}, batch {batch_size}, {dtype}",
        "worker": "{worker}",
        "parameters": "{parameters:,}",
        "ms (quartiles)": "{ms:.4g} ({ms_q1:.4g} to {ms_q3:.4g})",
        "cores busy": "{cpu_per_wall:.2f}",
        "OpenMP": "{openmp}",
        "first / this": "{ratio:.3f}",
        "95 % interval": "{low:.3f} to {high:.3f}",
        "rounds": "{rounds}",
        "thrown out": "{thrown_out}",
        "machine": "{machine}",
    },
    "train_step": {
        "ch": "{ch}",
        "batch": "{batch_size}",
        "dtype": "{dtype}",
        "micro-batches": "{accumulate}",
        "remat": "{remat}",
        "ms (quartiles)": "{ms:.4g} ({ms_q1:.4g} to {ms_q3:.4g})",
        "images / s": "{images_per_s:.4g}",
        "GFLOP": "{gflop:.4g}",
        "GFLOP / s": "{gflop_per_s:.4g}",
        "matrix multiply, GFLOP / s": "{matmul_gflop_per_s:.4g}",
        "share": "{share:.0%}",
        "cores busy": "{cpu_per_wall:.2f}",
        "machine": "{machine}",
    },
    "sample_step": {
        "ch": "{ch}",
        "batch": "{batch_size}",
        "dtype": "{dtype}",
        "ms / step (quartiles)": "{ms:.4g} ({ms_q1:.4g} to {ms_q3:.4g})",
        "cores busy": "{cpu_per_wall:.2f}",
        "steps of a chain": "{chain_steps}",
        "s / chain": "{chain_s:.4g}",
        "machine": "{machine}",
    },
    "input": {
        "images": "{source}",
        "batch": "{batch_size}",
        "pipeline alone, images / s": "{images_per_s:,.0f}",
        "ms / step in the loop": "{ms:.4g}",
        "of it waiting for input": "{wait_share:.2%}",
        "machine": "{machine}",
    },
    "startup": {
        "what": "{what}",
        "import, s": "{import_s:.2f}",
        "parameters, s": "{init_s:.2f}",
        "compile, s": "{compile_s:.2f}",
        "first step, s": "{step_s:.2f}",
        "whole process, s (quartiles)": "{seconds:.2f} ({low_s:.2f} to {high_s:.2f})",
        "machine": "{machine}",
    },
    "memory": {
        "worker": "{worker}",
        "ch": "{ch}",
        "batch": "{batch_size}",
        "dtype": "{dtype}",
        "peak, MiB": "{peak_mib:,.0f}",
        "first / this": "{ratio:.2f}",
        "machine": "{machine}",
    },
    "compiled_memory": {
        "config": "{config}",
        "devices": "{devices}",
        "batch per device": "{rows}",
        "dtype": "{dtype}",
        "micro-batches": "{accumulate}",
        "remat": "{remat}",
        "state and batch, MiB": "{arguments_mib:,.0f}",
        "temporary, MiB": "{temporary_mib:,.0f}",
        "in all per device, MiB": "{total_mib:,.0f}",
        "GFLOP per device": "{gflop:,.0f}",
        "compiled in, s": "{compile_s:.0f}",
    },
    "accelerators": {
        "config": "{config}",
        "chips": "{chip}",
        "account": "{account}",
        "images per chip": "{images}",
        "GFLOP": "{gflop:,.0f}",
        "GB moved": "{gb_moved:.2f}",
        "GB needed of": "{gb_needed:.2f} of {gb_there:.0f}",
        "compute, ms": "{compute_ms:.1f}",
        "memory, ms": "{memory_ms:.1f}",
        "all-reduce, MB": "{all_reduce_mb:.0f}",
        "all-reduce, ms": "{all_reduce_ms:.2f}",
        "hides from images per chip": "{hides_from:.1f}",
        "hours of the run": "{hours:.1f}",
        "US dollars": "{cost:.0f}",
    },
}


@dataclass(frozen=True)
class Table:
    """Rewrites the tables of a page from the results."""

    page: Path = report.ROOT / "docs" / "performance.md"
    """The page with the markers."""
    results: Path = report.RESULTS
    """The folder of the JSON files."""


def main(arguments: list[str]) -> int:
    """Parses, and rewrites the page in place."""
    options = command.parse(Table, arguments)
    rows = collect(report.read_all(options.results))
    options.page.write_text(rewrite(options.page.read_text(), rows))
    return 0


def collect(contents: list[dict[str, Any]]) -> dict[str, list[report.Row]]:
    """The rows of all results by benchmark; each knows its device, machine and date."""
    rows: dict[str, list[report.Row]] = {}
    for content in contents:
        shared = {key: content[key] for key in ("device", "date")}
        shared["machine"] = machine_name(content["device"], content["machine"])
        here = [{**shared, **row} for row in content["rows"]]
        rows.setdefault(content["benchmark"], []).extend(here)
    return rows


def machine_name(device: str, machine: Mapping[str, Any]) -> str:
    """The hardware that did the work, in a few words."""
    if device != "cpu":
        return ", ".join(machine["gpus"]) or device
    return f"{machine['cores']} cores of {machine['processor']}"


def rewrite(page: str, rows: dict[str, list[report.Row]]) -> str:
    """The page with every table made again; ValueError if it wants an unknown one."""

    def block(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name == "targets":
            return f"{begin}{render_targets(rows)}\n{end}"
        if name not in COLUMNS:
            known = ", ".join(["targets", *COLUMNS])
            raise ValueError(f"there is no table {name}; there are {known}")
        return f"{begin}{render(name, rows.get(name, []))}\n{end}"

    return BLOCK.sub(block, page)


def render(name: str, rows: list[report.Row]) -> str:
    """A table in Markdown; a column that no row fills is left out if there are rows."""
    cells = {
        title: [fill(template, row) for row in rows]
        for title, template in COLUMNS[name].items()
    }
    shown = {
        title: column for title, column in cells.items() if not rows or any(column)
    }
    return markdown(
        list(shown), [list(row) for row in zip(*shown.values(), strict=True)]
    )


def render_targets(rows: dict[str, list[report.Row]]) -> str:
    """The table of targets, each with what was measured on a CPU and on a GPU."""
    titles = ["what", "CPU, target", "CPU", "GPU, target", "GPU"]
    return markdown(titles, [target_cells(target, rows) for target in TARGETS])


def target_cells(target: Target, rows: dict[str, list[report.Row]]) -> list[str]:
    """The five cells of one target."""
    found = rows.get(target.benchmark, [])
    cpu = newest(found, {"device": "cpu", **target.cpu}, target.template)
    gpus = [
        newest(found, {"device": "gpu", **where}, target.template)
        for where in target.gpu
    ]
    return [
        target.what,
        target.at_most[0],
        cpu,
        target.at_most[1],
        ", ".join(filter(None, gpus)),
    ]


def newest(rows: list[report.Row], where: Where, template: str) -> str:
    """The cell of the last row that has these values, or an empty one."""
    matching = [row for row in rows if where.items() <= row.items()]
    return fill(template, matching[-1]) if matching else ""


def fill(template: str, row: report.Row) -> str:
    """The template with the row's values, or "" if one of them is missing.

    Example:
        >>> fill("{ms:.0f} ms", {"ms": 4.6}), fill("{ms:.0f} ms", {"ms": None})
        ('5 ms', '')
    """
    try:
        return template.format_map({k: v for k, v in row.items() if v is not None})
    except KeyError:
        return ""


def markdown(titles: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown.

    Example:
        >>> print(markdown(["a", "b"], [["1", ""]]))
        | a | b |
        |---|---|
        | 1 |  |
    """
    lines = [titles, *rows]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], f"|{'---|' * len(titles)}", *text[1:]])


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
