"""Names that say what a number is of: few samples and other features are in them."""

import pytest

from ddpm_jax.metrics.names import NAMES
from ddpm_jax.metrics.names import metric_name


@pytest.mark.parametrize(
    "count,suffix",
    [(2, "_2"), (999, "_999"), (1000, "_1k"), (2500, "_2.5k"), (9999, "_9999")],
)
def test_fewer_than_ten_thousand_samples_are_in_the_name(
    count: int, suffix: str
) -> None:
    assert metric_name("fid", "inception", count) == f"fid{suffix}"
    assert metric_name("kid", "inception", count) == f"kid{suffix}"
    assert metric_name("fid", "inception", 10_000) == "fid"


def test_few_images_of_reference_are_in_the_name() -> None:
    assert metric_name("fid", "inception", 50_000, 9999) == "fid_vs_9999"
    assert metric_name("fid", "pixels8", 5000, 2500) == (
        "frechet_distance_pixels8_5k_vs_2.5k"
    )
    assert metric_name("fid", "inception", 50_000, 10_000) == "fid"


@pytest.mark.parametrize("metric", NAMES)
def test_another_extractor_is_in_the_name_and_never_the_word_fid(metric: str) -> None:
    # Inception with weights of one's own is another extractor too.
    for extractor in ("pixels8", "inception-8e3231dc"):
        name = metric_name(metric, extractor, 50_000)
        assert name.endswith(f"_{extractor}")
        assert not {"fid", "kid", "inception"} & set(name.split("_"))
