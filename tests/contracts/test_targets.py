"""The contract of :mod:`srdeploy.testing.targets`, kept by the targets that build here.

Engines need a GPU to run; their exporters are tested against a stand-in in tests/export.
"""

from __future__ import annotations

from srdeploy.testing.targets import TargetContract


class TestOnnx(TargetContract):
    target = "onnx"


class TestCoreml(TargetContract):
    target = "coreml"


class TestLitert(TargetContract):
    target = "litert"
    options = {"sizes": "23x17"}
