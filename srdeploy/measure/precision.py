"""The precision that an ONNX file's convolutions really ran in, read back from onnxruntime.

What a file asks for is not always what runs: onnxruntime's CPU has no fp16 convolution on most
processors and casts to fp32 around each. Its profiler tells the types of what was executed.

``python -m srdeploy.measure.precision FILE [PROVIDER]`` prints it, from a process of its own, so
that no measured process holds a second copy of the network.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

_SIDE = 48  # divisible by every size multiple in use, and cheap
_CONVOLUTIONS = re.compile(r"Conv")
_TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "uint8": "int8", "int8": "int8"}


def precision_of(artifact: str | Path, runtime: str, provider: str | None = None) -> str | None:
    """What an artifact's convolutions compute in under a runtime here.

    Args:
        artifact: What is run.
        runtime: The runtime's name in results.
        provider: Of onnxruntime's, by our name.

    Returns:
        ``fp32``, ``fp16``, ``bf16``, ``int8``; several joined by ``+``, the commonest first; None
        where it cannot be told (a provider that runs the whole graph as one, other runtimes).
    """
    if runtime == "torch":
        return "fp32"
    if runtime in ("tensorrt", "tensorrt_rtx"):
        from srdeploy.runtime.tensorrt.sidecar import read_sidecar

        return read_sidecar(artifact).precision  # read back from the engine when it was built
    if not runtime.startswith("onnxruntime"):
        return None  # or its session tells
    command = [sys.executable, "-m", "srdeploy.measure.precision", str(artifact)]
    ended = subprocess.run(
        command + ([provider] if provider else []), capture_output=True, text=True, check=False
    )
    return ended.stdout.strip() or None


def ran_in(path: str | Path, providers: list[str] | None = None) -> str | None:
    """Run an ONNX file once in onnxruntime, under its profiler; see :func:`precision_of`."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(path), options, providers=providers)
        (end,) = session.get_inputs()
        free = (1, 3, _SIDE, _SIDE)
        shape = [n if isinstance(n, int) else m for n, m in zip(end.shape, free, strict=True)]
        dtype = np.float16 if "float16" in end.type else np.float32
        session.run(None, {end.name: np.zeros(shape, dtype)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _precisions(events)


def _precisions(events: list[dict[str, Any]]) -> str | None:
    counts: Counter[str] = Counter()
    for event in events:
        told = event.get("args", {})
        if not event.get("name", "").endswith("_kernel_time"):
            continue
        if not _CONVOLUTIONS.search(told.get("op_name", "")):
            continue
        # [{"float": [1, 3, 8, 8]}, {"float": [64, 3, 3, 3]}, ...]: the image comes first.
        inputs = told.get("input_type_shape") or [{}]
        if found := _TYPES.get(next(iter(inputs[0]), "")):
            counts[found] += 1
    return "+".join(name for name, _ in counts.most_common()) or None


def main() -> None:
    """Print the precision of the file and provider on the command line."""
    from srdeploy.runtime.onnx.providers import provider_list

    print(ran_in(sys.argv[1], provider_list(next(iter(sys.argv[2:]), None))) or "")


if __name__ == "__main__":
    main()
