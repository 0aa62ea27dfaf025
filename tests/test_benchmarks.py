"""The arithmetic of the benchmarks: ratios, intervals, what counts, and tables."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import compare
from benchmarks import ratios
from benchmarks import report
from benchmarks import table
from benchmarks import targets
from benchmarks import turns
from benchmarks import work
from benchmarks import worker
from benchmarks.accelerators import Chip
from benchmarks.accelerators import Program
from benchmarks.accelerators import estimate

TASK = work.Task("train")
CPU = {"machine": {"cores": 2, "processor": "P", "gpus": []}, "device": "cpu"}


def round_of(others: float = 0.0, cpu: float = 2.0, **walls: float) -> turns.Round:
    """A round in which every worker kept cpu cores busy."""
    done = {name: turns.Turn(wall, cpu * wall, 2**20) for name, wall in walls.items()}
    return turns.Round(done, others)


def result(benchmark: str, *rows: report.Row, date: str = "2026") -> dict[str, Any]:
    return {"benchmark": benchmark, "date": date, "rows": list(rows), **CPU}


def test_a_machine_that_slows_for_some_rounds_does_not_move_the_ratio() -> None:
    slowness = np.array([1.0, 5.0, 1.0, 2.0, 1.0])
    ratio = ratios.median_ratio(list(3 * slowness), list(4 * slowness))
    assert ratio.median == pytest.approx(0.75)


def test_rounds_are_paired_one_to_one() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios.median_ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize("n", [6, 9, 30])
def test_the_interval_misses_the_median_with_at_most_5_percent(n: int) -> None:
    values = [float(i) for i in range(n)]
    low, high = ratios.sign_interval(values)
    assert low is not None
    assert high == n - 1 - low
    # k = low + 1 values lie at or below the lower end, as many above the upper one.
    k = int(low) + 1
    outside = [2 * sum(math.comb(n, i) for i in range(j)) / 2**n for j in (k, k + 1)]
    assert outside[0] <= 0.05 < outside[1]


def test_the_interval_holds_the_true_median_in_95_percent_of_all_cases() -> None:
    draws = np.random.default_rng(0).exponential(size=(2000, 25))
    ends = np.array([ratios.sign_interval(list(draw)) for draw in draws])
    held = (ends[:, 0] <= math.log(2)) & (math.log(2) <= ends[:, 1])
    assert held.mean() == pytest.approx(0.957, abs=0.015)  # exact for n = 25


@pytest.mark.parametrize("n", range(6))
def test_too_few_rounds_have_no_interval(n: int) -> None:
    assert ratios.sign_interval([1.0] * n) == (None, None)


@pytest.mark.parametrize(
    "done,quiet",
    [
        (round_of(ours=1.0, torch=2.0), True),
        (round_of(ours=1.0, torch=2.0, others=0.2), False),
        (round_of(ours=1.0, torch=2.0, cpu=1.89), False),
        (turns.Round({"a": turns.Turn(1, 2, 0), "b": turns.Turn(1, 1, 0)}, 0), False),
    ],
)
def test_a_round_counts_only_if_no_worker_was_disturbed(
    done: turns.Round, quiet: bool
) -> None:
    assert turns.is_quiet(done, min_cpu=1.9, max_others=0.1) == quiet


def test_no_round_left_is_an_error_of_one_sentence() -> None:
    with pytest.raises(ArithmeticError, match="all 1 rounds are thrown out"):
        compare.check_kept([], [round_of(ours=1.0)])


def test_the_fastest_rival_is_one_of_the_same_network() -> None:
    names = (*work.default_peers("train"), "lucidrains-other-net")
    walls = dict(zip(names, (1.0, 2.0, 1.6, 1.8, 0.5), strict=True))
    rows = compare.summarise(TASK, dict.fromkeys(names, 1), [round_of(**walls)])
    by_name = {row["worker"]: row for row in rows}
    assert [name for name in names if by_name[name]["fastest"]] == [names[2]]
    assert by_name["diffusers-compile"]["ratio"] == pytest.approx(1 / 1.8)
    assert by_name["diffusers-eager"]["ms"] == pytest.approx(2000)
    assert "ratio" not in by_name["ours"]


def test_a_sampling_turn_is_reported_by_the_step() -> None:
    task = work.Task("sample", steps=20)
    (row,) = compare.summarise(task, {"ours": 1}, [round_of(ours=1.0)])
    assert row["ms"] == pytest.approx(50)


def test_unknown_and_unfit_peers_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no peer keras; there are ours, diffusers"):
        work.check_peers(("keras",), "train")
    with pytest.raises(ValueError, match="diffusers-pipeline can sample, not train"):
        work.check_peers(("diffusers-pipeline",), "train")


def test_a_missing_package_is_answered_with_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'torch.*".\[benchmarks\]"'):
        work.check_peers(("ours", "diffusers-eager"), "train")


def test_a_turn_counts_the_time_on_the_clock_and_on_the_cores() -> None:
    wall, cpu = worker.take_turn(lambda: sum(range(100_000)))
    assert 0 < cpu <= 1.5 * wall + 0.01
    assert worker.resident_peak() > 2**20


def test_a_worker_that_dies_is_named() -> None:
    with pytest.raises(ChildProcessError, match="gone ended"):
        turns.Worker("gone", TASK)


def test_a_cell_without_a_number_stays_empty() -> None:
    row = {"worker": "ours", "parameters": 1000, "low": None, "high": None}
    text = table.render("compare", [row])
    assert text.splitlines()[0] == "| worker | parameters |"
    assert text.splitlines()[2] == "| ours | 1,000 |"


def test_a_page_keeps_all_but_its_tables_and_rewriting_changes_nothing() -> None:
    begin, end = "<!-- benchmarks: startup -->\n", "<!-- /benchmarks -->"
    rows = table.collect([result("startup", {"what": "import", "import_s": 0.5})])
    page = table.rewrite(f"# Speed\n{begin}old\n{end}\nThe rest\n", rows)
    assert page.startswith(f"# Speed\n{begin}| what | import, s | machine |")
    assert page.endswith(f"| import | 0.50 | 2 cores of P |\n{end}\nThe rest\n")
    assert table.rewrite(page, rows) == page


def test_a_page_that_wants_an_unknown_table_is_told_the_known_ones() -> None:
    page = "<!-- benchmarks: speed -->\n<!-- /benchmarks -->"
    with pytest.raises(ValueError, match="no table speed; there are targets, compare"):
        table.rewrite(page, {})


def test_targets_are_empty_without_results_and_take_the_newest_with_them() -> None:
    empty = table.render_targets({})
    assert len(empty.splitlines()) == len(targets.TARGETS) + 2
    assert all(line.endswith("|  |") for line in empty.splitlines()[2:])
    rows = [
        result("startup", {"what": "import ddpm_jax", "import_s": s}, date=date)
        for date, s in (("2026-01", 0.9), ("2026-02", 0.7))
    ]
    (line,) = (
        line
        for line in table.render_targets(table.collect(rows)).splitlines()
        if line.startswith("| import")
    )
    assert line == "| import ddpm_jax | < 1.0 s | 0.70 s |  |  |"


def test_every_target_finds_the_row_of_its_benchmark() -> None:
    for target in targets.TARGETS:
        row = dict.fromkeys(("ratio", "low", "high", "share"), 0.5)
        row |= dict.fromkeys(("wait_share", "import_s", "seconds"), 0.5)
        rows = {target.benchmark: [{**row, **target.cpu, "device": "cpu"}]}
        assert table.target_cells(target, rows)[2], target.what


def test_a_result_is_read_back_with_its_machine_and_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks/compare.py", "train", "--ch", "32"])
    path = report.write(tmp_path, "ch32", "cpu", [{"ms": 1.0}])
    assert path.name == "compare-ch32-cpu.json"
    (content,) = report.read_all(tmp_path)
    assert content == json.loads(path.read_text())
    assert content["command"] == "python -m benchmarks.compare train --ch 32"
    assert content["machine"]["cores"] >= 1
    assert table.collect([content])["compare"][0]["ms"] == 1.0


def test_an_estimate_takes_the_slower_of_compute_and_memory_and_hides_the_links() -> (
    None
):
    chip = Chip(4, {}, 100.0, 32.0, 10.0, 2.0, 3.0)
    sizes = {"images": 6, "parameters": 1, "steps": 3600, "share": 0.5}
    # 100 operations at half of 100 a second: 2 s; 30 bytes at 10 a second: 3 s;
    # 2 * 3/4 * 4 bytes at 2 a second: 3 s, of which 2 s hide behind 2/3 of the step.
    found = estimate(chip, Program(100.0, 30.0, None), **sizes)
    assert (found["compute_ms"], found["memory_ms"]) == (2000, 3000)
    assert (found["all_reduce_mb"], found["all_reduce_ms"]) == (6e-6, 3000)
    assert found["hours"] == pytest.approx(4)
    assert found["cost"] == pytest.approx(4 * 4 * 3)
    assert found["hides_from"] == pytest.approx(9)
    unknown = estimate(chip, Program(300.0, None, None), **sizes)
    assert unknown["memory_ms"] is None
    assert unknown["hours"] == pytest.approx(6)
