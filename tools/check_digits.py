"""Asks a classifier of the real digits whether the samples of a run are digits.

python tools/check_digits.py samples.npz fails unless the classifier is as confident
(> 0.9) of at least 0.85 times as large a share of the samples as of held-out digits,
and finds all ten digits among them. Of samples that were drawn with labels it must also
read more than 95 % as the digit that was asked for.
"""

import sys
import warnings

import numpy as np
from sklearn.svm import SVC

from ddpm_jax.data import load_digits
from ddpm_jax.data import split_rows

CONFIDENT, ENOUGH, ASKED = 0.9, 0.85, 0.95


def main() -> None:
    """Prints both shares and what was found, and exits with 1 if it is too little."""
    images, labels = load_digits()
    train, held_out = split_rows(len(images), 360, seed=0)
    # scikit-learn means to rename the option that the probabilities come from.
    warnings.simplefilter("ignore", FutureWarning)
    classifier = SVC(probability=True, random_state=0)
    classifier.fit(flat(images[train]), labels[train])
    with np.load(sys.argv[1], allow_pickle=False) as arrays:
        samples, asked = arrays["arr_0"], arrays.get("arr_1")
    real, drawn = (
        classifier.predict_proba(flat(x)) for x in (images[held_out], samples)
    )
    shares = [float((p.max(axis=1) > CONFIDENT).mean()) for p in (real, drawn)]
    counts = np.bincount(drawn.argmax(axis=1), minlength=10)
    print(f"confident of {shares[0]:.3f} of {len(real)} held-out digits")
    print(f"confident of {shares[1]:.3f} of {len(drawn)} samples")
    print(f"ratio {shares[1] / shares[0]:.3f}; samples of 0..9: {counts.tolist()}")
    if shares[1] < ENOUGH * shares[0] or counts.min() == 0:
        sys.exit(f"the ratio must be {ENOUGH}, and all ten digits must occur")
    if asked is not None:
        share = float((drawn.argmax(axis=1) == asked).mean())
        print(f"read {share:.3f} of them as the digit that was asked for")
        if share <= ASKED:
            sys.exit(f"the share must be more than {ASKED}")


def flat(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] as float [N, H * W * C]."""
    return images.reshape(len(images), -1) / 255


if __name__ == "__main__":
    main()
