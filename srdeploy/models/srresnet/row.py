"""SRResNet in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

SRRESNET = Architecture(
    "srresnet",
    "SRResNet (SRGAN, CVPR 2017), without normalisation",
    "srdeploy.models.srresnet.network:SRResNet",
    "srdeploy.models.srresnet.layout:SRRESNET",
    scales=(1, 2, 3, 4, 8),
)
