"""SESR in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

SESR = Architecture(
    "sesr",
    "SESR, MLSys 2022",
    "srdeploy.models.sesr.network:SESR",
    "srdeploy.models.sesr.layout:SESR",
    presets={
        "sesr-m3": {"n_blocks": 3, "n_feats": 16},
        "sesr-m5": {"n_blocks": 5, "n_feats": 16},
        "sesr-m7": {"n_blocks": 7, "n_feats": 16},
        "sesr-m11": {"n_blocks": 11, "n_feats": 16},
        "sesr-xl": {"n_blocks": 11, "n_feats": 32},
    },
    scales=None,
    inference="srdeploy.models.folding:inference_form",
    counted="srdeploy.models.folding:folded_module",
)
