"""RLFN in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

RLFN = Architecture(
    "rlfn",
    "RLFN, CVPRW 2022",
    "srdeploy.models.rlfn.network:RLFN",
    "srdeploy.models.rlfn.layout:RLFN",
    leave_alone=("upsampler.*",),
    presets={
        "rlfn-s": {"n_blocks": 6, "n_feats": 48, "mid_feats": 48},
        "rlfn-ntire": {"n_blocks": 4, "n_feats": 46, "mid_feats": 48},
    },
    tiles_differ=(
        "its spatial attention has a coarse grid that depends on the size of what it sees (how "
        "much that changes was not measured); more --memory makes larger tiles"
    ),
)
