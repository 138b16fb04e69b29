"""Qualcomm AI Hub: Snapdragon phones, boards and laptops in Qualcomm's own lab.

A network is compiled there once per input size; every turn is one of its jobs, which times some
hundred runs of our tensor on the device, and every output comes back from the device itself.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.artifact import card_of, onnx_of
from srdeploy.devices.errors import DeviceError, DeviceRefused, DeviceUnfit
from srdeploy.devices.protocol import Job, Loaded, Shape, Turn
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError, unknown_name
from srdeploy.measure.measurement import DeviceFacts

RUNTIMES = ("onnx", "tflite", "qnn_dlc", "qnn_context_binary", "precompiled_qnn_onnx")
"""What AI Hub compiles ONNX into, in its words."""

UNITS = ("all", "npu", "gpu", "cpu")

_OPTIONS = ("os", "runtime", "unit", "profile")
_LEAST_SECONDS, _MOST_RUNS = 5, 1000
"""A job waits for its device much longer than it runs: a turn takes at least so many seconds."""


class AiHubDevice:
    """See :class:`srdeploy.devices.protocol.Device`; ``qai-hub://NAME`` with AI Hub's name.

    Options of the URI:
        os: The device's system, ``14`` or ``[13,15)`` (default: the newest there is).
        runtime: One of :data:`RUNTIMES` (default: onnx).
        unit: One of :data:`UNITS`, what may compute (default: all).
        profile: Name of a configuration beside ``~/.qai_hub/client.ini``.
    """

    commands = None
    files = None
    sensors = None

    def __init__(self, uri: DeviceUri) -> None:
        """Take a URI apart; nothing is asked of the service.

        Raises:
            UserError: no name, an unknown option, runtime or unit.
        """
        uri.check_options(_OPTIONS)
        if not uri.host:
            raise UserError(
                f"'{uri.text}' names no device; write e.g. 'qai-hub://Samsung Galaxy S24'."
            )
        self.uri, self._name, self._options = uri.text, uri.host, uri.options
        self._runtime = _one_of("runtime", uri.options.get("runtime", RUNTIMES[0]), RUNTIMES)
        self._unit = _one_of("unit", uri.options.get("unit", UNITS[0]), UNITS)
        self._client: Any = None
        self._device: Any = None

    def client(self) -> Any:
        """The library's client, with the user's own configuration."""
        from qai_hub import Client

        return Client(profile=self._options.get("profile"))

    @property
    def facts(self) -> DeviceFacts:
        """What AI Hub says of the device."""
        from importlib.metadata import version

        told = dict(text.partition(":")[::2] for text in self._device.attributes)
        return DeviceFacts(
            kind="hosted",
            model=self._device.name,
            arch="aarch64",
            os=f"{told.get('os', 'unknown')} {self._device.os}".strip(),
            cpu=told.get("chipset"),
            versions={"qai-hub": version("qai-hub")},
        )

    def load(self, job: Job) -> AiHubModel:
        """Upload the network and compile it for the first size.

        Raises:
            UserError: there is no such artifact, or AI Hub cannot compile it.
            DeviceError: the service fails.
        """
        if job.runtime not in (None, self._runtime):
            raise UserError(
                f"'{self.uri}' runs {self._runtime}; name another by ?runtime=, one of "
                f"{', '.join(RUNTIMES)}."
            )
        return AiHubModel(self._client, self._device, job, self._runtime, self._unit)

    def __enter__(self) -> AiHubDevice:
        """Look the device up.

        Raises:
            UserError: there is no token, or a wrong one.
            DeviceRefused: there is no such device.
        """
        with refusals():
            self._client = self.client()
            self._client.set_verbose(False)
            found = self._client.get_devices(name=self._name, os=self._options.get("os", ""))
            if not found:
                known = sorted({one.name for one in self._client.get_devices()})
                if self._name in known:
                    raise DeviceRefused(
                        f"Qualcomm AI Hub has no '{self._name}' with os "
                        f"{self._options.get('os')}; leave os out, or see `qai-hub list-devices`."
                    )
                raise DeviceRefused(str(unknown_name("device of AI Hub", self._name, known)))
        self._device = found[-1]  # AI Hub lists the oldest system first
        return self

    def __exit__(self, *details: object) -> None:
        """Nothing is held: jobs end by themselves."""


class AiHubModel:
    """See :class:`srdeploy.devices.protocol.LoadedModel`."""

    def __init__(self, client: Any, device: Any, job: Job, runtime: str, unit: str) -> None:
        self._client, self._device = client, device
        self._timeout, self._runtime, self._unit = math.ceil(job.timeout_seconds), runtime, unit
        self._card = card_of(job)
        self._compiled: dict[Shape, Any] = {}
        self._prepared: NDArray[np.float32] | None = None
        self._peak_mb: float | None = None
        with tempfile.TemporaryDirectory() as folder:
            onnx = onnx_of(job, Path(folder))
            self._input = _input_name(onnx)
            with refusals():
                self._source = client.upload_model(str(onnx), name=Path(job.artifact).stem)
        self._loaded = Loaded(
            card=self._card,
            runtime=runtime,
            provider=unit,
            notes=(
                "timed by Qualcomm AI Hub, which tells neither its first run nor what was "
                "computed in; on the NPU, fp32 networks compute in fp16",
            ),
        )
        if job.shapes:
            self._target(job.shapes[0])

    @property
    def loaded(self) -> Loaded:
        """What is known; more once a turn was timed."""
        return self._loaded

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Compile for the tensor's size; AI Hub warms up by itself, before every turn."""
        self._target(_shape(x))
        self._prepared = x
        return None

    def turn(self, seconds: float) -> Turn:
        """One job: runs for ``seconds``, but at least :data:`_LEAST_SECONDS`."""
        assert self._prepared is not None, "prepare() comes before turn()"
        limit = max(math.ceil(seconds), _LEAST_SECONDS)
        options = f"--max_profiler_time {limit} --max_profiler_iterations {_MOST_RUNS}"
        with refusals():
            job = self._run(self._prepared, options, profile=True)
            profile = job.download_profile()
        told = profile.get("execution_summary", {})
        times = told.get("all_inference_times") or [told.get("estimated_inference_time")]
        if not all(times):
            raise DeviceError(f"AI Hub's job {job.job_id} brought no times; run again.")
        units = Counter(one["compute_unit"].lower() for one in profile["execution_detail"])
        memory = _amount(told, "estimated_inference_peak_memory", 1e6)
        self._peak_mb = max(filter(None, (self._peak_mb, memory)), default=None)
        self._loaded = replace(
            self._loaded,
            provider=", ".join(
                f"{unit} ({count} of {units.total()} layers)" for unit, count in units.most_common()
            )
            or self._unit,
            runtime_version=getattr(job, "hub_version", None) or None,
            load_ms=_amount(told, "first_load_time", 1e3),
            build_ms=_amount(told, "compile_time", 1e3),
        )
        return Turn([time / 1e3 for time in times])

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output, computed on the device."""
        with refusals():
            job = self._run(x, "", profile=False)
            outputs = job.download_output_data()
        ((output,),) = outputs.values()
        return np.asarray(output, np.float32)

    def peak_mb(self) -> float | None:
        """The most of all turns so far."""
        return self._peak_mb

    def close(self) -> None:
        """Nothing is held; AI Hub keeps models and jobs for the user to look at."""

    def __enter__(self) -> AiHubModel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _target(self, shape: Shape) -> Any:
        """The network compiled for a size."""
        if shape not in self._compiled:
            with refusals():
                job = self._client.submit_compile_job(
                    self._source,
                    self._device,
                    input_specs={self._input: shape},
                    options=f"--target_runtime {self._runtime}",
                )
                status = job.wait(self._timeout)
                if not status.success:
                    raise UserError(
                        f"AI Hub cannot compile the network for {self._runtime} "
                        f"({_line(status.message)}; {job.url})."
                    )
                self._compiled[shape] = job.get_target_model()
        return self._compiled[shape]

    def _run(self, x: NDArray[np.float32], options: str, *, profile: bool) -> Any:
        """A job that ended well."""
        job = self._client.submit_inference_job(
            self._target(_shape(x)),
            self._device,
            inputs={self._input: [np.ascontiguousarray(x, np.float32)]},
            options=f"--compute_unit {self._unit} {options}",
            profile=profile,
        )
        status = job.wait(self._timeout)
        if not status.success:
            raise DeviceUnfit(
                f"AI Hub's job on '{self._device.name}' failed ({_line(status.message)}; "
                f"{job.url})."
            )
        return job


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the library raises into one sentence.

    Raises:
        UserError: it refuses what was asked: token, names, files.
        DeviceError: the service fails, limits us, or takes too long.
    """
    from qai_hub import client as library

    try:
        yield
    except (library.UserError, FileNotFoundError) as error:
        raise UserError(f"Qualcomm AI Hub refuses: {_line(error)}.") from None
    except TimeoutError as error:
        raise DeviceError(
            f"Qualcomm AI Hub is late: {_line(error)}; the job goes on there."
        ) from None
    except (library.Error, library.APIException) as error:
        raise DeviceError(f"Qualcomm AI Hub fails: {_line(error)}; run again later.") from None


def _line(text: object) -> str:
    """The library's boxes and paragraphs as one line."""
    words = str(text).translate(str.maketrans("┌┐└┘─|", "      ")).split()
    return " ".join(words).rstrip(".")[:400] or "it gave no reason"


def _one_of(what: str, name: str, known: tuple[str, ...]) -> str:
    if name not in known:
        raise unknown_name(f"{what} of AI Hub", name, known)
    return name


def _amount(told: dict[str, Any], key: str, unit: float) -> float | None:
    """A figure of a profile; None where it is missing or nothing."""
    value = told.get(key)
    return value / unit if isinstance(value, (int, float)) and value > 0 else None


def _input_name(path: Path) -> str:
    import onnx

    return str(onnx.load(str(path), load_external_data=False).graph.input[0].name)


def _shape(x: NDArray[np.float32]) -> Shape:
    n, c, h, w = x.shape
    return n, c, h, w
