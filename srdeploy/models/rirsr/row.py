"""RIRSR in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

RIRSR = Architecture(
    "rirsr",
    "RCAN without channel attention (SRPN)",
    "srdeploy.models.rirsr.network:RIRSR",
    "srdeploy.models.rirsr.layout:RIRSR",
    leave_alone=("tail.*",),
    layers=("n_groups", "n_blocks"),
    presets={"rirsr-96": {"n_groups": 10, "n_blocks": 20, "n_feats": 96}},
)
