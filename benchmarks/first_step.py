"""Takes the first train step of the CIFAR-10 network, and prints what it took.

train.py compiles two more programs before its first step, those of the held-out loss
and of the samples.

`benchmarks.startup` runs it, each time in a fresh process. The argument is the ch of
the network; the answer is a line of JSON.
"""

import json
import sys
import time


def main() -> None:
    """Imports, draws the parameters, compiles and steps, each on the clock."""
    times = [time.perf_counter()]
    import jax

    from benchmarks.ours import compile_training
    from benchmarks.ours import make_state
    from benchmarks.ours import read_config
    from ddpm_jax import command

    command.set_up_jax()
    config = read_config(ch=int(sys.argv[1]), batch_size=8)
    times.append(time.perf_counter())
    state = jax.block_until_ready(make_state(config))
    times.append(time.perf_counter())
    step, batch, key = compile_training(config)
    times.append(time.perf_counter())
    jax.block_until_ready(step(state, batch, key))
    times.append(time.perf_counter())
    stages = ("import_s", "init_s", "compile_s", "step_s")
    took = (after - before for before, after in zip(times, times[1:], strict=False))
    print(json.dumps(dict(zip(stages, took, strict=True))))


if __name__ == "__main__":
    main()
