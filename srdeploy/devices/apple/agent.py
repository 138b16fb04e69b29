"""Runs on the Mac, by a Python of the user's that has coremltools; nothing else of ours is there.

It reads one JSON object per line and answers each with one; what coremltools prints goes to stderr.
The device's work is coremltools' (``coremltools.models.ml_program.experimental``): it builds and
launches its ModelRunner app on the device and times predictions there. The Mac itself needs no app.

    {"do": "hello"}
    {"do": "connect", "device": NAME or null, "folder": ..., "team", "profile", "bundle": ...}
    {"do": "open", "id": ..., "package": FILE.zip, "folder": ..., "units": "ALL"}
    {"do": "run", "id": ..., "input": FILE, "shape": [N, C, H, W], "output": FILE}
    {"do": "turn", "id": ..., "input": FILE, "shape": ..., "runs": R, "seconds": S}
    {"do": "close", "id": ...}

An answer is {"ok": {...}} or {"error": SENTENCE, "kind": "refused" | "unfit" | "lost" | "job"}.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import uuid
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

INSTALL = "install it there (`pip install coremltools==9.0`), or name another Python by ?python="

LOOK_SECONDS, LOOKS = 0.5, 120
"""How long between two looks for the app's answer, and how many."""


class Refusal(Exception):
    """What cannot be done, in one sentence, and whose fault it is."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class Agent:
    """The Mac's end of the line."""

    def __init__(self) -> None:
        self.device: Any = None
        self.models: dict[str, tuple[Any, str, str, str]] = {}

    async def hello(self, told: dict[str, Any]) -> dict[str, Any]:
        """What this Mac is."""
        import coremltools

        return {
            "coremltools": coremltools.__version__,
            "python": platform.python_version(),
            "os": f"macOS {platform.mac_ver()[0]}".strip(),
            "arch": platform.machine(),
            "model": sysctl("hw.model"),
            "cpu": sysctl("machdep.cpu.brand_string"),
            "cpus": os.cpu_count(),
            "memory": sysctl("hw.memsize"),
        }

    async def connect(self, told: dict[str, Any]) -> dict[str, Any]:
        """Find the device and start coremltools' app on it."""
        if not told["device"]:
            return {}
        try:
            from coremltools.models.ml_program.experimental import remote_device as remote
        except ImportError as error:
            raise Refusal("unfit", f"This coremltools has no device tools ({error}).") from None
        find_devicectl()
        # coremltools gives up after 20 looks for an answer: too few to load a large network.
        remote._DeviceCtlRemoteService.__init__.__defaults__ = (LOOK_SECONDS, LOOKS)
        everything = remote.Device.get_devices()
        same = [d for d in everything if told["device"] in (d.name, d.identifier, d.udid)]
        if not same:
            names = ", ".join(f"'{d.name}'" for d in everything) or "none"
            raise Refusal(
                "refused", f"The Mac knows no device '{told['device']}'; it knows {names}."
            )
        found = same[0]
        if found.developer_mode_state == "disabled":
            raise Refusal(
                "refused",
                f"'{found.name}' is not in developer mode; switch it on there (Settings, Privacy "
                "& Security, Developer Mode).",
            )
        if found.state != remote.DeviceState.CONNECTED:
            raise Refusal(
                "refused",
                f"'{found.name}' is {found.state.value}; plug it in, unlock it, trust the Mac, and "
                f"wake the link (`xcrun devicectl device info details -d {found.identifier}`).",
            )
        folder = Path(told["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        credentials = remote.AppSigningCredentials(
            development_team=told.get("team") or "",
            provisioning_profile_uuid=told.get("profile"),
            bundle_identifier=told.get("bundle"),
        )
        try:
            self.device = await found.prepare_for_model_debugging(
                credentials=credentials, working_directory=folder
            )
        except remote._AppBuilder.Error as error:
            raise Refusal(
                "unfit",
                "Xcode could not build and sign coremltools' ModelRunner app (exit code "
                f"{error.error_code}); give your ?team=, unlock the keychain (`security "
                "unlock-keychain`), and build it once on the Mac's own screen.",
            ) from None
        return {
            "name": found.name,
            "type": found.type.value,
            "os": f"{found.os_version} ({found.os_build_number})",
        }

    async def open(self, told: dict[str, Any]) -> dict[str, Any]:
        """Load a package."""
        import coremltools
        from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper

        package = unpacked(Path(told["package"]), Path(told["folder"]))
        spec = coremltools.models.MLModel(str(package), skip_model_load=True).get_spec()
        (entry,), (end,) = spec.description.input, spec.description.output
        model = MLModelAsyncWrapper.from_spec_or_path(
            str(package),
            weights_dir=str(package),
            compute_units=coremltools.ComputeUnit[told["units"]],
            device=self.device,
        )
        await model.load()
        half = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16
        dtype = "float16" if entry.type.multiArrayType.dataType == half else "float32"
        self.models[told["id"]] = (model, entry.name, end.name, dtype)
        return {
            "load_ms": milliseconds(model.load_duration_in_nano_seconds),
            "units": await placement(model),
        }

    async def run(self, told: dict[str, Any]) -> dict[str, Any]:
        """One output, and its time."""
        import numpy as np

        outputs, spent = await self._predict(told["id"], self._images(told))
        np.concatenate(outputs).astype("<f4").tofile(told["output"])
        return {"ms": spent}

    async def turn(self, told: dict[str, Any]) -> dict[str, Any]:
        """Times of the whole tensor, as the device took them."""
        images = self._images(told)
        samples: list[float] = []
        begin = time.monotonic()
        while len(samples) < told["runs"] or time.monotonic() - begin < told["seconds"]:
            samples.append((await self._predict(told["id"], images))[1])
        return {"samples_ms": samples}

    async def close(self, told: dict[str, Any]) -> dict[str, Any]:
        """Let a model go."""
        model = self.models.pop(told["id"], None)
        if model is not None:
            await model[0].unload()
        return {}

    def end(self) -> None:
        """Stop the app."""
        if self.device is not None:
            self.device.session.stop()

    def _images(self, told: dict[str, Any]) -> Any:
        import numpy as np

        return np.fromfile(told["input"], "<f4").reshape(told["shape"])

    async def _predict(self, name: str, images: Any) -> tuple[list[Any], float]:
        model, entry, end, dtype = self.models[name]
        outputs, spent = [], 0.0
        for n in range(len(images)):  # a package takes one image
            found = await model.predict({entry: images[n : n + 1].astype(dtype)})
            outputs.append(found[end])
            spent += milliseconds(model.last_predict_duration_in_nano_seconds)
        return outputs, spent


async def placement(model: Any) -> dict[str, int]:
    """How many operations Core ML means to run on which unit; empty where it does not tell."""
    try:
        plan = await model.retrieve_compute_plan()
        operations = plan.model_structure.program.functions["main"].block.operations
    except Exception:  # older systems, and whatever an experimental interface does
        return {}
    found: Counter[str] = Counter()
    for operation in operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is not None:
            kind = type(usage.preferred_compute_device).__name__
            found[kind.removeprefix("ML").removesuffix("ComputeDevice").lower()] += 1
    return dict(found.most_common())


def unpacked(archive: Path, folder: Path) -> Path:
    """The package in a zip file, unpacked once; one that is there is believed for its content."""
    target = folder / archive.stem
    with zipfile.ZipFile(archive) as packed:
        if not whole(packed, target):
            part = folder / f"{archive.stem}.part{uuid.uuid4().hex}"
            packed.extractall(part)
            shutil.rmtree(target, ignore_errors=True)
            try:
                os.rename(part, target)
            except OSError:  # somebody else was faster with the same
                shutil.rmtree(part, ignore_errors=True)
    (package,) = target.glob("*.mlpackage")
    return package


def whole(packed: zipfile.ZipFile, folder: Path) -> bool:
    """Whether a folder holds the files of an archive, byte for byte."""
    for one in packed.infolist():
        path = folder / one.filename
        if not path.is_file() or zlib.crc32(path.read_bytes()) != one.CRC:
            return False
    return True


def find_devicectl() -> None:
    """Put Xcode's tools on PATH, where coremltools looks for them.

    Raises:
        Refusal: there is no Xcode.
    """
    try:
        told = subprocess.run(["xcrun", "--find", "devicectl"], capture_output=True, text=True)
        found = told.stdout.strip()
    except OSError:
        found = ""
    if not found:
        raise Refusal(
            "unfit",
            "There is no devicectl; install Xcode 15 or later there and choose it (`sudo "
            "xcode-select -s /Applications/Xcode.app`).",
        )
    os.environ["PATH"] += os.pathsep + os.path.dirname(found)


def sysctl(name: str) -> str:
    """A fact of macOS, as text."""
    try:
        return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def milliseconds(nanoseconds: int | None) -> float:
    """Of what coremltools tells, which may be nothing."""
    if nanoseconds is None:
        raise Refusal("unfit", "This coremltools tells no durations; it takes 9.0 or later.")
    return nanoseconds / 1e6


def explained(error: Exception) -> dict[str, Any]:
    """An exception as an answer."""
    told = getattr(error, "message", None) or str(error)
    told = told.decode(errors="replace") if isinstance(told, bytes) else told
    words = " ".join(told.split()).rstrip(".")[:300] or type(error).__name__
    if isinstance(error, Refusal):
        return {"error": str(error), "kind": error.kind}
    if isinstance(error, ModuleNotFoundError):
        sentence = f"There is no {error.name} in {sys.executable}; {INSTALL}."
        return {"error": sentence, "kind": "unfit"}
    code = getattr(error, "error_code", None)  # of devicectl; the app's own are below zero
    if (code is not None and code > 0) or "session is not active" in words:
        sentence = f"The device went away ({words}); connect and unlock it, then run again."
        return {"error": sentence, "kind": "lost"}
    return {"error": f"{words}.", "kind": "job"}


async def serve(lines: Iterable[str], answers: TextIO) -> None:
    """Answer until the line ends."""
    agent = Agent()
    try:
        for line in lines:
            told = json.loads(line)
            try:
                answer = {"ok": await getattr(agent, told.pop("do"))(told)}
            except Exception as error:
                answer = explained(error)
            print(json.dumps(answer), file=answers, flush=True)
    finally:
        agent.end()


if __name__ == "__main__":
    line_out, sys.stdout = sys.stdout, sys.stderr
    asyncio.run(serve(sys.stdin, line_out))
