"""The contract of :mod:`srdeploy.testing.runtimes`, kept by every runtime of ONNX files."""

from __future__ import annotations

import pytest

from srdeploy.runtime.table import RUNTIMES
from srdeploy.testing.runtimes import RuntimeContract, files, networks  # noqa: F401

ABSENT: dict[str, str] = {}


def where_it_runs(test: type[RuntimeContract]) -> type[RuntimeContract]:
    can = RUNTIMES[test.runtime].availability()
    test.__test__ = can.ready
    if not can:
        ABSENT[test.runtime] = can.reason
    return test


@where_it_runs
class TestOnnxruntime(RuntimeContract):
    runtime = "onnxruntime"


@where_it_runs
class TestOpenvino(RuntimeContract):
    runtime = "openvino"


@where_it_runs
class TestOnnxReference(RuntimeContract):
    runtime = "onnx-reference"


@where_it_runs
class TestOnnxruntimeOpenvino(RuntimeContract):
    """Runs where onnxruntime-openvino is installed in place of onnxruntime."""

    runtime = "onnxruntime-openvino"


@where_it_runs
@pytest.mark.gpu
class TestOnnxruntimeCuda(RuntimeContract):
    runtime = "onnxruntime-cuda"
    tolerance = 1e-3  # TF32


@where_it_runs
@pytest.mark.gpu
class TestOnnxruntimeTensorrt(RuntimeContract):
    runtime = "onnxruntime-tensorrt"
    tolerance = 1e-3


@where_it_runs
class TestOnnxruntimeCoreml(RuntimeContract):
    runtime = "onnxruntime-coreml"
    tolerance = 1e-2  # the Neural Engine computes in float16


@where_it_runs
class TestOnnxruntimeDirectml(RuntimeContract):
    runtime = "onnxruntime-directml"
    tolerance = 1e-3


@pytest.mark.parametrize("runtime", ABSENT)
def test_the_others(runtime: str) -> None:
    pytest.skip(f"{runtime}: {ABSENT[runtime]}")


def test_no_runtime_of_onnx_files_is_forgotten() -> None:
    classes = [c for c in globals().values() if isinstance(c, type) and c is not RuntimeContract]
    kept = {c.runtime for c in classes if issubclass(c, RuntimeContract)}
    assert kept == {row.name for row in RUNTIMES.values() if ".onnx" in row.suffixes}
