"""RRDBNet in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

RRDBNET = Architecture(
    "rrdbnet",
    "RRDBNet (ESRGAN, ECCVW 2018; Real-ESRGAN, ICCVW 2021)",
    "srdeploy.models.rrdbnet.network:RRDBNet",
    "srdeploy.models.rrdbnet.layout:RRDBNET",
    presets={
        "esrgan": {"n_blocks": 23, "n_feats": 64, "growth": 32},
        "realesrgan-anime-6b": {"n_blocks": 6, "n_feats": 64, "growth": 32},
    },
    scales=(1, 2, 4, 8, 16),
)
