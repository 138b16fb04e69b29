"""An artifact on its way to a device: its card, and the ONNX file that devices build from."""

from __future__ import annotations

from pathlib import Path

from srdeploy.devices.protocol import Job
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.open import artifact_runtime, open_session
from srdeploy.runtime.tensorrt.sidecar import read_sidecar, require_source
from srdeploy.util.shipped import shipped_networks


def card_of(job: Job) -> Card:
    """The card of a job's artifact, without opening it on a device.

    Raises:
        UserError: there is no such artifact, or it does not tell enough.
    """
    path = Path(job.artifact)
    runtime = artifact_runtime(path)
    if runtime is not None and runtime.foreign:  # a stranger's tells when it is run
        options = {k: v for k, v in job.options.items() if k in ("scale", "value_range")}
        with open_session(path, threads=1, **options) as session:
            return session.card
    if not path.exists() and (shipped := shipped_networks().get(job.artifact)):
        path = shipped
    if runtime is not None or "arch" not in job.options:
        return read_card_of(path)
    from srdeploy.models.load import load_network

    return load_network(path, arch=job.options["arch"], scale=job.options.get("scale")).card


def onnx_of(job: Job, folder: Path) -> Path:
    """The ONNX file of a job's artifact: itself, the one beside an engine, or exported into
    ``folder``.

    Raises:
        UserError: the artifact has no way back to ONNX.
    """
    path = Path(job.artifact)
    runtime = artifact_runtime(path)
    if runtime is None:
        from srdeploy.exporting.onnx.export import export_onnx
        from srdeploy.models.load import load_network

        options = {k: v for k, v in job.options.items() if k in ("arch", "scale")}
        target = folder / f"{path.stem}.onnx"
        export_onnx(load_network(job.artifact, **options), target, check=False)
        return target
    if not path.exists():
        raise UserError(f"There is no file '{path}'.")
    if path.suffix.lower() == ".onnx":
        return path
    if path.suffix.lower() == ".engine":
        return require_source(path, read_sidecar(path))
    raise UserError(
        f"'{path}' is for {runtime.title} and cannot become ONNX again; give the .onnx file, or "
        "the network."
    )
