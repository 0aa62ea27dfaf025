"""From a trained model to the numbers of the paper's tables, each with its protocol.

A metric is an entry of METRICS: its name on the command line, and the two functions of
`task.Metric`. Before anything is computed all metrics that were asked for have said
their protocol, so that bad input to the last is refused before the first has taken
hours. A number is stored in OUT/metrics.json as soon as it is there:

    {"nll": {"protocol": {"step": ..., "ema": ..., "images": ..., ...},
             "numbers": [{"name": "bits per dimension", "value": 3.75,
                          "standard_error": 0.01, "unit": "bits/dim"}, ...],
             "files": ["nll_terms.csv", ...]}}

and one whose protocol is the same is not computed again. To add a metric: one file in
this folder, with `protocol(task)` and `measure(task)`, its line in METRICS, and its
options, if any, as fields of `Settings`.
"""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ddpm_jax import parallel
from ddpm_jax.evaluation import nll
from ddpm_jax.evaluation import nll_ode
from ddpm_jax.evaluation import sample_quality
from ddpm_jax.evaluation.image_rows import forget_rows
from ddpm_jax.evaluation.task import Measured
from ddpm_jax.evaluation.task import Metric
from ddpm_jax.evaluation.task import Settings
from ddpm_jax.evaluation.task import Task
from ddpm_jax.files import locked
from ddpm_jax.files import replacing
from ddpm_jax.run import say
from ddpm_jax.sampling import Trained
from ddpm_jax.sampling import weights_identity
from ddpm_jax.weights import SUFFIX

METRICS: dict[str, Metric] = {
    "nll": Metric(nll.protocol, nll.measure),
    "nll_ode": Metric(nll_ode.protocol, nll_ode.measure),
    **sample_quality.METRICS,
}

RECORDS = "metrics.json"

Record = dict[str, Any]
"""What metrics.json holds of a metric: protocol, numbers, files."""


def parse_metrics(text: str) -> list[str]:
    """The metrics of a comma list.

    Raises:
      ValueError: if one is unknown, or there is none.

    Example:
      >>> parse_metrics("nll")
      ['nll']
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in METRICS:
            raise ValueError(
                f"--metrics has {name!r}; give one or more of {', '.join(METRICS)}, "
                "with commas between"
            )
    return list(dict.fromkeys(names))


def evaluate(
    out: Path, trained: Trained, settings: Settings, names: list[str]
) -> dict[str, Record]:
    """Measures a model; prints and returns a record for each metric, and stores it.

    Raises:
      ValueError, OSError: in one sentence, before anything is computed or written, if
        the images, the options or what out holds do not fit.
    """
    task = Task(trained, settings, out)
    protocols = {name: protocol_of(task, name) for name in names}
    first = parallel.first_process()
    with locked(out, "is evaluating") if first else nullcontext():
        for name, protocol in protocols.items():
            label = label_of(task, name)
            stored = read_records(out).get(label, {})
            if stored.get("protocol") == protocol:
                say(f"{label} has been measured already:")
            else:
                if stored:
                    say(f"remark: {out / RECORDS} holds {label} of another protocol")
                measured = METRICS[name].measure(task)
                if first:
                    store(out, label, protocol, measured)
                forget_rows(task, name)
            parallel.wait_for_all(f"{name} stored")
            say(show(label, read_records(out)[label]))
    records, labels = read_records(out), [label_of(task, name) for name in names]
    return {label: records[label] for label in labels}


def label_of(task: Task, name: str) -> str:
    """The name of a metric's record."""
    label = METRICS[name].label
    return name if label is None else label(task)


def protocol_of(task: Task, name: str) -> dict[str, Any]:
    """What a metric's numbers are of, as JSON gives it back."""
    protocol = weights_identity(task.trained) | METRICS[name].protocol(task)
    read: dict[str, Any] = json.loads(json.dumps(protocol))
    return read


def store(out: Path, name: str, protocol: dict[str, Any], measured: Measured) -> None:
    """Writes the record of a metric into out/metrics.json; others stay."""
    record = {
        "protocol": protocol,
        "numbers": [number._asdict() for number in measured.numbers],
        "files": [path.name for path in measured.files],
    }
    records = read_records(out) | {name: record}
    with replacing(out / RECORDS) as file:
        file.write((json.dumps(records, indent=2) + "\n").encode())


def read_records(out: Path) -> dict[str, Record]:
    """The records that out/metrics.json holds, or none.

    Raises:
      ValueError: if it is damaged.
    """
    path = out / RECORDS
    try:
        records: dict[str, Record] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ValueError(
            f"{path} is damaged; delete it, or give another --out"
        ) from None
    return records


def show(name: str, record: Record) -> str:
    """A record in lines: the numbers, then what they are of.

    Example:
      >>> number = {"name": "rate", "value": 1.5, "standard_error": 0.25,
      ...           "unit": "bits/dim"}
      >>> print(show("nll", {"numbers": [number], "protocol": {"seed": 0}}))
      nll
        rate: 1.5 +- 0.25 bits/dim
        protocol
          seed: 0
    """
    lines = [name]
    for number in record["numbers"]:
        error = number["standard_error"]
        text = f"{number['value']:.5g}" + (f" +- {error:.2g}" if error else "")
        lines.append(f"  {number['name']}: {text} {number['unit']}".rstrip())
    lines.append("  protocol")
    for key, value in record["protocol"].items():
        fields = value.items() if isinstance(value, dict) else ()
        words = " ".join(f"{field}={x}" for field, x in fields) or value
        lines.append(f"    {key}: {words}")
    return "\n".join(lines)


def default_out(workdir: Path | None) -> Path:
    """Where the records of a workdir are kept: in it, or here for other weights.

    Example:
      >>> print(default_out(Path("runs/digits")), default_out(Path("a.safetensors")))
      runs/digits/evaluation evaluation
    """
    if workdir is None or workdir.suffix == SUFFIX:
        return Path("evaluation")
    return workdir / "evaluation"
