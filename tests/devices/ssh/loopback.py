"""A real sshd on loopback, started by the tests with keys, port and folders of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) CPU [0%@729,0%@729] EMC_FREQ 0%@2133 "
    "GR3D_FREQ 0%@[0,0] VIC_FREQ 729 CPU@44.562C GPU@-256C tj@44.343C VDD_GPU_SOC 2340mW/2340mW "
    "VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW"
)
REPLAY = Path(__file__).parent / "replay"
_PLACES = ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd")


class Loopback:
    """A host ``board`` that only this machine can reach.

    Attributes:
        config: The client's configuration, for ``?config=``.
        bin: First folder of the host's PATH.
        cache: The host's cache folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        programs: tuple[str, ...],
        version: str,
        environment: dict[str, str] | None = None,
        server: str = "",
    ) -> None:
        self.folder = folder
        self.bin, self.cache = folder / "bin", folder / "cache"
        for one in (self.bin, self.cache, folder / "home"):
            one.mkdir()
        for name in programs:
            self.install(name)
        self.port = _free_port()
        for key in ("host_key", "user_key", "other_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(command, check=True)
        shutil.copy(folder / "user_key.pub", folder / "authorized")
        self.known = folder / "known_hosts"
        self.trust("host_key")
        self._write_server_config(version, environment or {}, server)
        self.config = self.client_config("user_key")
        self._process = self._start()

    @property
    def uri(self) -> str:
        """Of the board."""
        return f"ssh://board?config={self.config}"

    @property
    def builds(self) -> list[list[str]]:
        """Arguments of every trtexec so far, oldest first."""
        path = self.folder / "trtexec.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def install(self, name: str) -> None:
        """Put a replay program on the host's PATH."""
        text = (REPLAY / name).read_text()
        if not text.startswith("#!"):
            text = f"#!{sys.executable}\n{text}"
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def script(self, name: str, text: str) -> None:
        """Put a shell script on the host's PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def trouble(self, what: str) -> None:
        """Have trtexec fail from now on; an empty word ends that."""
        (self.folder / "trouble").write_text(what)

    def trust(self, key: str) -> None:
        """Make a key the one that the client knows the host by."""
        public = (self.folder / f"{key}.pub").read_text()
        self.known.write_text(f"[127.0.0.1]:{self.port} {public}")

    def client_config(self, key: str, **changes: str) -> Path:
        """A client's configuration that names the host ``board``."""
        settings = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "IdentityFile": str(self.folder / key),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(self.known),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
        } | changes
        path = self.folder / f"config-{key}-{len(list(self.folder.glob('config-*')))}"
        path.write_text("Host board\n" + "".join(f"  {k} {v}\n" for k, v in settings.items()))
        return path

    def stop(self) -> None:
        """End sshd and the sessions it has."""
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(10)

    def _write_server_config(self, version: str, changes: dict[str, str], more: str) -> None:
        environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),  # bash would read whatever the real one sets up
            "XDG_CACHE_HOME": str(self.cache),
            "TRTEXEC_VERSION": version,
            "TRTEXEC_TROUBLE": str(self.folder / "trouble"),
            "TRTEXEC_LOG": str(self.folder / "trtexec.log"),
            "TEGRASTATS_LINE": ORIN,
            **changes,
        }
        pairs = " ".join(f'"{key}={value}"' for key, value in environment.items())
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder / 'host_key'}\n"
            f"AuthorizedKeysFile {self.folder / 'authorized'}\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPidFile none\n"
            f"MaxSessions 50\nSetEnv {pairs}\n{more}"
        )

    def _start(self) -> subprocess.Popen[bytes]:
        log = self.folder / "sshd.log"
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where Debian's init would have put it
        process = subprocess.Popen(
            [_sshd(), "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stderr=open(log, "wb"),  # noqa: SIM115
            start_new_session=True,
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process
            if process.poll() is not None:
                break
            time.sleep(0.02)
        pytest.skip(f"sshd does not start here: {log.read_text()[-300:]}")


def _sshd() -> str:
    return next(place for place in _PLACES if Path(place).exists())


def require_openssh() -> None:
    """Skip where OpenSSH's client or server is missing."""
    if not any(Path(place).exists() for place in _PLACES):
        pytest.skip("needs OpenSSH's server (Debian: openssh-server)")
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs OpenSSH's client (Debian: openssh-client)")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
