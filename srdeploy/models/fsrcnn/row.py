"""FSRCNN in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

FSRCNN = Architecture(
    "fsrcnn",
    "FSRCNN, ECCV 2016",
    "srdeploy.models.fsrcnn.network:FSRCNN",
    "srdeploy.models.fsrcnn.layout:FSRCNN",
    layers=("n_layers",),
    scales=None,
)
