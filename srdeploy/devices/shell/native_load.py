"""A job's artifact on its way to the native runner: for ncnn, or for SMSR in C."""

from __future__ import annotations

import tempfile
from pathlib import Path

from srdeploy.devices.artifact import card_of, onnx_of
from srdeploy.devices.native import NCNN, ON_GPUS, PRECISIONS, SPARSE, VULKAN, NativeNetwork
from srdeploy.devices.protocol import Job
from srdeploy.devices.shell.files import ShellFiles
from srdeploy.devices.shell.link import ShellLink
from srdeploy.devices.shell.native_model import NativeModel, runner_for
from srdeploy.errors import UserError
from srdeploy.measure.measurement import DeviceFacts
from srdeploy.models.card import Card
from srdeploy.runtime.open import artifact_runtime
from srdeploy.sparse.model_file import SUFFIX, read_model


def native_runtime(job: Job) -> str:
    """What of the native runner a job wants: the runtime that it names, or what its file fits."""
    fitting = SPARSE if Path(job.artifact).suffix.lower() == SUFFIX else NCNN
    return job.runtime or fitting


def load_native(
    job: Job, link: ShellLink, files: ShellFiles, facts: DeviceFacts, precision: str
) -> NativeModel:
    """Bring the runner and the network to a device.

    Args:
        job: What is to be run; its runtime is one of :data:`~srdeploy.devices.native.RUNTIMES`, or
            None for what fits.
        link: To the device.
        files: There.
        facts: Of the device.
        precision: What is to be computed in; an SMSR file has one of its own, which fp32 leaves,
            and so has a pair of ncnn in int8.

    Raises:
        UserError: no such artifact, or one that the runtime does not run, or not in this precision.
    """
    runtime = native_runtime(job)
    if runtime == VULKAN and precision not in ON_GPUS:
        raise UserError(
            f"Networks run by Vulkan in {' or '.join(ON_GPUS)}, not in {precision}; change "
            "?precision=, or take the CPU with --runtime ncnn."
        )
    card = card_of(job)
    runner = runner_for(facts.arch, link.name, vulkan=runtime == VULKAN)
    with tempfile.TemporaryDirectory() as folder:
        if runtime == SPARSE:
            made, precision = _sparse(job, Path(folder), precision), PRECISIONS[0]
        else:
            made = _ncnn(runtime, job, card, Path(folder), precision)
            precision = PRECISIONS[0] if precision == "int8" else precision
        return NativeModel(
            link,
            files,
            runner=runner,
            network=made,
            card=card,
            threads=job.threads or facts.cpus or 1,
            precision=precision,
            timeout=job.timeout_seconds,
        )


def _ncnn(runtime: str, job: Job, card: Card, folder: Path, precision: str) -> NativeNetwork:
    from srdeploy.devices.native_build import native_model
    from srdeploy.runtime.ncnn.pair import read_pair
    from srdeploy.runtime.ncnn.param import SUFFIX as NCNN_SUFFIX

    if Path(job.artifact).suffix.lower() != NCNN_SUFFIX:
        param, weights = native_model(onnx_of(job, folder), card if precision == "int8" else None)
    else:
        pair = read_pair(job.artifact)
        param, weights = pair.param, pair.weights
        if pair.structure.in_8_bits and runtime == VULKAN:
            raise UserError(
                f"'{param}' is in int8, which GPUs do not run; give its fp32 or fp16 network, or "
                "take the CPU with --runtime ncnn."
            )
        if precision == "int8" and not pair.structure.in_8_bits:
            raise UserError(
                f"'{param}' is not in int8; leave ?precision= out, or give the network that it was "
                "exported from."
            )
    return NativeNetwork(runtime, {"param": param, "bin": weights})


def _sparse(job: Job, folder: Path, precision: str) -> NativeNetwork:
    path = Path(job.artifact)
    fitting = artifact_runtime(path)
    if fitting is None:
        from srdeploy.models.load import load_network
        from srdeploy.runtime.sparse_file import write_model

        options = {k: v for k, v in job.options.items() if k in ("arch", "scale")}
        path = folder / f"{path.stem}{SUFFIX}"
        write_model(load_network(job.artifact, **options), path, precision=precision)
    elif path.suffix.lower() != SUFFIX:
        raise UserError(
            f"The runtime {SPARSE} cannot run '{path}', which is for {fitting.title}; give the "
            f"SMSR network, or its {SUFFIX} file."
        )
    elif not path.is_file():
        raise UserError(f"There is no file '{path}'.")
    elif precision not in (PRECISIONS[0], has := read_model(path)[1].precision):
        raise UserError(
            f"'{path}' is computed in {has}, not in {precision}; leave ?precision= out, or give "
            "the network that it was exported from."
        )
    return NativeNetwork(SPARSE, {"net": path})
