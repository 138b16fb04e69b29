from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.registry import create
from srdeploy.runtime.table import TENSORRT_RTX

SMALL = {
    "vdsr": {"n_layers": 3, "n_feats": 4},
    "edsr": {"n_blocks": 1, "n_feats": 8},
    "ledsr": {"n_blocks": 1, "n_feats": 8},
    "rirsr": {"n_groups": 1, "n_blocks": 1, "n_feats": 8},
}


@pytest.fixture(autouse=True)
def _quick_measurements(request: pytest.FixtureRequest) -> None:
    """Every export measures on ``builtin`` what the artifact loses; slow tests take their time."""
    if request.node.get_closest_marker("slow") is None:
        request.getfixturevalue("small_builtin")


@pytest.fixture(scope="session")
def onnx_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A small x3 network of an architecture as an ONNX file; exported once."""
    folder = tmp_path_factory.mktemp("onnx")

    def path(arch: str) -> Path:
        file = folder / f"{arch}.onnx"
        if not file.exists():
            export_onnx(create(arch, scale=3, **SMALL[arch]), file, check=False)
        return file

    return path


@pytest.fixture(scope="session")
def in_half(onnx_of: Callable[[str], Path]) -> bytes:
    """EDSR with weights and ends in fp16."""
    model = onnx.load(onnx_of("edsr"))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model.SerializeToString()


@pytest.fixture
def rtx() -> None:
    """Skips a test where NVIDIA's builder is not installed."""
    if not (found := TENSORRT_RTX.availability()):
        pytest.skip(f"needs NVIDIA's builder: {found.reason}")
