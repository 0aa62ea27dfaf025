"""From a trained model to the numbers of the paper's tables, each with its protocol.

A metric is an entry of METRICS: its name on the command line, and the two functions of
`task.Metric`. Before anything is computed all metrics that were asked for have given
their protocol, so that bad input to the last is refused before the first has taken
hours. A number is stored in OUT/metrics.json as soon as it is there:

    {"nll": [{"protocol": {"step": ..., "ema": ..., "images": ..., ...},
              "numbers": [{"name": "bits per dimension", "value": 3.75,
                           "standard_error": 0.01, "unit": "bits/dim"}, ...],
              "files": ["nll_terms_held_out_de7d7744.csv", ...]},
             ...]}

one record for each protocol, and what has been measured is not computed again. A model
that is no run's has, before the rest, the path or the hub's id that it was given by, as
"model", and the id's "revision"; the same weights by another name are not measured
again.

To add a metric: one file in this folder, with `protocol(task)` and `measure(task)`, its
line in METRICS, and its options, if any, as fields of `Settings`.
"""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ddpm_jax import processes
from ddpm_jax.evaluation import nll
from ddpm_jax.evaluation import nll_ode
from ddpm_jax.evaluation import sample_quality
from ddpm_jax.evaluation.image_rows import forget_rows
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.evaluation.task import Measured
from ddpm_jax.evaluation.task import Metric
from ddpm_jax.evaluation.task import Number
from ddpm_jax.evaluation.task import Task
from ddpm_jax.files import locked
from ddpm_jax.files import replacing
from ddpm_jax.loading import Trained
from ddpm_jax.run import say
from ddpm_jax.spelling import one_of
from ddpm_jax.weights import SUFFIX

METRICS: dict[str, Metric] = {
    "nll": Metric(nll.protocol, nll.measure),
    "nll_ode": Metric(nll_ode.protocol, nll_ode.measure),
    **sample_quality.METRICS,
}

RECORDS = "metrics.json"

Record = dict[str, Any]
"""A measurement in metrics.json: protocol, numbers, files."""


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
                f"--metrics has {name!r}{one_of(name, METRICS)}, or several with "
                "commas between"
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
    first, records = processes.first_process(), {}
    with locked(out, "is evaluating") if first else nullcontext():
        for name, protocol in protocols.items():
            label = label_of(task, name)
            stored = read_records(out).get(label, [])
            same = [x for x in stored if unnamed(x["protocol"]) == protocol]
            if same:
                say(f"{label} has been measured already:")
                record = same[0]
            else:
                if stored:
                    say(f"remark: {out / RECORDS} has other protocols of {label}")
                record = measure(task, name, protocol)
                if first:
                    store(out, label, record)
                    forget_rows(task.out / name)
            processes.wait_for_all(f"{name} stored")
            say(show(label, record))
            records[label] = record
    return records


def measure(task: Task, name: str, protocol: dict[str, Any]) -> Record:
    """Measures a metric; its record, once all processes have come so far.

    Raises:
      ArithmeticError: if a number is not finite.
    """
    try:
        measured = METRICS[name].measure(task)
        check_finite(name, measured)
    except ArithmeticError:
        processes.wait_for_all(f"{name} failed")
        if processes.first_process():
            forget_rows(task.out / name)
        raise
    # Until then others may read the rows that are deleted next.
    processes.wait_for_all(f"{name} measured")
    return {
        "protocol": {**named(task, protocol), **protocol},
        "numbers": [number._asdict() for number in measured.numbers],
        "files": [path.name for path in measured.files],
    }


def check_finite(name: str, measured: Measured) -> None:
    """Raises ArithmeticError if a number, or its error, is none."""
    for number in measured.numbers:
        if not math.isfinite(number.value + (number.standard_error or 0)):
            raise ArithmeticError(
                f"{name} is not stored, for {number.name} came out as {number.value}; "
                "the weights, or features of the images, are out of range"
            )


def label_of(task: Task, name: str) -> str:
    """The name of a metric's record."""
    label = METRICS[name].label
    return name if label is None else label(task)


def protocol_of(task: Task, name: str) -> dict[str, Any]:
    """What a metric's numbers are of, as JSON gives it back."""
    text = json.dumps(METRICS[name].protocol(task), allow_nan=False)
    protocol: dict[str, Any] = json.loads(text)
    return protocol


def named(task: Task, protocol: dict[str, Any]) -> dict[str, str]:
    """As what the model was given, where a protocol is of one that no workdir tells."""
    names = {"model": task.trained.given, "revision": task.trained.revision}
    if "crc32 of the weights" not in protocol:
        return {}
    return {key: name for key, name in names.items() if name is not None}


def unnamed(protocol: dict[str, Any]) -> dict[str, Any]:
    """A protocol without what the model was given as: its checksum tells it.

    Example:
      >>> unnamed({"model": "google/ddpm-cat-256", "revision": "main", "step": 0})
      {'step': 0}
    """
    return {k: v for k, v in protocol.items() if k not in ("model", "revision")}


def store(out: Path, label: str, record: Record) -> None:
    """Adds a record to out/metrics.json; others stay."""
    records = read_records(out)
    records[label] = [*records.get(label, []), record]
    text = json.dumps(records, indent=2, allow_nan=False)
    with replacing(out / RECORDS) as file:
        file.write((text + "\n").encode())


def read_records(out: Path) -> dict[str, list[Record]]:
    """The records that out/metrics.json holds, by the names of their metrics.

    Earlier versions kept the last record of a name alone, and numbers that are not
    finite; those are left out.

    Raises:
      ValueError: if it is damaged.
    """
    path = out / RECORDS
    try:
        names = json.loads(path.read_text())
        lists = {k: v if isinstance(v, list) else [v] for k, v in names.items()}
        return {k: [x for x in v if is_finite(x)] for k, v in lists.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, LookupError, AttributeError):
        raise ValueError(
            f"{path} is damaged; delete it, or give another --out"
        ) from None


def is_finite(record: Record) -> bool:
    """Whether the numbers of a record are; TypeError or LookupError if it is none.

    Example:
      >>> number = {"name": "rate", "value": float("nan"), "standard_error": None,
      ...           "unit": "bits/dim"}
      >>> is_finite({"protocol": {}, "numbers": [number], "files": []})
      False
    """
    record["protocol"].items()
    numbers = [Number(**number) for number in record["numbers"]]
    return all(math.isfinite(number.value) for number in numbers)


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
