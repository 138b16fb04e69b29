"""Network -> LiteRT (TensorFlow Lite) for Android, converted from torch and run here at once.

The converter (``litert-torch``) installs beside the torch that srdeploy needs, but brings JAX,
transformers and a compiler with it, 1.3 GB: hence an extra of its own. It writes fixed sizes only
and keeps the [N, C, H, W] ends, transposing inside.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.parity import Reference, check_parity_of
from srdeploy.exporting.probe import TOLERANCE, trace_operations
from srdeploy.exporting.report import ExportReport, artifact_facts, tool_versions
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.probes import Size, photograph
from srdeploy.runtime.litert_session import LitertSession
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.table import LITERT, LITERT_TORCH
from srdeploy.util.files import atomic_path
from srdeploy.util.quiet import quiet

TOOLS = ("torch", "litert-torch", "ai-edge-litert")

DEFAULT_SIZE = (270, 480)
"""Height and width unless told."""


def export_litert(network: Network, path: str | Path, *, sizes: str | None = None) -> ExportReport:
    """Write a float32 ``.tflite`` of one input size.

    Input float32 [1, C, H, W] in 0..value_range; output [1, C, H*s, W*s]. The card lies in the
    metadata under ``srdeploy.card``. Equal networks and tools give equal bytes.

    Args:
        network: What to export; float32, on the CPU.
        path: Where to.
        sizes: The one input size, as :meth:`InputSizes.parse` reads it; default 480x270, for a
            pre-upscaled network 1280x720.

    Raises:
        UserError: the converter is missing, or the network cannot take the size.
        SrdeployError: it cannot be converted, or the result differs from torch by more than
            :data:`TOLERANCE`.
    """
    started = time.perf_counter()
    for module in (LITERT_TORCH, LITERT):
        if not (found := module.availability()):
            raise UserError(f"Exporting to LiteRT is not possible here: {found.reason}.")
    size = _one_size(sizes) if sizes else _default_size(network.card)
    multiple = network.card.size_multiple
    if any(n % multiple for n in size):
        raise UserError(
            f"The network cannot take {size[1]}x{size[0]} pixels; give multiples of {multiple}."
        )
    trace_operations(network, size)
    card = network.card.step(
        step="export", target="litert", precision="fp32", size=list(size),
        weights_sha256=weights_sha256(network.module.state_dict()),
        parity={"tolerance": TOLERANCE, "sizes": [list(size)]},
        tools=tool_versions(TOOLS),
    )  # fmt: skip
    reference = Reference.of(network, [size])
    with atomic_path(path) as temporary:
        temporary.write_bytes(_with_card(_convert(network, size), card))
        with LitertSession(temporary, threads=1) as session:
            operators = _operators(temporary)
            parity = check_parity_of(reference, session.run, TOLERANCE, what="The TFLite file")
    return ExportReport(
        target="litert",
        path=str(path),
        **artifact_facts(Path(path)),
        precision="fp32",
        opset=None,
        parity=parity,
        operators=operators,
        tools=tool_versions(TOOLS),
        seconds=round(time.perf_counter() - started, 3),
        notes=[f"one input size, {size[1]}x{size[0]}: LiteRT's converter writes no other"],
    )


def _one_size(text: str) -> tuple[int, int]:
    asked = InputSizes.parse(text)
    if not asked.fixed:
        raise UserError(f"LiteRT's converter writes one input size, not '{text}'; give 480x270.")
    return asked.listed[0]


def _default_size(card: Card) -> tuple[int, int]:
    height, width = (720, 1280) if card.pre_upscaled else DEFAULT_SIZE
    m = card.size_multiple
    return -(-height // m) * m, -(-width // m) * m


def _convert(network: Network, size: Size) -> bytes:
    x = torch.from_numpy(photograph(network.card, size))
    with quiet():
        import litert_torch

        try:
            converted = litert_torch.convert(network.module, (x,))
            return bytes(converted.model_content())
        except Exception as error:
            lines = str(error).strip().splitlines()
            raise SrdeployError(
                f"LiteRT's converter refuses this network ({(lines or [repr(error)])[0]})."
            ) from error


def _with_card(data: bytes, card: Card) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    buffer: Any = schema.BufferT()
    buffer.data = np.frombuffer(card.to_json().encode(), np.uint8)
    model.buffers.append(buffer)
    entry: Any = schema.MetadataT()
    entry.name, entry.buffer = CARD_KEY, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _operators(path: Path) -> dict[str, int]:
    from ai_edge_litert import schema_py_generated as schema

    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    model: Any = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    codes = [names[code.builtinCode] for code in model.operatorCodes]
    found = Counter(codes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators)
    return dict(sorted(found.items()))
