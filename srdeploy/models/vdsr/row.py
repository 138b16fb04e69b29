"""VDSR in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

VDSR = Architecture(
    "vdsr",
    "VDSR, CVPR 2016",
    "srdeploy.models.vdsr.network:VDSR",
    "srdeploy.models.vdsr.layout:VDSR",
    layers=("n_layers",),
    scales=None,
    protocol="vdsr",
)
