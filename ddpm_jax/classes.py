"""The classes that a network was told of, by number and by name.

A network knows numbers 0..K-1. Their names are those of the training images, such as
the folders that these lay in; a run keeps them in its data.json.
"""

import difflib
from collections.abc import Iterable
from collections.abc import Sequence

SHOWN = 10


def numbers_of(given: Iterable[str | int], classes: Sequence[str]) -> tuple[int, ...]:
    """The labels that are meant: names of classes, and numbers as they are.

    Where names are numbers, but not each its own, as of folders 1 to 12, a name alone
    is understood: else one would ask for "3" and be given the fourth folder.

    Raises:
      ValueError: if one is neither a number nor a name; it says which is like it.

    Example:
      >>> numbers_of(["dog", "0"], ("cat", "dog"))
      (1, 0)
      >>> numbers_of(["10", "2"], ("1", "10", "2"))
      (1, 2)
      >>> numbers_of(["cta"], ("cat", "dog"))
      Traceback (most recent call last):
      ValueError: label is 'cta', which is no class of this model; did you mean cat?
    """
    return tuple(_number_of(str(label), classes) for label in given)


def _number_of(label: str, classes: Sequence[str]) -> int:
    if label in classes:
        return classes.index(label)
    own = [str(number) for number in range(len(classes))]
    if is_number(label) and (list(classes) == own or not any(map(is_number, classes))):
        return int(label)
    if not classes:
        raise ValueError(
            f"label is {label!r}, and this model has no names of classes; give their "
            "numbers, if it was trained with labels"
        )
    lower = {name.lower(): name for name in reversed(classes)}
    alike = difflib.get_close_matches(label.lower(), lower, n=1)
    if alike:
        hint = f"did you mean {lower[alike[0]]}?"
    else:
        more = ", ..." if len(classes) > SHOWN else ""
        hint = f"it has {', '.join(classes[:SHOWN])}{more}"
    raise ValueError(f"label is {label!r}, which is no class of this model; {hint}")


def is_number(label: str) -> bool:
    """Whether a label is a whole number, in ASCII's digits."""
    digits = label.removeprefix("-")
    return digits.isascii() and digits.isdecimal()


def describe(labels: Iterable[int], classes: Sequence[str]) -> list[str]:
    """A line on each label whose class has a name of its own, but not on very many.

    Example:
      >>> describe([3, 1, 3], ("airplane", "automobile", "bird", "cat"))
      ['label 3: cat', 'label 1: automobile']
      >>> describe([3], tuple("0123456789"))
      []
    """
    named = [n for n in dict.fromkeys(labels) if n < len(classes)]
    lines = [f"label {n}: {classes[n]}" for n in named if classes[n] != str(n)]
    left = len(lines) - SHOWN
    return lines if left <= 0 else [*lines[:SHOWN], f"and {left} more"]
