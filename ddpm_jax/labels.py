"""The labels that a network is told when it draws: if it can be, and of which image.

Images 0, 1, ... are of the labels in turn, so that a draw may be cut anywhere.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ddpm_jax.build import Parts
from ddpm_jax.build import conditioned

NO_CLASSES = (
    "this model was trained without labels and knows no classes; leave out --label and "
    "--guidance"
)
"""What is said to one who asks such a model for a class."""

MOST_GUIDANCE = 10
"""The scale of classifier-free guidance above which images are hardly meant."""


def check_labels(parts: Parts, label: tuple[int, ...], guidance: float) -> None:
    """Raises ValueError unless a model knows the labels, and can be guided to them."""
    known, unlabelled = parts.model.num_classes, parts.label_dropout > 0
    if known is None and (label or guidance != 1):
        raise ValueError(NO_CLASSES)
    if known is None:
        return
    wrong = [number for number in label if not 0 <= number < known]
    if wrong:
        raise ValueError(
            f"label is {wrong[0]} and the model knows {known} classes; give 0 to "
            f"{known - 1}"
        )
    if not label and guidance != 1:
        raise ValueError(
            f"guidance is {guidance:g} and there is no label to guide to; give label "
            "as well"
        )
    if not math.isfinite(guidance) or guidance < 0:
        raise ValueError(
            f"guidance is {guidance}; give 0 (none of the label), 1 (the model as it "
            "is) or more, such as 2"
        )
    if not unlabelled and (not label or guidance != 1):
        raise ValueError(
            "this model always saw a label (train.label_dropout 0), so it can't draw "
            "without one and can't be guided; give label alone"
        )


def guidance_remarks(guidance: float) -> list[str]:
    """A line for a script to print, if the guidance is hardly meant.

    Example:
      >>> guidance_remarks(2.0)
      []
    """
    if guidance <= MOST_GUIDANCE:
        return []
    return [
        f"remark: a guidance of {guidance:g} drives most pixels to black and white; 1 "
        f"to {MOST_GUIDANCE} is usual"
    ]


def check_unlabelled(parts: Parts) -> None:
    """Raises ValueError if a model can't do without a label."""
    if parts.model.num_classes is not None and parts.label_dropout == 0:
        raise ValueError(
            "this model always saw a label (train.label_dropout 0), and here it is "
            "told none; take one that was trained with label dropout"
        )


def labelled(
    parts: Parts, index: jax.Array, label: tuple[int, ...], guidance: float
) -> Parts:
    """The parts, with the network told of the classes of images index [B], if any."""
    if not label:
        return parts
    return conditioned(parts, labels_in_turn(label, index), guidance)


def labels_in_turn(label: tuple[int, ...], index: ArrayLike) -> jax.Array:
    """The labels [B] of images index [B].

    Example:
      >>> labels_in_turn((3, 5), jnp.arange(4)).tolist()
      [3, 5, 3, 5]
    """
    return jnp.array(label)[jnp.asarray(index) % len(label)]
