"""config.json of a diffusers UNet2DModel, and the fields of a Config that mean it.

diffusers' network has more switches than the paper's. Each key is honoured or refused
by name; one that is absent has diffusers' default, which is often not the paper's.
"""

from typing import Any

from ddpm_jax.interop.kinds import ANY
from ddpm_jax.interop.kinds import FLAG
from ddpm_jax.interop.kinds import TEXT
from ddpm_jax.interop.kinds import Fields
from ddpm_jax.interop.kinds import Kind
from ddpm_jax.interop.kinds import number
from ddpm_jax.interop.kinds import optional
from ddpm_jax.interop.kinds import refusal
from ddpm_jax.interop.kinds import several
from ddpm_jax.interop.kinds import whole
from ddpm_jax.interop.kinds import with_defaults

DEFAULTS: Fields = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3],
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,
}
"""What an absent key means: the arguments of UNet2DModel in diffusers 0.42."""

NULL_LABEL = "_null_label"
"""A key of this project's own, which diffusers skips: the label for no label."""

USUAL_LABEL_DROPOUT = 0.1

FIXED: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "act_fn": ("silu", "swish"),
    "resnet_time_scale_shift": ("default",),
    "add_attention": (True,),
    "class_embed_type": (None,),
}
"""The values of the keys that the paper's network leaves no choice in."""

BLOCKS = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
}
"""Without self-attention, and with it."""

CHANNELS = PIXELS = whole(1, 65_536)
LEVELS = 12  # as many as halve 4096 pixels to one
KINDS: dict[str, Kind] = {
    # These are compared with the few values that they may have.
    **dict.fromkeys(FIXED, ANY),
    **dict.fromkeys(("time_embedding_dim", "attn_norm_num_groups"), ANY),
    "sample_size": Kind(
        "one number of pixels, or two",
        lambda value: PIXELS.holds(value) or several(PIXELS, 2, least=2).holds(value),
    ),
    "in_channels": Kind(
        "1, 3 or 4", lambda value: type(value) is int and value in (1, 3, 4)
    ),
    "out_channels": CHANNELS,
    "freq_shift": whole(0, 1),
    "flip_sin_to_cos": FLAG,
    "down_block_types": several(TEXT, LEVELS),
    "up_block_types": several(TEXT, LEVELS),
    "block_out_channels": several(CHANNELS, LEVELS),
    "layers_per_block": whole(1, 32),
    "downsample_padding": whole(0, 1),
    "dropout": number("a share of 0 to below 1", lambda value: 0 <= value < 1),
    "attention_head_dim": optional(CHANNELS),
    "norm_num_groups": CHANNELS,
    "norm_eps": number("a number above 0", lambda value: value > 0),
    "num_class_embeds": optional(whole(1, 1_000_000)),
    "num_train_timesteps": optional(whole(1, 1_000_000)),
}
"""What each key may hold."""


def from_unet_config(given: Fields, source: object) -> dict[str, Fields]:
    """The model and data sections of the Config of a UNet2DModel.

    Raises:
      ValueError: one sentence that names the key, where the paper's network has no such
        option.
    """
    config = with_defaults(given, DEFAULTS, KINDS, source)
    for key, legal in FIXED.items():
        if config[key] not in legal:
            raise refusal(key, config[key], source, " or ".join(map(repr, legal)))
    widths = config["block_out_channels"]
    ch, groups = widths[0], config["norm_num_groups"]
    for key, default in (("time_embedding_dim", 4 * ch), ("attn_norm_num_groups", 0)):
        same = default or groups
        if config[key] not in (None, same):
            raise refusal(key, config[key], source, f"null or {same}")
    if any(width % ch for width in widths):
        raise refusal("block_out_channels", widths, source, f"multiples of {ch}")
    if any(width % groups for width in widths):
        allowed = f"a divisor of each of block_out_channels, {widths}"
        raise refusal("norm_num_groups", groups, source, allowed)
    size = size_of(config["sample_size"], source)
    classes, label_dropout = labels_of(config["num_class_embeds"], given, source)
    return {
        "model": {
            "ch": ch,
            "ch_mult": [width // ch for width in widths],
            "num_res_blocks": config["layers_per_block"],
            "attention_resolutions": attending(config, size[0], source),
            "attention_head_dim": config["attention_head_dim"],
            "dropout": config["dropout"],
            "num_groups": groups,
            "norm_epsilon": config["norm_eps"],
            # 0 is one pixel after the image, as TensorFlow pads.
            "downsample_padding": [config["downsample_padding"], 1],
            "freq_shift": config["freq_shift"],
            "num_classes": classes,
        },
        "train": {"label_dropout": label_dropout},
        "data": {"image_size": size, "channels": config["in_channels"]},
    }


def labels_of(
    rows: int | None, given: Fields, source: object
) -> tuple[int | None, float]:
    """How many classes a network knows, and the share of images without a label.

    diffusers has no row for images without one, unless this project wrote the file.
    """
    if rows is not None and NULL_LABEL in given:
        if given[NULL_LABEL] != rows - 1:
            raise refusal(NULL_LABEL, given[NULL_LABEL], source, f"{rows - 1}")
        return rows - 1, USUAL_LABEL_DROPOUT
    return rows, 0.0


def size_of(sample_size: Any, source: object) -> list[int]:  # noqa: ANN401
    """Height and width in pixels, which diffusers need not know, and this project must.

    Example:
      >>> size_of(32, "here"), size_of([4, 6], "here")
      ([32, 32], [4, 6])
    """
    if sample_size is None:
        raise refusal("sample_size", None, source, KINDS["sample_size"].said)
    return [sample_size] * 2 if isinstance(sample_size, int) else sample_size


def attending(config: Fields, height: int, source: object) -> list[int]:
    """The heights of the levels whose blocks attend."""
    levels = len(config["block_out_channels"])
    found = {}
    for key, kinds in BLOCKS.items():
        types = config[key]
        if len(types) != levels:
            raise refusal(key, types, source, f"{levels} of them, one for each level")
        for kind in types:
            if kind not in kinds:
                raise refusal(key, kind, source, " or ".join(kinds))
        found[key] = [kind == kinds[1] for kind in types]
    down, up = found["down_block_types"], found["up_block_types"][::-1]
    if down != up:
        allowed = "attention in the same levels as down_block_types, in reverse"
        raise refusal("up_block_types", config["up_block_types"], source, allowed)
    return [height // 2**level for level in range(levels) if down[level]]


def to_unet_config(config: dict[str, Fields], out_channels: int) -> Fields:
    """config.json of the UNet2DModel that a Config describes: every key, as the
    defaults of diffusers are not the paper's.
    """
    model, (height, width) = config["model"], config["data"]["image_size"]
    levels = range(len(model["ch_mult"]))
    attends = [height // 2**i in model["attention_resolutions"] for i in levels]
    down, up = (
        [kinds[attention] for attention in attends] for kinds in BLOCKS.values()
    )
    return {
        **DEFAULTS,
        **{key: allowed[0] for key, allowed in FIXED.items()},
        "sample_size": height if height == width else [height, width],
        "in_channels": config["data"]["channels"],
        "out_channels": out_channels,
        "flip_sin_to_cos": False,
        "down_block_types": down,
        "up_block_types": up[::-1],
        "block_out_channels": [model["ch"] * mult for mult in model["ch_mult"]],
        "layers_per_block": model["num_res_blocks"],
        "dropout": model["dropout"],
        "attention_head_dim": model["attention_head_dim"],
        "norm_num_groups": model["num_groups"],
        "norm_eps": model["norm_epsilon"],
        "downsample_padding": model["downsample_padding"][0],
        "freq_shift": model["freq_shift"],
        **class_keys(model["num_classes"], config["train"]["label_dropout"]),
    }


def class_keys(classes: int | None, label_dropout: float) -> Fields:
    """The keys of a network that knows classes, and no label if it has seen none.

    Example:
      >>> class_keys(10, 0.1), class_keys(10, 0.0)
      ({'num_class_embeds': 11, '_null_label': 10}, {'num_class_embeds': 10})
    """
    if classes is None or label_dropout == 0:
        return {"num_class_embeds": classes}
    return {"num_class_embeds": classes + 1, NULL_LABEL: classes}
