"""What the keys of a JSON config may hold, checked at the door.

JSON knows numbers, strings, lists and dicts, and any of them may be where another was
meant. Bounds keep a file of a few bytes from asking for tables and layers without end.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

Fields = dict[str, Any]
"""Plain data, as JSON has it."""


class Kind(NamedTuple):
    """What a key may hold: in words, and as a test."""

    said: str
    holds: Callable[[object], bool]


def whole(least: int, most: int) -> Kind:
    """Whole numbers of a range.

    Example:
      >>> [whole(1, 9).holds(value) for value in (1, 9, 10, 2.0, True, "1", None)]
      [True, True, False, False, False, False, False]
    """
    return Kind(
        f"a whole number of {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def optional(kind: Kind) -> Kind:
    """A kind, or null."""
    return Kind(
        f"{kind.said}, or null", lambda value: value is None or kind.holds(value)
    )


def several(kind: Kind, most: int, *, least: int = 1) -> Kind:
    """A list of a kind, of least to most entries.

    Example:
      >>> [several(TEXT, 2).holds(value) for value in (["a"], [], ["a"] * 3, "a", [1])]
      [True, False, False, False, False]
    """
    return Kind(
        f"a list of {least} to {most}, each {kind.said}",
        lambda value: (
            isinstance(value, list)
            and least <= len(value) <= most
            and all(map(kind.holds, value))
        ),
    )


def number(said: str, allows: Callable[[float], bool] = lambda value: True) -> Kind:
    """Numbers that a float32 can be made of, and that allows is true of.

    Example:
      >>> kind = number("a number above 0", lambda value: value > 0)
      >>> [kind.holds(value) for value in (1, 0.5, 0, 10**99, float("nan"), True, "1")]
      [True, True, False, False, False, False, False]
    """

    def holds(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return abs(value) < 1e38 and allows(value)  # which NaN is not

    return Kind(said, holds)


ANY = Kind("anything", lambda value: True)
FLAG = Kind("true or false", lambda value: type(value) is bool)
TEXT = Kind("a string", lambda value: type(value) is str)
NUMBER = number("a number")


def refusal(key: str, value: object, source: object, allowed: str) -> ValueError:
    """The sentence on a key that can't be honoured."""
    return ValueError(
        f"{key} is {shown(value)} in {source}; this project needs {allowed}"
    )


def shown(value: object) -> str:
    """A value as Python writes it, and only the beginning of a long one.

    Example:
      >>> shown("linear"), len(shown([0.1] * 1000))
      ("'linear'", 83)
    """
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def with_defaults(
    given: Fields, defaults: Fields, kinds: Mapping[str, Kind], source: object
) -> Fields:
    """The keys of a config file, and defaults for those that it lacks.

    Keys that begin with _ are none of the model's, and are left out.

    Raises:
      ValueError: if there is a key that defaults does not know, or one whose value is
        not of its kind.
    """
    keys = {key: value for key, value in given.items() if not key.startswith("_")}
    for key in sorted(keys.keys() - defaults):
        raise refusal(key, keys[key], source, f"one of {', '.join(defaults)}")
    for key, value in keys.items():
        if not kinds[key].holds(value):
            raise refusal(key, value, source, kinds[key].said)
    return {**defaults, **keys}
