"""Fine-tuning: the parameters of one network put into another of the same build.

What was learned of pictures is in the layers between; those at both ends know how many
channels an image has, and the embedding of the classes how many there are. Where the
two networks differ there, the new one keeps the layer that it was made with.
"""

from typing import Any
from typing import NamedTuple

from ddpm_jax.trees import named

Params = dict[str, Any]
"""What a Flax network applies: {"params": {layer: a tree of arrays, or of shapes}}."""

CHANGEABLE = ("conv_in", "conv_out", "class_embed")
"""The layers in which the two networks may differ."""


class Transfer(NamedTuple):
    """What became of the layers that differ."""

    made_again: tuple[str, ...]  # as fresh as the new network was made
    left_out: tuple[str, ...]  # of the source, and without a place in the new network


def transfer(source: Params, fresh: Params) -> tuple[Params, Transfer]:
    """Returns fresh with the layers of source, and which it could not have.

    fresh may be shapes alone, to learn in time what would come of it.

    Raises:
      ValueError: if layers differ that may not; names a tensor and both shapes.

    Example:
      >>> import numpy as np
      >>> def network(channels):
      ...     first = {"kernel": np.full((3, 3, channels, 8), channels)}
      ...     return {"params": {"conv_in": first, "dense": {"bias": np.ones(8)}}}
      >>> transfer(network(1), network(3))[1]
      Transfer(made_again=('conv_in',), left_out=())
    """
    old, new = source["params"], fresh["params"]
    made_again = tuple(
        name
        for name in CHANGEABLE
        if name in new and shapes(new[name]) != shapes(old.get(name, {}))
    )
    left_out = tuple(name for name in CHANGEABLE if name in old and name not in new)
    found = misfit(
        {name: layer for name, layer in old.items() if name not in CHANGEABLE},
        {name: layer for name, layer in new.items() if name not in CHANGEABLE},
    )
    if found is not None:
        tensor, got, want = found
        raise ValueError(
            f"{tensor} is {got} in the source and {want} in the new network; only "
            f"{', '.join(CHANGEABLE)} may differ"
        )
    layers = {name: new[name] if name in made_again else old[name] for name in new}
    return {**fresh, "params": layers}, Transfer(made_again, left_out)


def misfit(got: Params, want: Params) -> tuple[str, Any, Any] | None:
    """A tensor whose shapes in two trees differ, with both; None if there is none.

    Example:
      >>> import numpy as np
      >>> misfit({"w": np.ones(3)}, {"w": np.ones(3), "b": np.ones(1)})
      ('b', 'absent', (1,))
    """
    sides = shapes(got), shapes(want)
    for tensor in sorted(sides[0].keys() | sides[1].keys()):
        one, other = (side.get(tensor, "absent") for side in sides)
        if one != other:
            return tensor, one, other
    return None


def shapes(tree: Params) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by its path in a tree.

    Example:
      >>> import numpy as np
      >>> shapes({"params": {"conv_in": {"bias": np.ones(8)}}})
      {'params/conv_in/bias': (8,)}
    """
    return {name: leaf.shape for name, leaf in named(tree).items()}
