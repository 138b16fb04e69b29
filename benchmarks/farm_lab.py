"""A farm on loopback with mutual TLS, in processes that can be killed and started again."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from srdeploy.farm.certificates import issue

KINDS = 5
ARTIFACT = "edsr-s-x2"


@dataclass
class Lab:
    """A farm on loopback, in processes that can be killed and started again.

    Attributes:
        folder: For everything it writes.
        devices: How many fake devices, spread over
        processes: so many worker processes.
        port: Of the scheduler.
        turn: Seconds that a device is really occupied by a job's samples.
        entries: The devices as farm files describe them; default: made up, five kinds.
        pythons: Interpreters of processes that run under another one than this.
    """

    folder: Path
    devices: int
    processes: int
    port: int
    turn: float = 1.0
    entries: list[dict[str, Any]] = field(default_factory=list)
    pythons: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Certificates, farm files, the scenario."""
        (self.folder / "locks").mkdir(parents=True)
        names = ["scheduler", "client", *(f"worker{n}" for n in range(self.processes))]
        issue(self.folder, names, f"127.0.0.1:{self.port}")
        for process in range(self.processes):
            mine = range(process, self.devices, self.processes)
            path = self.folder / f"worker{process}" / "farm.yaml"
            settings = yaml.safe_load(path.read_text())
            settings["devices"] = [self._device(number) for number in mine]
            if any("labgrid" in entry for entry in settings["devices"]):
                settings["labgrid"] = "127.0.0.1:20408"
            path.write_text(yaml.safe_dump(settings))
        scenario = {
            "name": "chaos",
            "description": "made up",
            "min_runs": 1,
            "min_seconds": 0.05,
            "turn_seconds": 0.05,
            "warmup_runs": 0,
            "warmup_seconds": 0,
            "quality": False,
            "sensors": False,
        }
        (self.folder / "chaos.yaml").write_text(yaml.safe_dump(scenario))

    def _device(self, number: int) -> dict[str, Any]:
        pace = self.turn / 0.05
        if self.entries:
            return self.entries[number]
        uri = f"fake://d{number}?pace={pace:g}&lock={self.folder / 'locks'}"
        return {"uri": uri, "tags": [f"kind{number % KINDS}"]}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of its processes: ``scheduler``, ``worker3``, ``client``.

        What follows a dash tells several of one folder apart (``worker3-twin``).
        """
        log = open(self.folder / f"{name}.log", "ab")  # noqa: SIM115
        environment = {
            **os.environ,
            "SRDEPLOY_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        role = "worker" if name.startswith("worker") else name
        farm = ("--farm", str(self.folder / name.partition("-")[0]))
        command = ["farm", role, *farm, *arguments]
        if role == "client":
            command = ["bench", ARTIFACT, *farm, *arguments]
            command += ["--scenario", str(self.folder / "chaos.yaml"), "--scale", "2"]
            if "--store" not in arguments:
                command += ["--store", str(self.folder / "results.sqlite")]
        with log:
            process = subprocess.Popen(
                [self.pythons.get(name, sys.executable), "-m", "srdeploy", "--quiet", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self.running[name] = process
        return process

    def start_all(self) -> None:
        """Scheduler and workers."""
        self.start("scheduler")
        for number in range(self.processes):
            self.start(f"worker{number}")

    def wait_for_devices(self, seconds: float = 600) -> None:
        """Until all devices have registered."""
        from srdeploy.errors import SrdeployError
        from srdeploy.farm.link import devices
        from srdeploy.farm.network import open_farm

        farm, _ = open_farm(self.folder / "client")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if len(devices(farm)) >= self.devices:
                    return
            except SrdeployError:
                pass
            time.sleep(0.5)
        raise TimeoutError(f"not all of {self.devices} devices came within {seconds:g} s")

    def kill(self, name: str) -> None:
        """SIGKILL, to this process alone: what it started must notice by itself."""
        process = self.running[name]
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End all of it, workers first."""
        for name in sorted(self.running, reverse=True):
            process = self.running[name]
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def uses(self) -> list[list[tuple[str, float]]]:
        """Of each device, when it was entered (``in``), left (``out``) or in use (``refused``)."""
        logs = [path.read_text().splitlines() for path in (self.folder / "locks").glob("*.lock")]
        return [[(what, float(when)) for what, when in map(str.split, log)] for log in logs]

    def runs(self) -> Counter[str]:
        """How often devices were entered, left, and entered while in use (``refused``)."""
        return Counter(what for use in self.uses() for what, _ in use)

    def results(self) -> tuple[int, int, int]:
        """Measurements in the store: all, finished, and different jobs among the finished."""
        query = (
            "SELECT count(*), coalesce(sum(error IS NULL), 0), count(DISTINCT key) "
            "FROM measurements"
        )
        try:
            with closing(sqlite3.connect(self.folder / "results.sqlite")) as connection:
                return connection.execute(query).fetchone()
        except sqlite3.OperationalError:
            return 0, 0, 0  # the client has not begun

    def log(self, name: str) -> str:
        """What a process said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")


@contextmanager
def lab(**options: Any) -> Iterator[Lab]:
    """A lab in a temporary folder, stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="farm-chaos-", ignore_cleanup_errors=True) as folder:
        one = Lab(folder=Path(folder) / "lab", **options)
        one.prepare()
        try:
            yield one
        finally:
            one.stop()


def children(pid: int) -> list[int]:
    """Of all its threads."""
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for one in lists for child in one.split()]


def memory_mb(one: Lab) -> dict[str, float]:
    """Proportional memory of the lab's kinds of process, MB (10^6 bytes) each."""
    found: dict[str, list[float]] = {}
    for name, process in one.running.items():
        pids = {name.rstrip("0123456789"): [process.pid]}
        pids["runner"] = children(process.pid)
        for kind, members in pids.items():
            for pid in members:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                pss = next(line for line in text.splitlines() if line.startswith("Pss:"))
                found.setdefault(kind, []).append(int(pss.split()[1]) * 1024 / 1e6)
    return {kind: round(sum(some) / len(some), 1) for kind, some in found.items()}


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    import socket

    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        return probing.getsockname()[1]
