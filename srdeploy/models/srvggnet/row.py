"""SRVGGNetCompact in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

SRVGGNET = Architecture(
    "srvggnet",
    "SRVGGNetCompact (Real-ESRGAN, ICCVW 2021)",
    "srdeploy.models.srvggnet.network:SRVGGNetCompact",
    "srdeploy.models.srvggnet.layout:SRVGGNET",
    presets={
        "realesr-animevideo": {"n_layers": 16, "n_feats": 64},
        "realesr-general": {"n_layers": 32, "n_feats": 64},
    },
    layers=("n_layers",),
    scales=(1, 2, 3, 4, 8),
)
