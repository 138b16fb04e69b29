"""Engines on a board: built there by its own trtexec, kept there by content, read back here."""

from __future__ import annotations

import hashlib
import re
import shlex
import uuid
from dataclasses import dataclass

from srdeploy.devices.answers import reading
from srdeploy.devices.protocol import Shape
from srdeploy.devices.ssh.connection import SshConnection
from srdeploy.devices.ssh.files import SshFiles
from srdeploy.devices.ssh.probe import Host
from srdeploy.devices.ssh.trtexec import Trtexec, check_passed, told_seconds
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.tensorrt.inspect import contradiction, count_layers, layers_of_json
from srdeploy.exporting.tensorrt.script import trtexec_arguments
from srdeploy.exporting.tensorrt.source import EngineSource
from srdeploy.runtime.tensorrt.sidecar import ShapeProfile
from srdeploy.util.files import sha256

_SEAL = "net.sha256"
"""File beside an engine: its digest when it was built."""

_MOST_LAYERS = 256 << 20


@dataclass(frozen=True)
class Engine:
    """An engine on a board.

    Attributes:
        path: Where it is there.
        source: What it was built from.
        profile: Input shapes that it takes.
        build_ms: What building took; 0 where it was there already.
        layers: Built layers by precisions.
        verification: How far what was built is known to be what was asked.
    """

    path: str
    source: EngineSource
    profile: ShapeProfile
    build_ms: float
    layers: dict[str, int]
    verification: str


def profile_for(source: EngineSource, shapes: tuple[Shape, ...]) -> ShapeProfile:
    """A profile that holds all ``shapes`` and is tuned for the first.

    Raises:
        UserError: there is no shape, or the ONNX has fixed sizes and they are others.
    """
    if not source.dynamic:
        n, c, h, w = source.input.shape
        fixed = (n, c, h, w)
        if other := next((shape for shape in shapes if shape != fixed), None):
            raise UserError(
                f"'{source.path.name}' takes {_times(fixed)} only, not {_times(other)}; export it "
                "with dynamic sizes, or measure at its size without quality."
            )
        return ShapeProfile(min=fixed, opt=fixed, max=fixed)
    if not shapes:
        raise UserError(f"No input size is known to build an engine of '{source.path.name}' for.")
    columns = list(zip(*shapes, strict=True))
    n, c, h, w = (min(column) for column in columns)
    top_n, top_c, top_h, top_w = (max(column) for column in columns)
    return ShapeProfile(min=(n, c, h, w), opt=shapes[0], max=(top_n, top_c, top_h, top_w))


def build_there(
    connection: SshConnection,
    files: SshFiles,
    host: Host,
    source: EngineSource,
    profile: ShapeProfile,
    *,
    workspace_mb: int | None = None,
    tf32: bool = False,
    timeout: float | None = None,
    afresh: bool = False,
) -> Engine:
    """Build an engine on the board, or find the one that was built before.

    An engine is kept under the hash of all it depends on: the ONNX, the options, TensorRT's
    version, the board and its release.

    Args:
        connection: To the board.
        files: Its files.
        host: What it is; it has trtexec.
        source: What to build from.
        profile: Input shapes.
        workspace_mb: Limit of scratch memory, MiB.
        tf32: Let fp32 convolutions round their factors.
        timeout: Seconds for the build.
        afresh: Build even if one is there.

    Raises:
        DeviceError: the board cannot, see :func:`srdeploy.devices.ssh.trtexec.check_passed`.
        SrdeployError: trtexec refuses the network, or built something else than was asked.
    """
    program = host.trtexec
    assert program is not None
    key = _key(source, profile, host, program, workspace_mb, tf32)
    final = f"{files.folder}/engines/{key}"
    part = f"{final}.{uuid.uuid4().hex[:8]}.part"
    build_ms = 0.0
    if afresh or not _is_sealed(files, final):
        onnx = files.push(source.path)
        arguments = trtexec_arguments(
            program.version[:2],
            onnx=onnx,
            engine=f"{part}/net.engine",
            input_name=source.input.name,
            profile=profile,
            precisions=tuple(source.convolutions),
            workspace_mb=workspace_mb,
            tf32=tf32,
            timing_cache=f"{files.folder}/timing-{_dotted(program)}.cache",
            layer_info=f"{part}/layers.json",
            dynamic=source.dynamic,
        )
        try:
            made = connection.run(["mkdir", "-p", part])
            if made.returncode:
                raise files.failure(made.stderr.decode(errors="replace"), f"'{part}' was not made")
            ended = connection.run([program.path, *arguments], timeout=timeout)
            said = (ended.stdout + ended.stderr).decode(errors="replace")
            check_passed(said, ended.returncode, connection.name, f"building {source.path.name}")
            build_ms = 1e3 * told_seconds(said).get("built", 0.0)
            files.write(f"{part}/{_SEAL}", (files.digest(f"{part}/net.engine") or "").encode())
            there = shlex.quote(final)
            moved = connection.script(f"rm -rf {there} && mv {shlex.quote(part)} {there}")
            if moved.returncode:
                reason = moved.stderr.decode(errors="replace")
                raise files.failure(reason, "the engine was not stored")
        finally:
            if connection.alive:
                connection.run(["rm", "-rf", part])
    layers, verification = _read_back(files, final, source, connection.name)
    return Engine(f"{final}/net.engine", source, profile, build_ms, layers, verification)


def _is_sealed(files: SshFiles, folder: str) -> bool:
    """Whether an engine is there as it was when it was built."""
    engine, seal = f"{folder}/net.engine", f"{folder}/{_SEAL}"
    if not (files.exists(engine) and files.exists(seal)):
        return False
    return files.read(seal, most=1 << 10).decode(errors="replace") == files.digest(engine)


def _read_back(
    files: SshFiles, folder: str, source: EngineSource, device: str
) -> tuple[dict[str, int], str]:
    text = files.read(f"{folder}/layers.json", most=_MOST_LAYERS).decode(errors="replace")
    with reading(device):
        built = layers_of_json(text)
    counted = count_layers(built)
    if not counted:
        return {}, "not verified: trtexec listed the engine's layers without their types"
    if wrong := contradiction(built, source.convolutions):
        files.remove(f"{folder}/net.engine")
        raise SrdeployError(
            f"'{device}' built another precision than '{source.path.name}' asks for: {wrong}; the "
            "engine was thrown away."
        )
    return counted, "read back on the device: its layers are of the precisions asked for"


def _key(
    source: EngineSource,
    profile: ShapeProfile,
    host: Host,
    program: Trtexec,
    workspace_mb: int | None,
    tf32: bool,
) -> str:
    parts = (
        sha256(source.path),
        profile.model_dump_json(),
        _dotted(program),
        host.facts.model,
        host.facts.gpu,
        host.facts.extra.get("l4t"),
        workspace_mb,
        tf32,
    )
    stem = re.sub(r"[^\w.-]", "_", source.path.stem)[:40]
    return f"{stem}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}"


def _dotted(program: Trtexec) -> str:
    return ".".join(map(str, program.version))


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
