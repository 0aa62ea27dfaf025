"""Writes files of torch.save, for tests/test_torch_file.py to read without torch.

Needs torch; run it in an environment of its own:

    python tools/make_torch_fixtures.py
"""

from collections import OrderedDict
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parents[1] / "tests/fixtures/torch"


def main() -> None:
    """Writes the same tensors in both forms."""
    grid = torch.arange(12.0).reshape(3, 4)
    linear = torch.nn.Linear(2, 2)
    tensors = OrderedDict(
        float32=grid,
        transposed=grid.T,
        row=grid[1],
        every_second=grid[:, ::2],
        float64=grid.double(),
        float16=grid.half(),
        bfloat16=grid.bfloat16(),
        int64=torch.tensor([-(2**40), 2**40]),
        uint8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False]),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(grid),
        nested={
            "steps": [1, 2.5, None, True, ("a", "b")],
            "state_dict": linear.state_dict(),
            "shape": grid.shape,
        },
    )
    OUT.mkdir(parents=True, exist_ok=True)
    for name, form in (("zip.pt", True), ("legacy.pt", False)):
        torch.save(tensors, OUT / name, _use_new_zipfile_serialization=form)
        print(f"{name}: {(OUT / name).stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
