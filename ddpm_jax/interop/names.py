"""What other projects call the tensors of this network.

The network is the same; its tensors are named in three ways: by the original TensorFlow
code, by its first port to PyTorch, pesser's, and by diffusers. Here a name is the path
of a tensor in the tree of parameters, such as "down_0_block_1/conv1/kernel".
"""

import re
from collections.abc import Callable
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

Naming = Callable[[str, int], str]
"""(our name, levels of the network) -> their name."""

Rule = tuple[str, str]
"""A pattern, and what is put in its place."""

TENSORFLOW: tuple[Rule, ...] = (
    (r"^(down|up)_(\d+)_", r"\1_\2/"),
    (r"^(mid|temb)_", r"\1/"),
    (r"/kernel$", "/W"),
    (r"(norm\w*)/scale$", r"\1/gamma"),
    (r"(norm\w*)/bias$", r"\1/beta"),
    (r"/bias$", "/b"),
    (r"^", "model/"),
)
PESSER: tuple[Rule, ...] = (
    (r"^(down|up)_(\d+)_(block|attn)_(\d+)", r"\1/\2/\3/\4"),
    (r"^(down|up)_(\d+)_", r"\1/\2/"),
    (r"^mid_", "mid/"),
    (r"^temb_dense", "temb/dense/"),
    (r"(kernel|scale)$", "weight"),
    (r"/", "."),
)
DIFFUSERS: tuple[Rule, ...] = (
    (r"^(down|up)_(\d+)_block_(\d+)", r"\1_blocks/\2/resnets/\3"),
    (r"^(down|up)_(\d+)_attn_(\d+)", r"\1_blocks/\2/attentions/\3"),
    (r"^(down|up)_(\d+)_(down|up)sample", r"\1_blocks/\2/\3samplers/0"),
    (r"^mid_block_1", "mid_block/resnets/0"),
    (r"^mid_block_2", "mid_block/resnets/1"),
    (r"^mid_attn_1", "mid_block/attentions/0"),
    (r"^temb_dense0", "time_embedding/linear_1"),
    (r"^temb_dense1", "time_embedding/linear_2"),
    (r"^class_embed/", "class_embedding/"),
    (r"^norm_out", "conv_norm_out"),
    (r"/temb_proj/", "/time_emb_proj/"),
    (r"/nin_shortcut/", "/conv_shortcut/"),
    (r"/norm/", "/group_norm/"),
    (r"/([qkv])/", r"/to_\1/"),
    (r"/proj_out/", "/to_out/0/"),
    (r"(kernel|scale|embedding)$", "weight"),
    (r"/", "."),
)
OLD_DIFFUSERS: tuple[Rule, ...] = (
    (r"\.(q)uery\.|\.(k)ey\.|\.(v)alue\.", r".to_\1\2\3."),
    (r"\.proj_attn\.", ".to_out.0."),
    (r"\.op\.", ".conv."),
)
"""Names in files of diffusers before 0.15, and the names since."""


def rewrite(name: str, rules: tuple[Rule, ...]) -> str:
    """Applies rules to a name, one after the other."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def renamed(
    tensors: Mapping[str, Value], rules: tuple[Rule, ...], source: object
) -> dict[str, Value]:
    """Tensors under the names that rules make of theirs.

    Raises:
      ValueError: if that gives two of them one name.

    Example:
      >>> renamed({"a.query.bias": 1}, OLD_DIFFUSERS, "here")
      {'a.to_q.bias': 1}
    """
    before: dict[str, str] = {}
    for name in tensors:
        first = before.setdefault(rewrite(name, rules), name)
        if first != name:
            raise ValueError(
                f"{source} holds {first} and {name}, which are one tensor by its old "
                "name and its new one; take one of them out"
            )
    return {name: tensors[old] for name, old in before.items()}


def tensorflow_name(name: str, levels: int) -> str:
    """The name of a variable in the original code.

    Example:
      >>> tensorflow_name("down_1_attn_0/norm/scale", 4)
      'model/down_1/attn_0/norm/gamma'
    """
    return rewrite(name, TENSORFLOW)


def pesser_name(name: str, levels: int) -> str:
    """The name of a tensor in pesser/pytorch_diffusion.

    Example:
      >>> pesser_name("mid_block_1/conv1/kernel", 4)
      'mid.block_1.conv1.weight'
    """
    return rewrite(name, PESSER)


def diffusers_name(name: str, levels: int) -> str:
    """The name of a tensor in diffusers' UNet2DModel, whose way up counts from below.

    Example:
      >>> diffusers_name("up_3_attn_0/proj_out/bias", 4)
      'up_blocks.0.attentions.0.to_out.0.bias'
    """
    up = re.match(r"up_(\d+)_", name)
    if up:
        name = f"up_{levels - 1 - int(up[1])}_{name[up.end() :]}"
    return rewrite(name, DIFFUSERS)
