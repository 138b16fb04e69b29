"""RCAN in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

RCAN = Architecture(
    "rcan",
    "RCAN, ECCV 2018",
    "srdeploy.models.rcan.network:RCAN",
    "srdeploy.models.rcan.layout:RCAN",
    leave_alone=("tail.*",),
    layers=("n_groups", "n_blocks"),
    scales=(1, 2, 3, 4, 8),
    tiles_differ=(
        "its channel attention averages over all that it sees, and this runtime cannot be given "
        "the averages of the whole picture (how much that changes was not measured); give the "
        "network itself, or more --memory for larger tiles"
    ),
)
