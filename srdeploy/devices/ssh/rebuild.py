"""An engine of ours built again on a board, for its GPU and its TensorRT."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

from srdeploy.devices.checked import CheckedModel
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Device
from srdeploy.devices.session import DeviceSession
from srdeploy.devices.ssh.device import SshDevice
from srdeploy.devices.ssh.engines import Engine
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.report import ExportReport
from srdeploy.exporting.tensorrt.accept import require_onnx
from srdeploy.exporting.tensorrt.export import compare_with_source, label, staged
from srdeploy.exporting.tensorrt.source import EngineSource
from srdeploy.runtime.tensorrt.sidecar import (
    Sidecar,
    onnx_path,
    read_sidecar,
    require_source,
    sidecar_path,
)


def rebuild_on(uri: str, engine: str | Path, target: str | Path | None) -> ExportReport:
    """Build an engine again on a board, compare it with its ONNX, and bring it here.

    The engine stays in our folder on the board too, sidecar and ONNX beside it.

    Args:
        uri: The board.
        engine: An engine here, with its sidecar and ONNX; it need not run anywhere any more.
        target: Where to bring the new one; None to leave it there.

    Raises:
        UserError: the engine, its sidecar or its ONNX is missing or damaged; it is TensorRT-RTX's;
            or the device is none that builds engines.
        DeviceError: the board cannot build it.
        SrdeployError: what it built computes something else; it was thrown away.
    """
    started = time.perf_counter()
    board = _require_board(open_device(uri))  # a mistyped device is told before anything else
    facts = read_sidecar(engine)
    source = EngineSource.read(require_source(engine, facts))
    if facts.builder != "tensorrt":
        raise UserError(
            f"'{engine}' is TensorRT-RTX's, which boards do not have; export the network for trt, "
            "or rebuild it here."
        )
    with board:
        built = board.build(
            source,
            facts.profile,
            workspace_mb=facts.workspace_mb,
            tf32=facts.tf32,
            afresh=True,
        )
        content = board.files.read(built.path)
        new = _describe(board, built, facts, content)
        try:
            with board.load_engine(built, facts.card) as model:
                session = DeviceSession(CheckedModel(model, board.uri))
                parity = compare_with_source(session, source.path, new)
        except DeviceError:
            raise
        except SrdeployError:
            board.files.remove(built.path)
            raise
        onnx = source.path.read_bytes()
        there = new.model_copy(update={"onnx": f"{Path(built.path).name}.onnx"})
        board.files.write(str(onnx_path(built.path)), onnx)
        board.files.write(str(sidecar_path(built.path)), there.to_json().encode())
        name = board.facts.model
    if target is not None:
        here = new.model_copy(update={"onnx": onnx_path(Path(target)).name})
        with staged(target) as place:
            place.write_bytes(content)
            sidecar_path(place).write_text(here.to_json(), encoding="utf-8")
            shutil.copyfile(source.path, onnx_path(place))
    imports = require_onnx(onnx, "the ONNX").opset_import
    return ExportReport(
        target="trt",
        path=str(target) if target is not None else built.path,
        sha256=new.engine_sha256,
        bytes=len(content),
        precision=label(new),
        opset=next(one.version for one in imports if not one.domain),
        parity=parity,
        operators=built.layers,
        tools=new.tools,
        seconds=round(time.perf_counter() - started, 3),
        notes=[
            f"built on {name} by TensorRT {new.version}, input {new.profile}",
            built.verification,
            f"on the board: {built.path}",
        ],
    )


def _require_board(device: Device) -> SshDevice:
    if not isinstance(device, SshDevice):
        raise UserError(f"'{device.uri}' builds no engines; give a board: ssh://user@host.")
    return device


def _describe(board: SshDevice, built: Engine, old: Sidecar, content: bytes) -> Sidecar:
    """The old sidecar with what the board changed."""
    found = board.facts
    version = found.versions["tensorrt"]
    tools = {**old.tools, "tensorrt": version}
    history = old.card.history[:-1]
    card = old.card.model_copy(update={"history": history}).step(
        step="export",
        target="trt",
        precision=built.source.precision,
        parent_sha256=old.onnx_sha256,
        tools=tools,
    )
    capability = board.host.capability
    return old.model_copy(
        update={
            "version": version,
            "platform": f"linux-{found.arch}",
            "capabilities": (capability,) if capability else (),
            "gpu": found.gpu,
            "driver": None,
            "engine_sha256": hashlib.sha256(content).hexdigest(),
            "precision": built.source.precision,
            "convolutions": built.source.convolutions,
            "input": built.source.input,
            "output": built.source.output,
            "verified": True,
            "verification": built.verification,
            "layers": built.layers,
            "card": card,
            "tools": tools,
        }
    )
