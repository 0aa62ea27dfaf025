"""Trees of arrays by the names of their leaves, such as "params/conv_in/kernel"."""

from collections.abc import Mapping
from typing import Any

import jax


def named(tree: Any) -> dict[str, Any]:  # noqa: ANN401
    """The leaves of a tree by their path in it, in the tree's own order.

    Example:
      >>> named({"params": {"conv_in": {"kernel": 1, "bias": 2}}})
      {'params/conv_in/bias': 2, 'params/conv_in/kernel': 1}
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def tree_of(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of dicts whose leaves have these names: `named` inverted.

    Raises:
      ValueError: if one name lies below another, as no leaf can hold a leaf.

    Example:
      >>> tree_of({"params/conv_in/bias": 2, "params/conv_in/kernel": 1})
      {'params': {'conv_in': {'bias': 2, 'kernel': 1}}}
      >>> tree_of({"params": 1, "params/conv_in": 2})
      Traceback (most recent call last):
      ValueError: params is an array and holds params/conv_in
    """
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node, above = tree, ""
        for parent in parents:
            above += parent
            if above in leaves:
                raise ValueError(f"{above} is an array and holds {name}")
            node, above = node.setdefault(parent, {}), f"{above}/"
        node[last] = leaf
    return tree
