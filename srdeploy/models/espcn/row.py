"""ESPCN in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

ESPCN = Architecture(
    "espcn",
    "ESPCN, CVPR 2016",
    "srdeploy.models.espcn.network:ESPCN",
    "srdeploy.models.espcn.layout:ESPCN",
    layers=("n_layers",),
    scales=None,
)
