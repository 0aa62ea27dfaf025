"""The best of a run's checkpoints: the one with the lowest score.

A score is a number by its name, such as held_out_loss_ema, and lies in the record of
its checkpoint, so that a run that goes on still knows which was the best. Numbers of
different names have nothing in common and are never compared.
"""

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Literal
from typing import Protocol

Scores = Mapping[str, float]

Step = int | Literal["best"]
"""Which checkpoint: that of a training step, or the best."""


class Checkpoint(Protocol):
    """What is known of a checkpoint when it is decided which ones stay."""

    step: int
    metrics: Scores | None


def best_step(scores: Mapping[int, Scores], name: str | None = None) -> int | None:
    """The step with the lowest score of a name; of equal ones the newest.

    name is that of the newest score if not given. A score that is not finite does not
    count. None if there is no score of the name.

    Example:
      >>> best_step({10: {"loss": 2.0}, 20: {"loss": 1.0}, 30: {"loss": 3.0}, 40: {}})
      20
    """
    if name is None:
        newest = max((step for step in scores if scores[step]), default=None)
        name = next(iter(scores[newest])) if newest is not None else ""
    known = {step: found[name] for step, found in scores.items() if name in found}
    finite = [step for step, score in known.items() if math.isfinite(score)]
    return min(finite, key=lambda step: (known[step], -step), default=None)


class KeepBest:
    """Lets the best checkpoint stay: a PreservationPolicy of Orbax."""

    def __init__(self, name: str, scores: Mapping[int, Scores]) -> None:
        """Goes by the score of a name; scores are those of the checkpoints there."""
        self.name, self.scores = name, dict(scores)

    def should_preserve(
        self, checkpoints: Sequence[Checkpoint], *, context: object
    ) -> list[bool]:
        """Which of the checkpoints is the best."""
        for checkpoint in checkpoints:
            # None: it was there before this process, and self.scores has its own.
            if checkpoint.metrics is not None:
                self.scores[checkpoint.step] = checkpoint.metrics
        steps = [checkpoint.step for checkpoint in checkpoints]
        there = {step: self.scores.get(step, {}) for step in steps}
        return [step == best_step(there, self.name) for step in steps]
