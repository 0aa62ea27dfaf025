"""What somebody may have meant by a word that is not among those there are."""

import difflib
from collections.abc import Iterable


def one_of(word: object, known: Iterable[object]) -> str:
    """The end of a sentence on a wrong word: the near one, if any, and all there are.

    Example:
      >>> "--fit is 'corp'" + one_of("corp", ("crop", "pad"))
      "--fit is 'corp', did you mean crop? Give one of crop, pad"
      >>> "--fit is 'zoom'" + one_of("zoom", ("crop", "pad"))
      "--fit is 'zoom'; give one of crop, pad"
    """
    words = [str(each) for each in known]
    near = difflib.get_close_matches(str(word).lower(), words, n=1)
    there = f"one of {', '.join(words)}"
    return f", did you mean {near[0]}? Give {there}" if near else f"; give {there}"
