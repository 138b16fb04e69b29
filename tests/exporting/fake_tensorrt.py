"""TensorRT as far as building goes, in several versions, for API differences and read-back.

Only what a version has exists on its fake, so that a call of a later or earlier API is an
AttributeError, as it would be on the device.
"""

from __future__ import annotations

import json
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

DataType = Enum("DataType", "FLOAT HALF INT8 INT32 BF16")
LayerType = Enum("LayerType", "CONVOLUTION DECONVOLUTION DEQUANTIZE QUANTIZE SHUFFLE")
SIZES = ((1, 3, 16, 16), (1, 3, 32, 48), (1, 3, 64, 64))


def tensor(name: str, shape: tuple[int, ...], dtype: DataType = DataType.FLOAT) -> Any:
    return SimpleNamespace(name=name, shape=shape, dtype=dtype)


def make_api(version: str, dtype: DataType = DataType.FLOAT, built: str = "Float") -> Any:
    """A ``tensorrt`` module of that version whose parser finds one convolution of ``dtype``.

    Args:
        version: 8.6.1, 10.3.0, 11.4.0...
        dtype: What the ONNX computes in.
        built: Data type that the inspector reports.
    """
    major = int(version.split(".")[0])
    creation = {8: ["EXPLICIT_BATCH"], 10: ["EXPLICIT_BATCH", "STRONGLY_TYPED"]}.get(
        major, ["STRONGLY_TYPED"]
    )
    flags = ["TF32"] + (["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"] if major < 11 else [])
    api = SimpleNamespace(
        __version__=version,
        DataType=DataType,
        LayerType=LayerType,
        NetworkDefinitionCreationFlag=IntEnum("NetworkDefinitionCreationFlag", creation, start=0),
        BuilderFlag=Enum("BuilderFlag", flags),
        ProfilingVerbosity=Enum("ProfilingVerbosity", "DETAILED"),
        MemoryPoolType=Enum("MemoryPoolType", "WORKSPACE"),
        LayerInformationFormat=Enum("LayerInformationFormat", "JSON"),
        calls=[],
    )

    class ILogger:
        def __init__(self) -> None:
            pass

    class Network:
        num_inputs = num_outputs = num_layers = 1
        layer = SimpleNamespace(
            type=LayerType.CONVOLUTION,
            precision=None,
            get_input=lambda i: tensor("lr", (-1, 3, -1, -1), dtype),
        )

        def get_layer(self, index: int) -> Any:
            return self.layer

        def get_input(self, index: int) -> Any:
            return tensor("lr", (-1, 3, -1, -1), dtype)

        def get_output(self, index: int) -> Any:
            return tensor("sr", (-1, 3, -1, -1), dtype)

    class Config:
        def __init__(self) -> None:
            self.set: set[str] = set()
            self.cleared: set[str] = set()
            self.cache: Any = None
            api.config = self

        def set_flag(self, flag: Any) -> None:
            self.set.add(flag.name)

        def clear_flag(self, flag: Any) -> None:
            self.cleared.add(flag.name)

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            self.pool = (pool.name, size)

        def add_optimization_profile(self, profile: Any) -> int:
            return 0

        def create_timing_cache(self, data: bytes) -> Any:
            if data not in (b"", b"timings"):
                return None
            return SimpleNamespace(data=data, serialize=lambda: b"timings")

        def set_timing_cache(self, cache: Any, ignore: bool) -> bool:
            self.cache = cache
            return cache is not None

        def get_timing_cache(self) -> Any:
            return self.cache

    class Builder:
        def __init__(self, logger: Any) -> None:
            pass

        def create_network(self, flags: int) -> Any:
            api.creation = flags
            api.network = Network()
            return api.network

        def create_builder_config(self) -> Any:
            return Config()

        def create_optimization_profile(self) -> Any:
            return SimpleNamespace(set_shape=lambda *shapes: api.calls.append(shapes))

        def build_serialized_network(self, network: Any, config: Any) -> bytes:
            return b"engine"

    class OnnxParser:
        num_errors = 0

        def __init__(self, network: Any, logger: Any) -> None:
            pass

        def parse(self, model: bytes) -> bool:
            return True

    if major < 10:
        OnnxParser.supports_model = lambda self, model: (True, [])  # type: ignore[attr-defined]
    else:
        OnnxParser.supports_model_v2 = lambda self, model: True  # type: ignore[attr-defined]

    field = "Format/Datatype" if major < 11 else "DataType"
    words = {"Float": "Row major linear FP32", "Half": "Row major linear FP16 format"}
    kind = words[built] if major < 11 else built
    report = {"Layers": [{"Name": "conv", "Inputs": [{"Name": "lr", field: kind}],
                          "Outputs": [{"Name": "sr", field: kind}]}]}  # fmt: skip

    class Engine:
        num_io_tensors = 2
        profile: Any = SIZES

        def get_tensor_name(self, index: int) -> str:
            return ("lr", "sr")[index]

        def get_tensor_dtype(self, name: str) -> DataType:
            return dtype

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return (-1, 3, -1, -1)

        def get_tensor_profile_shape(self, name: str, index: int) -> Any:
            return [list(shape) for shape in self.profile]

        def create_engine_inspector(self) -> Any:
            return SimpleNamespace(get_engine_information=lambda kind: json.dumps(report))

    class Runtime:
        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            return Engine() if data == b"engine" else None

    api.ILogger, api.Builder, api.OnnxParser, api.Runtime = ILogger, Builder, OnnxParser, Runtime
    api.Engine = Engine
    return api
