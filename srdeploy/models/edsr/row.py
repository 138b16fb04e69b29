"""EDSR and LEDSR in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

EDSR = Architecture(
    "edsr",
    "EDSR, CVPRW 2017",
    "srdeploy.models.edsr.network:EDSR",
    "srdeploy.models.edsr.layout:EDSR",
    leave_alone=("tail.*",),
    presets={
        "edsr-baseline": {"n_blocks": 16, "n_feats": 64, "res_scale": 1.0},
        "edsr-full": {"n_blocks": 32, "n_feats": 256, "res_scale": 0.1},
    },
)

LEDSR = Architecture(
    "ledsr",
    "EDSR with the lite tail (SRPN-Lite, ASSLN, MLPerf Mobile)",
    "srdeploy.models.edsr.network:LEDSR",
    "srdeploy.models.edsr.layout:LEDSR",
    leave_alone=("tail.*",),
    presets={"ledsr-256": {"n_blocks": 16, "n_feats": 256}},
)
