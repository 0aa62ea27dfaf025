"""Writes checkpoints with TensorFlow, for tests/test_tf_checkpoint.py to read without.

Needs tensorflow; run it in an environment of its own:

    python tools/make_tf_fixtures.py

One is of a single file of numbers, as the original code of Ho et al. (2020) writes
them; the other of two.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

OUT = Path(__file__).resolve().parents[1] / "tests/fixtures/tensorflow"
GRID = np.arange(12, dtype=np.float32).reshape(3, 4)


def write(path: Path, values: dict[str, object], devices: int) -> None:
    """Writes a checkpoint whose variables are on so many devices, a file for each."""
    with tf.Graph().as_default():
        variables = []
        for i, (name, value) in enumerate(values.items()):
            with tf.device(f"/cpu:{i % devices}"):
                variable = tf.compat.v1.get_variable(
                    name, initializer=value, use_resource=False
                )
            variables.append(variable)
        config = tf.compat.v1.ConfigProto(device_count={"CPU": devices})
        saver = tf.compat.v1.train.Saver(variables, sharded=devices > 1)
        with tf.compat.v1.Session(config=config) as session:
            session.run(tf.compat.v1.global_variables_initializer())
            saver.save(session, str(path), write_meta_graph=False, write_state=False)


def main() -> None:
    """Writes the same variables in both forms."""
    tf.compat.v1.disable_eager_execution()
    values = {
        "model/conv_in/W": GRID,
        "model/conv_in/W/ExponentialMovingAverage": GRID + 0.5,
        "model/double": GRID.astype(np.float64),
        "model/half": GRID.astype(np.float16),
        "model/bfloat16": GRID.astype(tf.bfloat16.as_numpy_dtype),
        "model/int32": GRID.astype(np.int32),
        "model/empty": np.zeros((0, 2), np.float32),
        "global_step": np.array(2**40),
        **{f"model/many_{i:03d}/b": np.full(1, i, np.float32) for i in range(200)},
    }
    OUT.mkdir(parents=True, exist_ok=True)
    for name, devices in (("model.ckpt", 1), ("sharded.ckpt", 2)):
        write(OUT / name, values, devices)
    print(f"tensorflow {tf.__version__}: {sorted(p.name for p in OUT.iterdir())}")


if __name__ == "__main__":
    main()
