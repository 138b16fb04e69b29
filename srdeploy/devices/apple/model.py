"""A Core ML package on a Mac or on a device attached to it."""

from __future__ import annotations

import io
import math
import tempfile
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.answers import reading, tensor_of
from srdeploy.devices.apple.line import AgentLine
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.protocol import Job, Loaded, Turn
from srdeploy.devices.shell.files import ShellFiles
from srdeploy.errors import UserError
from srdeploy.runtime.coreml.package import Package, read_package
from srdeploy.runtime.open import artifact_runtime
from srdeploy.runtime.sizes import InputSizes

_NOTE = (
    "timed by coremltools around each prediction, on the device itself; Core ML does not tell what "
    "it computed in"
)


class AppleModel:
    """See :class:`srdeploy.devices.protocol.LoadedModel`."""

    def __init__(
        self,
        line: AgentLine,
        files: ShellFiles,
        job: Job,
        *,
        units: str,
        precision: str,
        version: str,
    ) -> None:
        self._line, self._files, self._timeout = line, files, job.timeout_seconds
        self._id = uuid.uuid4().hex
        self._folder = f"{files.folder}/run/{self._id}"
        with tempfile.TemporaryDirectory() as folder:
            path = package_of(job, Path(folder), precision)
            self._package: Package = read_package(path)
            if self._package.input.image or self._package.output.image:
                raise UserError(
                    f"'{job.artifact}' has image ends, whose rounding hides what is computed; "
                    "export it with tensor ends to measure it."
                )
            archive = zipped(path, Path(folder))
            told = self._ask(
                "open",
                package=files.push(archive),
                folder=f"{files.folder}/files",
                units=units.upper(),
            )
        self._prepared: dict[str, Any] | None = None
        with reading(line.device):
            placed = {str(unit): int(n) for unit, n in told["units"].items()}
            total = sum(placed.values())
            self.loaded = Loaded(
                card=self._package.card,
                runtime="coreml",
                runtime_version=version,
                provider=", ".join(f"{unit} ({n} of {total})" for unit, n in placed.items())
                or units,
                load_ms=float(told["load_ms"]),
                notes=(_NOTE,),
            )

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Copy the tensor to the Mac, run it once, warm up."""
        self._prepared = self._tensor(x, "timed.bin")
        first = self._ask("turn", **self._prepared, runs=1, seconds=0)["samples_ms"][0]
        if runs or seconds:
            self._ask("turn", **self._prepared, runs=runs, seconds=seconds)
        return float(first)

    def turn(self, seconds: float) -> Turn:
        """Predictions, one after another."""
        assert self._prepared is not None, "prepare() comes before turn()"
        told = self._ask("turn", **self._prepared, runs=1, seconds=seconds)
        return Turn([float(sample) for sample in told["samples_ms"]])

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """One prediction, and its output."""
        output, s = f"{self._folder}/y.bin", self._package.card.network_scale
        self._ask("run", **self._tensor(x, "x.bin"), output=output)
        n, c, h, w = x.shape
        shape = (n, c, h * s, w * s)
        content = self._files.read(output, most=4 * math.prod(shape))
        self._files.remove(output)
        return tensor_of(content, shape, self._line.device)

    def peak_mb(self) -> float | None:
        """Not told."""
        return None

    def close(self) -> None:
        """Unload it; the package stays on the Mac for the next time."""
        try:
            self._ask("close")
            self._files.remove(f"{self._folder}/timed.bin")
            self._files.remove(f"{self._folder}/x.bin")
        except DeviceError:
            pass  # gone, and the model with it

    def __enter__(self) -> AppleModel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _tensor(self, x: NDArray[np.float32], name: str) -> dict[str, Any]:
        sizes = self._package.input.sizes
        height, width = x.shape[2:]
        if sizes is not None and not sizes.allows(height, width):
            raise UserError(
                f"'{self._package.path.name}' takes {sizes} only, not {width}x{height}; export it "
                "with an --input that includes this."
            )
        path = f"{self._folder}/{name}"
        self._files.write(path, np.ascontiguousarray(x, "<f4").tobytes())
        return {"input": path, "shape": list(x.shape)}

    def _ask(self, do: str, **fields: Any) -> dict[str, Any]:
        return self._line.ask(do, self._timeout, id=self._id, **fields)


def package_of(job: Job, folder: Path, precision: str) -> Path:
    """The package of a job's artifact: itself, or converted into ``folder``.

    Raises:
        UserError: the artifact has no way to Core ML.
    """
    path = Path(job.artifact)
    runtime = artifact_runtime(path)
    if path.suffix == ".mlpackage":
        return path
    if runtime is not None:
        if not path.exists():
            raise UserError(f"There is no file '{path}'.")
        raise UserError(
            f"'{path}' is for {runtime.title} and cannot become a Core ML package; give the "
            ".mlpackage, or the network."
        )
    from srdeploy.exporting.coreml.export import export_coreml
    from srdeploy.models.load import load_network

    options = {k: v for k, v in job.options.items() if k in ("arch", "scale")}
    sizes = tuple(dict.fromkeys((h, w) for _, _, h, w in job.shapes))
    target = folder / f"{path.stem}.mlpackage"
    export_coreml(
        load_network(job.artifact, **options),
        target,
        precision=precision,
        sizes=InputSizes(sizes) if sizes else None,
    )
    return target


def zipped(package: Path, folder: Path) -> Path:
    """The package as one file, equal for equal content, so that it travels once."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(one for one in package.rglob("*") if one.is_file()):
            name = f"net.mlpackage/{path.relative_to(package).as_posix()}"
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    target = folder / "net.zip"
    target.write_bytes(content.getvalue())
    return target
