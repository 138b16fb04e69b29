"""SAFMN in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

SAFMN = Architecture(
    "safmn",
    "SAFMN, ICCV 2023",
    "srdeploy.models.safmn.network:SAFMN",
    "srdeploy.models.safmn.layout:SAFMN",
    leave_alone=("to_img.*",),
    presets={"safmn-l": {"n_blocks": 16, "n_feats": 128, "hidden_feats": 256}},
)
