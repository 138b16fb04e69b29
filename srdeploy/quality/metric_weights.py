"""Where metrics that are networks have their weights, told without importing PyTorch.

LPIPS and DISTS are computed in the features of two networks of torchvision. Their weights are large
and are not downloaded here: the variable ``SRDEPLOY_PERCEPTUAL`` names a folder that holds
torchvision's files. What weighs the features comes with the packages ``lpips`` (BSD) and
``DISTS-pytorch`` (MIT), of which only these numbers are read, or lies in the same folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from srdeploy.errors import UserError

FOLDER = "SRDEPLOY_PERCEPTUAL"
"""Environment variable that names the folder of weights."""

_PUBLISHED = "https://download.pytorch.org/models/"

EXTRA = "pip install 'srdeploy[perceptual]'"


@dataclass(frozen=True)
class MetricWeights:
    """The two files of a metric.

    Attributes:
        network: torchvision's file.
        title: Of its network.
        package: The package that has the other file,
        inside: and where.
        own_name: What the other file is called in the folder.
    """

    network: str
    title: str
    package: str
    inside: str
    own_name: str

    def missing(self) -> str | None:
        """Why they are not here, as part of a sentence; None where they are."""
        network, weights = self._places()
        if FOLDER not in os.environ or not network.is_file():
            return (
                f"it needs the weights of {self.title}, which are not downloaded: set {FOLDER} to "
                f"a folder with torchvision's {self.network} ({_PUBLISHED}{self.network})"
            )
        if not weights.is_file():
            return f"it needs the weights in the package {self.package}: {EXTRA}"
        return None

    def files(self) -> tuple[Path, Path]:
        """Torchvision's file, and the other one.

        Raises:
            UserError: they are not here.
        """
        if (reason := self.missing()) is not None:
            raise UserError(f"This metric cannot be measured here: {reason}.")
        return self._places()

    def _places(self) -> tuple[Path, Path]:
        folder = Path(os.environ.get(FOLDER, ""))
        spec = find_spec(self.package)
        places = [] if spec is None else list(spec.submodule_search_locations or [])
        packaged = (Path(place) / self.inside for place in places)
        own = folder / self.own_name
        return folder / self.network, next((path for path in packaged if path.is_file()), own)


LPIPS = MetricWeights(
    "alexnet-owt-7be5be79.pth", "AlexNet", "lpips", "weights/v0.1/alex.pth", "lpips-v0.1-alex.pth"
)
DISTS = MetricWeights("vgg16-397923af.pth", "VGG16", "DISTS_pytorch", "weights.pt", "dists.pt")
