"""A Linux machine behind ssh: a Jetson runs engines by trtexec, any other the native runner."""

from __future__ import annotations

import tempfile
from pathlib import Path

from srdeploy.devices.answers import reading
from srdeploy.devices.artifact import card_of, onnx_of
from srdeploy.devices.errors import DeviceError, DeviceUnfit
from srdeploy.devices.native import PRECISIONS, SPARSE
from srdeploy.devices.native import RUNTIMES as NATIVE
from srdeploy.devices.protocol import Job, LoadedModel
from srdeploy.devices.shell.link import ShellCommands
from srdeploy.devices.shell.native_load import load_native, native_runtime
from srdeploy.devices.ssh.connection import SshConnection
from srdeploy.devices.ssh.engines import Engine, build_there, profile_for
from srdeploy.devices.ssh.files import SshFiles
from srdeploy.devices.ssh.probe import TRTEXEC_PLACES, Host, facts_script, read_facts
from srdeploy.devices.ssh.sensors import SshSensors
from srdeploy.devices.ssh.trt_model import TrtexecModel
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError, unknown_name
from srdeploy.exporting.tensorrt.source import EngineSource
from srdeploy.measure.measurement import DeviceFacts
from srdeploy.models.card import Card
from srdeploy.runtime.tensorrt.sidecar import ShapeProfile, read_sidecar

RUNTIMES = ("tensorrt", *NATIVE)
_OPTIONS = ("config", "dir", "trtexec", "precision")


class SshDevice:
    """See :class:`srdeploy.devices.protocol.Device`.

    Options of the URI:
        config: An OpenSSH configuration file in place of the user's.
        dir: Our folder there (default: ``srdeploy`` in the user's cache folder).
        trtexec: Where trtexec is, if neither on PATH nor where JetPack puts it.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``, of the native runner (default: fp32).
    """

    def __init__(self, uri: DeviceUri) -> None:
        """Take a URI apart; nothing is connected.

        Raises:
            UserError: no host, or an unknown option or precision.
        """
        uri.check_options(_OPTIONS)
        if not uri.host:
            raise UserError(f"'{uri.text}' names no host; write ssh://user@host.")
        if uri.host.startswith("-"):
            raise UserError(f"'{uri.host}' is no name of a host.")
        self._precision = uri.options.get("precision", "fp32")
        if self._precision not in PRECISIONS:
            raise unknown_name("precision of the native runner", self._precision, PRECISIONS)
        self.uri = uri.text
        self._options = uri.options
        self._connection = SshConnection(
            uri.host, user=uri.user, port=uri.port, config=uri.options.get("config")
        )
        self._found: Host | None = None
        self._files: SshFiles | None = None
        self._sensors: SshSensors | None = None

    @property
    def facts(self) -> DeviceFacts:
        """What the machine tells of itself."""
        return self.host.facts

    @property
    def host(self) -> Host:
        """Facts, and where its tools are; asked once.

        Raises:
            DeviceError: no POSIX shell answers there, or trtexec is there and does not start.
        """
        if self._found is None:
            script = facts_script(self._options.get("trtexec"))
            ended = self._connection.script(script, timeout=60, what="asking what it is")
            text = ended.stdout.decode(errors="replace")
            if "\nhelp=\n" not in text:
                raise DeviceError(f"'{self._connection.name}' has no POSIX shell that answers.")
            with reading(self._connection.name):
                self._found = read_facts(text)
        return self._found

    @property
    def commands(self) -> ShellCommands:
        """Programs there."""
        return ShellCommands(self._connection)

    @property
    def files(self) -> SshFiles:
        """Files there."""
        if self._files is None:
            folder = self._options.get("dir") or f"{self.host.cache}/srdeploy"
            self._files = SshFiles(self._connection, folder.rstrip("/"))
        return self._files

    @property
    def sensors(self) -> SshSensors:
        """Sensors there."""
        if self._sensors is None:
            self._sensors = SshSensors(self._connection, self.host)
        return self._sensors

    def load(self, job: Job) -> LoadedModel:
        """Build an engine there, or bring the native runner.

        A Jetson, and whatever has trtexec, runs engines; ``runtime="ncnn"`` takes the CPU instead,
        and ``runtime="ncnn-vulkan"`` any GPU that has a driver for Vulkan.
        Model files of SMSR run on the CPU everywhere.
        """
        runtime = native_runtime(job)
        if job.runtime is None and runtime != SPARSE and (self.host.jetson or self.host.trtexec):
            runtime = "tensorrt"
        if runtime not in RUNTIMES:
            raise unknown_name("runtime of ssh devices", runtime, RUNTIMES)
        if runtime in NATIVE:
            return load_native(job, self._connection, self.files, self.facts, self._precision)
        card = card_of(job)
        with tempfile.TemporaryDirectory() as folder:
            source = EngineSource.read(onnx_of(job, Path(folder)))
            return self.load_engine(self._engine(job, source), card, job.timeout_seconds)

    def load_engine(self, engine: Engine, card: Card, timeout: float = 3600.0) -> TrtexecModel:
        """An engine that was built there, ready to run."""
        program = self.host.trtexec
        assert program is not None, "it built the engine"
        return TrtexecModel(
            self._connection, self.files, program, engine, card, self.facts.gpu, timeout
        )

    def build(
        self,
        source: EngineSource,
        profile: ShapeProfile,
        *,
        workspace_mb: int | None = None,
        tf32: bool = False,
        timeout: float | None = None,
        afresh: bool = False,
    ) -> Engine:
        """Build an engine there; see :func:`srdeploy.devices.ssh.engines.build_there`.

        Raises:
            DeviceUnfit: there is no trtexec.
        """
        if self.host.trtexec is None:
            looked = self._options.get("trtexec") or f"on PATH and in {TRTEXEC_PLACES[0]}"
            raise DeviceUnfit(
                f"There is no trtexec on '{self._connection.name}' (looked for it {looked}); "
                "install it there (`sudo apt install libnvinfer-bin`, part of JetPack), name it "
                "with ?trtexec=PATH, or use the CPU with --runtime ncnn."
            )
        return build_there(
            self._connection,
            self.files,
            self.host,
            source,
            profile,
            workspace_mb=workspace_mb,
            tf32=tf32,
            timeout=timeout,
            afresh=afresh,
        )

    def _engine(self, job: Job, source: EngineSource) -> Engine:
        if Path(job.artifact).suffix.lower() != ".engine":
            profile = profile_for(source, job.shapes)
            return self.build(source, profile, timeout=job.timeout_seconds)
        told = read_sidecar(job.artifact)
        if other := next((shape for shape in job.shapes if not told.profile.holds(shape)), None):
            raise UserError(
                f"'{job.artifact}' takes {told.profile}, not {'x'.join(map(str, other))}; give "
                "the ONNX file to have an engine built for that size."
            )
        return self.build(
            source,
            told.profile,
            workspace_mb=told.workspace_mb,
            tf32=told.tf32,
            timeout=job.timeout_seconds,
        )

    def __enter__(self) -> SshDevice:
        self._connection.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._connection.close()
