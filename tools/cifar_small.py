"""Trains a small model of CIFAR-10; draws, plots and exports it to docs/cifar_small/.

Run it as python tools/cifar_small.py ZIP, with the 50,000 training images of CIFAR-10
as a zip or a folder. Needs the notebook extra, for matplotlib.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ddpm_jax.command import set_up_jax
from ddpm_jax.images import save_grid
from ddpm_jax.loading import load_trained
from ddpm_jax.logs import read_metrics
from ddpm_jax.sampling import draw
from ddpm_jax.weights import save_weights

ROOT = Path(__file__).resolve().parents[1]
WORKDIR = ROOT / "runs" / "cifar_small"
OUT = ROOT / "docs" / "cifar_small"
# configs/cifar.py, narrowed to 2,245,763 parameters and to what two cores can do.
OVERRIDES = """
--model.ch 32 --model.dropout 0 --train.batch-size 32 --train.learning-rate 1e-3
--train.ema-decay 0.998 --train.warmup-steps 200 --train.steps 2500
--log.every 25 --log.eval-every 250 --log.eval-images 256
--log.sample-every 2500 --log.sample-images 16 --log.checkpoint-every 250
""".split()


def main() -> None:
    """Trains, or goes on training; then draws, plots and exports."""
    command = [sys.executable, "train.py", "--config", "configs/cifar.py"]
    source = ["--data.source", sys.argv[1], "--workdir", str(WORKDIR)]
    subprocess.run([*command, *source, *OVERRIDES], cwd=ROOT, check=True)
    set_up_jax()
    plot_losses(OUT / "loss.png")
    trained = load_trained(WORKDIR)
    images = np.concatenate(list(draw(trained, num=25, seed=0, batch_size=25)))
    save_grid(OUT / "grid.png", images)
    config = dataclasses.asdict(trained.config)
    # Where the images lay is of no use to others.
    config["data"]["source"] = Path(sys.argv[1]).name
    save_weights(
        OUT / "ema",
        trained.params,
        step=trained.step,
        config=config,
        dtype=jnp.bfloat16,
    )


def plot_losses(path: Path) -> None:
    """Plots L_simple of training and held-out images over the steps."""
    lines = read_metrics(WORKDIR / "metrics.jsonl")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, label in (
        ("loss", "training, mean of 25 steps"),
        ("held_out_loss", "held out"),
        ("held_out_loss_ema", "held out, EMA"),
    ):
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes.plot(*zip(*points, strict=True), label=label)
    axes.set(xlabel="step", ylabel="L_simple", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
