"""SPAN in the table of architectures."""

from __future__ import annotations

from srdeploy.models.architecture import Architecture

SPAN = Architecture(
    "span",
    "SPAN, CVPRW 2024",
    "srdeploy.models.span.network:SPAN",
    "srdeploy.models.span.layout:SPAN",
    scales=(1, 2, 3, 4, 8),
)
