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
        "its channel attention averages over all that it sees, and this runtime cannot be given "
        "the averages of the whole picture (how much that changes was not measured); give the "
        "network itself, or more --memory for larger tiles"
    ),
)
