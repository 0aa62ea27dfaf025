"""What a number of sample quality is called: never more than it is.

FID, KID and the Inception Score are those of Inception, from 10,000 samples on. What
was measured with fewer samples, with other features, or against few images, bears that
in its name.
"""

ENOUGH = 10_000

# With Inception, and with another extractor, whose name follows.
NAMES = {
    "fid": ("fid", "frechet_distance"),
    "kid": ("kid", "kernel_distance"),
    "is": ("inception_score", "classifier_score"),
    "pr": ("precision_recall", "precision_recall"),
    "precision": ("precision", "precision"),
    "recall": ("recall", "recall"),
}


def metric_name(
    metric: str, extractor: str, num_samples: int, num_reference: int | None = None
) -> str:
    """The name of a metric of NAMES.

    num_reference is how many images samples are compared with, where those are not a
    whole training set.

    Example:
      >>> metric_name("fid", "inception", 50_000), metric_name("fid", "inception", 1000)
      ('fid', 'fid_1k')
      >>> metric_name("fid", "pixels8", 2500)
      'frechet_distance_pixels8_2.5k'
      >>> metric_name("fid", "inception", 50_000, 256)
      'fid_vs_256'
    """
    name, other = NAMES[metric]
    words = [name] if extractor == "inception" else [other, extractor]
    if num_samples < ENOUGH:
        words.append(_short(num_samples))
    if num_reference is not None and num_reference < ENOUGH:
        words.append(f"vs_{_short(num_reference)}")
    return "_".join(words)


def _short(count: int) -> str:
    """A number as it stands in a name: 2500 is 2.5k."""
    thousands = count >= 1000 and count % 100 == 0
    return f"{count / 1000:g}k" if thousands else str(count)
