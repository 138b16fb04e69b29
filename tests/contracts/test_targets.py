"""The contract of :mod:`srdeploy.testing.targets`, kept by the targets that build here.

Engines need a GPU to run; their exporters are tested against a stand-in in tests/export.
"""

from __future__ import annotations

import pytest

from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.testing.targets import TargetContract


class TestOnnx(TargetContract):
    target = "onnx"


class TestCoreml(TargetContract):
    target = "coreml"


class TestNcnn(TargetContract):
    target = "ncnn"
    value_range = 1.0


class TestLitert(TargetContract):
    target = "litert"
    options = {"sizes": "23x17"}


class TestSparseRunner(TargetContract):
    target = "sparse-runner"

    @pytest.fixture(params=["x3"])
    def network(self, request: pytest.FixtureRequest) -> Network:
        scale = int(request.param[1:])
        return create(
            "smsr", scale=scale, n_modules=2, n_layers=2, n_feats=8, mask_feats=4, reduction=4
        )
