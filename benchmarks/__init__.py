"""What this project costs in time and memory, measured beside PyTorch's.

Each script is one command in the root of the repository, `python -m benchmarks.NAME`,
and leaves one JSON file in benchmarks/results/; `table` makes the tables of a page of
them. Measure on a machine that does nothing else.

| script | what it measures |
|---|---|
| `train_step` | this project's train step, against the matrix-multiply rate |
| `sample_step` | a reverse step, and a whole chain |
| `input` | the data pipeline, and how long a training loop waits for it |
| `startup` | import, and the first step with a cold and a warm compilation cache |
| `memory` | peak memory of a process that trains, ours and PyTorch's |
| `compiled_memory` | what the compiler says that a train step will take |
| `accelerators` | what a run would take on chips that are not here |
| `compare` | this project and PyTorch, step by step in turn |
"""
