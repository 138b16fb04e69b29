"""RFDN in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

RFDN = Architecture(
    "rfdn",
    "RFDN, ECCVW 2020",
    "srdeploy.models.rfdn.network:RFDN",
    "srdeploy.models.rfdn.layout:RFDN",
    leave_alone=("upsampler.*",),
    tiles_differ=(
        "its spatial attention has a coarse grid that depends on the size of what it sees (how "
        "much that changes was not measured); more --memory makes larger tiles"
    ),
)
