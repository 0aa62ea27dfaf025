"""tools/sampler_page.py: what it draws anew, and the cells that it leaves empty."""

from pathlib import Path

import numpy as np
import pytest
from test_scripts import script as load_script

from ddpm_jax.loading import load_trained


@pytest.mark.slow
def test_a_cell_is_drawn_anew_only_if_it_has_too_few_images(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, model = load_script("tools/sampler_page"), load_trained(trained)

    def drawn(num: int) -> tuple[np.ndarray, str]:
        cell = page.cell_of(tmp_path, model, "ddim", 2, num, 2)
        return cell.images, capsys.readouterr().out

    few, said = drawn(2)
    assert len(few) == 2 and "drew ddim in 2 steps" in said
    more, said = drawn(4)
    assert len(more) == 4 and "drew ddim in 2 steps" in said
    np.testing.assert_array_equal(more[:2], few)
    again, said = drawn(3)
    np.testing.assert_array_equal(again, more)
    assert said == ""


def test_a_table_has_no_number_where_too_few_images_were_drawn() -> None:
    page = load_script("tools/sampler_page")
    cells = [
        {"sampler": "ddpm", "steps": 5, "fid": 0.25},
        {"sampler": "ddim", "steps": 5, "fid": None},
        {"sampler": "ddim", "steps": 1000, "fid": 0.125},
    ]
    rows = page.table(cells, "fid").splitlines()
    assert rows[2:4] == ["| ddpm | 0.25 |  |", "| ddim |  | 0.125 |"]
