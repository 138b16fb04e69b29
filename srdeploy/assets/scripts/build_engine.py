#!/usr/bin/env python3
"""Build a TensorRT engine from an ONNX file: stand-alone, for the device it will run on.

Needs Python 3.8 and the `tensorrt` (8.5 to 11) or `tensorrt_rtx` module; nothing else. Precisions
come from the ONNX. From TensorRT 10 on the network is strongly typed; before that the precisions
that the ONNX uses are allowed by flags.

    python build_engine.py [--onnx FILE] [--engine FILE] [--timing-cache FILE]
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

REQUEST: dict[str, Any] = {}  # filled in by srdeploy
HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> None:
    """Parse the command line, build, write the engine whole or not at all."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--onnx", default=os.path.join(HERE, REQUEST["onnx"]))
    options.add_argument("--engine", default=os.path.join(HERE, REQUEST["engine"]))
    options.add_argument("--timing-cache", help="read and updated; not for tensorrt_rtx")
    arguments = options.parse_args()
    try:
        trt = importlib.import_module(REQUEST["builder"])
    except ImportError as error:
        sys.exit(f"{REQUEST['builder']} cannot be imported here: {error}")
    with open(arguments.onnx, "rb") as file:
        model = file.read()
    plan = build(trt, model, arguments.timing_cache)
    temporary = arguments.engine + ".part"
    with open(temporary, "wb") as file:
        file.write(plan)
    os.replace(temporary, arguments.engine)
    print(f"{arguments.engine}: {len(plan)} bytes by {REQUEST['builder']} {trt.__version__}")


def build(trt: Any, model: bytes, timing_cache: str | None = None) -> bytes:
    """Bytes of the engine."""
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    creation = trt.NetworkDefinitionCreationFlag
    rtx = REQUEST["builder"] == "tensorrt_rtx"
    before_10 = not rtx and int(trt.__version__.split(".")[0]) < 10
    typed = hasattr(creation, "STRONGLY_TYPED")
    flags = 1 << int(creation.STRONGLY_TYPED) if typed else 0
    if before_10:
        flags |= 1 << int(creation.EXPLICIT_BATCH)
    network = builder.create_network(flags)
    network.name = "srdeploy"
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        sys.exit("\n".join(parser.get_error(i).desc() for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if REQUEST["workspace_mb"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, REQUEST["workspace_mb"] << 20)
    set_tf32 = config.set_flag if REQUEST["tf32"] else config.clear_flag
    set_tf32(trt.BuilderFlag.TF32)
    if not typed:
        for precision in REQUEST["precisions"]:
            if precision != "fp32":
                config.set_flag(getattr(trt.BuilderFlag, precision.upper()))
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION):
                layer.precision = layer.get_input(0).dtype
    if rtx:
        config.num_compute_capabilities = len(REQUEST["capabilities"])
        for index, name in enumerate(REQUEST["capabilities"]):
            member = getattr(trt.ComputeCapability, "SM" + name.replace(".", ""))
            config.set_compute_capability(member, index)
    elif timing_cache:
        held = b""
        if os.path.isfile(timing_cache):
            with open(timing_cache, "rb") as file:
                held = file.read()
        config.set_timing_cache(config.create_timing_cache(held), False)
    profile = builder.create_optimization_profile()
    profile.set_shape(REQUEST["input"], REQUEST["min"], REQUEST["opt"], REQUEST["max"])
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        sys.exit("TensorRT could not build the engine; its reasons are above.")
    if timing_cache and not rtx:
        with open(timing_cache, "wb") as file:
            file.write(bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


if __name__ == "__main__":
    main()
