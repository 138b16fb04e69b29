"""ECBSR in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

ECBSR = Architecture(
    "ecbsr",
    "ECBSR, ACM MM 2021",
    "srdeploy.models.ecbsr.network:ECBSR",
    "srdeploy.models.ecbsr.layout:ECBSR",
    presets={
        "ecbsr-m4c8": {"n_blocks": 4, "n_feats": 8},
        "ecbsr-m4c16": {"n_blocks": 4, "n_feats": 16},
        "ecbsr-m10c16": {"n_blocks": 10, "n_feats": 16},
        "ecbsr-m10c32": {"n_blocks": 10, "n_feats": 32},
        "ecbsr-m16c64": {"n_blocks": 16, "n_feats": 64},
    },
    scales=None,
    inference="srdeploy.models.folding:inference_form",
    counted="srdeploy.models.folding:folded_module",
)
