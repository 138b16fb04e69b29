"""IMDN in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

IMDN = Architecture(
    "imdn",
    "IMDN, ACM MM 2019",
    "srdeploy.models.imdn.network:IMDN",
    "srdeploy.models.imdn.layout:IMDN",
    leave_alone=("upsampler.*",),
    tiles_differ=(
        "its channel attention averages over all that it sees; more --memory makes larger tiles"
    ),
)
