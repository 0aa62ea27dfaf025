"""The parameters of one network in another: what is taken, made again, refused."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddpm_jax.transfer import Transfer
from ddpm_jax.transfer import shapes
from ddpm_jax.transfer import transfer
from ddpm_jax.unet import UNet

Tree = dict[str, Any]


def network(
    fill: float = 0.0, *, channels: int = 1, out: int | None = None, **fields: object
) -> Tree:
    """Parameters of a tiny U-Net that are all one number."""
    sizes = {"ch": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "num_groups": 4}
    model = UNet(
        out_channels=channels if out is None else out,
        attention_resolutions=(),
        **sizes | fields,  # type: ignore[arg-type]
    )
    x, t = jnp.zeros((1, 8, 8, channels)), jnp.zeros(1, jnp.int32)
    tree: Tree = jax.eval_shape(partial(model.init, jax.random.key(0)), x, t)
    return jax.tree.map(lambda leaf: np.full(leaf.shape, fill, leaf.dtype), tree)


def with_classes(tree: Tree, count: int) -> Tree:
    table = {"embedding": np.full((count, 32), count)}
    return {"params": {**tree["params"], "class_embed": table}}


def layers_of(tree: Tree, number: float) -> set[str]:
    """The layers all of whose parameters are one number."""
    return {
        name
        for name, layer in tree["params"].items()
        if all((leaf == number).all() for leaf in jax.tree.leaves(layer))
    }


def test_all_of_an_equal_network_is_taken() -> None:
    source = network(1.0)
    params, report = transfer(source, network(2.0))
    jax.tree.map(np.testing.assert_array_equal, params, source)
    assert report == Transfer(made_again=(), left_out=())


@pytest.mark.parametrize(
    ("source", "fresh", "again"),
    [
        ({"channels": 1}, {"channels": 3}, {"conv_in", "conv_out"}),
        ({"channels": 3}, {"channels": 1}, {"conv_in", "conv_out"}),
        ({"channels": 3}, {"channels": 3, "out": 6}, {"conv_out"}),
        ({"channels": 3, "out": 6}, {"channels": 3}, {"conv_out"}),
    ],
)
def test_other_channels_make_exactly_the_layers_that_know_them_again(
    source: Tree, fresh: Tree, again: set[str]
) -> None:
    new = network(2.0, **fresh)
    params, report = transfer(network(1.0, **source), new)
    assert set(report.made_again) == layers_of(params, 2.0) == again
    assert layers_of(params, 1.0) == set(new["params"]) - again
    assert shapes(params) == shapes(new)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"), [(None, 10), (5, 10), (10, 10), (5, None)]
)
def test_an_embedding_of_classes_is_taken_if_there_are_as_many(
    before: int | None, after: int | None
) -> None:
    source, fresh = network(), network()
    source = source if before is None else with_classes(source, before)
    fresh = fresh if after is None else with_classes(fresh, after)
    params, report = transfer(source, fresh)
    assert shapes(params) == shapes(fresh)
    embed = ("class_embed",)
    assert report.made_again == (embed if after is not None and before != after else ())
    assert report.left_out == (embed if after is None else ())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"ch": 16}, r"conv1/bias is \(8,\) in the source and \(16,\) in the new"),
        (
            {"ch_mult": (1, 1)},
            r"is \(16,\) in the source and \(8,\) in the new network",
        ),
        ({"ch_mult": (1,)}, r"down_0_downsample/.* is \(8,\) in the source and absent"),
        (
            {"num_res_blocks": 2},
            r"down_0_block_1/.* is absent in the source and \(8,\)",
        ),
    ],
)
def test_a_network_of_another_build_is_refused_by_a_tensor_and_both_shapes(
    fields: Tree, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        transfer(network(), network(**fields))
    assert str(refused.value).endswith("only conv_in, conv_out, class_embed may differ")


def test_shapes_alone_tell_what_would_become_of_a_network() -> None:
    fresh = network(channels=3)
    abstract = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, fresh))
    params, report = transfer(network(), abstract)
    assert report == transfer(network(), fresh)[1]
    assert shapes(params) == shapes(fresh)
