"""What torch-fidelity says, for tests/test_torch_fidelity.py to say without torch.

Needs torch, torchvision and torch-fidelity, which the project does not, in an
environment of its own:

    python tools/make_metric_fixtures.py            writes the file in tests/fixtures
    python tools/make_metric_fixtures.py compare    both whole networks, side by side

Weights, images and features are made from their names, on both sides.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch_fidelity
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from seeded import probes  # noqa: E402
from seeded import seeded_features  # noqa: E402
from seeded import seeded_images  # noqa: E402
from seeded import seeded_tensor  # noqa: E402

OUT = ROOT / "tests/fixtures/torch_fidelity.npz"
LAYERS = ["2048", "logits_unbiased"]
# Short for their names of the modules; all Mixed_ are taken too.
STEM = "MaxPool_2"


class Seeded(FeatureExtractorInceptionV3):
    """Their network, with weights made from their names."""

    def __init__(self, size: int) -> None:
        """Takes images at size x size pixels."""
        self.INPUT_IMAGE_SIZE = size
        with tempfile.NamedTemporaryFile(suffix=".pth") as file:
            torch.save({}, file.name)
            super().__init__("seeded", LAYERS, file.name)

    def load_state_dict(self, state: dict) -> None:  # noqa: ARG002
        """Takes seeded tensors in place of the file's."""
        shapes = {name: tuple(x.shape) for name, x in self.state_dict().items()}
        seeded = {name: seeded_tensor(name, shape) for name, shape in shapes.items()}
        super().load_state_dict({name: torch.tensor(x) for name, x in seeded.items()})

    def watch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs [B, H, W, C] of the stem and the blocks, and both layers."""
        outputs = {}

        def keep(name: str, x: torch.Tensor) -> None:
            outputs[name] = x.numpy().transpose(0, 2, 3, 1)

        for name, module in self.named_children():
            if name == STEM or name.startswith("Mixed_"):
                module.register_forward_hook(lambda *a, name=name: keep(name, a[-1]))
        answers = self(torch.tensor(images.transpose(0, 3, 1, 2)))
        return outputs | {
            name: x.numpy() for name, x in zip(LAYERS, answers, strict=True)
        }


def networks() -> dict[str, np.ndarray]:
    """Some numbers of every block, of a small image."""
    network = Seeded(107)
    shapes = {name: list(x.shape) for name, x in network.state_dict().items()}
    outputs = network.watch(seeded_images("inception", (1, 32, 28, 3)))
    found = {f"network/{name}": probes(name, x) for name, x in outputs.items()}
    return {"shapes": np.array(json.dumps(shapes)), **found}


def metrics() -> dict[str, float]:
    """Their metrics of seeded features in float64, and of logits."""
    features, reference, logits = map(torch.tensor, seeded_features())
    statistics = [fid_features_to_statistics(x) for x in (features, reference)]
    options = {"kid_subsets": 20, "kid_subset_size": 80, "verbose": False}
    found = {
        **fid_statistics_to_metric(*statistics, verbose=False),
        **kid_features_to_metric(features, reference, **options),
        **isc_features_to_metric(logits),
        **prc_features_to_metric(features, reference, verbose=False),
    }
    return {f"metric/{name}": value for name, value in found.items()}


def compare() -> None:
    """Prints how far the features of whole images are apart, by way of a file."""
    from ddpm_jax.metrics.extractors import compile_extractor
    from ddpm_jax.metrics.extractors import make_extractor

    images = seeded_images("compare", (2, 32, 32, 3))
    network = Seeded(299)
    theirs = [x.numpy() for x in network(torch.tensor(images.transpose(0, 3, 1, 2)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seeded.pth"
        torch.save(network.state_dict(), path)
        extractor = make_extractor("inception", path)
    ours = compile_extractor(extractor, images.shape[1:], 2)(images)
    print(f"extractor {extractor.name}")
    for name, got, exact in zip(LAYERS, ours, theirs, strict=True):
        error, scale = np.abs(got - exact).max(), np.abs(exact).max()
        print(f"{name}: largest error {error / scale:.1e} of the largest {scale:.3g}")


def main() -> None:
    """Writes the fixtures, or compares."""
    if sys.argv[1:] == ["compare"]:
        compare()
        return
    versions = f"torch-fidelity {torch_fidelity.__version__}, torch {torch.__version__}"
    np.savez_compressed(OUT, versions=versions, **networks(), **metrics())
    print(f"{OUT.name}: {OUT.stat().st_size} bytes, {versions}")


if __name__ == "__main__":
    main()
