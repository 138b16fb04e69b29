"""A tiny network, and a device whose costs are known exactly."""

from __future__ import annotations

import pytest

from srdeploy.fitting.subject import Subject
from srdeploy.models.registry import create

ARITHMETIC = "fake://desk?ms=0.5&mmacs=20&block=8&jitter=0"
"""Half a millisecond, and one for each 20 million multiply-accumulates of channels in eights."""


@pytest.fixture(scope="session")
def tiny() -> Subject:
    """A network of two residual blocks with random weights."""
    return Subject.of(create("edsr", scale=2, n_feats=16, n_blocks=2))
