"""What a number of sample quality is called: never more than it is.

FID, KID and the Inception Score are those of Inception, from 10,000 samples on. What
was measured with fewer samples, or with other features, bears that in its name.
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


def metric_name(metric: str, extractor: str, num_samples: int) -> str:
    """The name of a metric of NAMES.

    Example:
      >>> metric_name("fid", "inception", 50_000), metric_name("fid", "inception", 1000)
      ('fid', 'fid_1k')
      >>> metric_name("fid", "pixels8", 2500)
      'frechet_distance_pixels8_2.5k'
    """
    name, other = NAMES[metric]
    words = [name] if extractor == "inception" else [other, extractor]
    if num_samples < ENOUGH:
        thousands = num_samples >= 1000 and num_samples % 100 == 0
        words.append(f"{num_samples / 1000:g}k" if thousands else str(num_samples))
    return "_".join(words)
