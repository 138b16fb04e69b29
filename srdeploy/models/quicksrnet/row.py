"""QuickSRNet in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

QUICKSRNET = Architecture(
    "quicksrnet",
    "QuickSRNet, MAI 2023",
    "srdeploy.models.quicksrnet.network:QuickSRNet",
    "srdeploy.models.quicksrnet.layout:QUICKSRNET",
    layers=("n_layers",),
    scales=None,
    presets={
        "quicksrnet-small": {"n_layers": 3, "n_feats": 32, "anchor": False},
        "quicksrnet-medium": {"n_layers": 6, "n_feats": 32, "anchor": False},
        "quicksrnet-large": {"n_layers": 12, "n_feats": 64, "anchor": True},
    },
)
