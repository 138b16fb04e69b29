"""PLKSR and RealPLKSR in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

PLKSR = Architecture(
    "plksr",
    "PLKSR, 2024",
    "srdeploy.models.plksr.network:PLKSR",
    "srdeploy.models.plksr.layout:PLKSR",
    presets={"plksr-tiny": {"n_blocks": 12, "n_feats": 64, "side": 13, "attention": False}},
    scales=None,
)

REALPLKSR = Architecture(
    "realplksr",
    "RealPLKSR (neosr)",
    "srdeploy.models.plksr.network:RealPLKSR",
    "srdeploy.models.plksr.layout:REALPLKSR",
    presets={
        "realplksr-s": {"n_blocks": 12, "n_feats": 64, "side": 13, "attention": False},
        "realplksr-l": {"n_blocks": 28, "n_feats": 96, "n_partial": 24},
    },
    # Its stream could lose whole groups of its normalisation only; no tensor shows how many stay.
    leave_alone=("feats.0",),
    scales=None,
    tiles_differ=(
        "its normalisation averages over all that it sees, and this runtime cannot be given the "
        "averages of the whole picture (how much that changes was not measured); give the network "
        "itself, or more --memory for larger tiles"
    ),
)
