"""Prove the farm: many fake devices and jobs, while workers, clients and the scheduler are killed.

``python -m benchmarks.farm_chaos [--devices 200 --jobs 5000]`` starts a farm on loopback with
mutual TLS, hands it the jobs through ``srdeploy bench --farm``, and kills its parts at random with
SIGKILL, to be started again as systemd would. Then it counts: every job must be in the store once
and finished, and no fake device (each locks a file while it is used) may have been entered twice at
a time. ``--scaling`` measures without kills what a job costs beyond its time on the device, on 10
to 200 devices of the same farm.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from srdeploy.farm.certificates import issue

SRDEPLOY = (sys.executable, "-m", "srdeploy", "--quiet")
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
    """

    folder: Path
    devices: int
    processes: int
    port: int
    turn: float = 1.0
    entries: list[dict[str, Any]] = field(default_factory=list)
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
        sizes = [f"first{n}" for n in (10, 50, 100, 200) if number < n]
        return {"uri": uri, "tags": [f"kind{number % KINDS}", *sizes]}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of its processes: ``scheduler``, ``worker3``, ``client``."""
        log = open(self.folder / f"{name}.log", "ab")  # noqa: SIM115
        environment = {
            **os.environ,
            "SRDEPLOY_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        role = "worker" if name.startswith("worker") else name
        command = ["farm", role, "--farm", str(self.folder / name), *arguments]
        if role == "client":
            command = ["bench", ARTIFACT, "--farm", str(self.folder / name), *arguments]
            command += ["--store", str(self.folder / "results.sqlite"), "--scale", "2"]
            command += ["--scenario", str(self.folder / "chaos.yaml")]
        with log:
            process = subprocess.Popen(
                [*SRDEPLOY, *command],
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

    def runs(self) -> Counter[str]:
        """How often devices were entered, left, and entered while in use (``refused``)."""
        lines: Counter[str] = Counter()
        for path in (self.folder / "locks").glob("*.lock"):
            lines.update(path.read_text().split())
        return lines

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


class Clock:
    """Wall time, and how much of it the whole machine stood still for us (SIGSTOP, suspend)."""

    def __init__(self) -> None:
        self._began, self.frozen, self._ended = time.monotonic(), 0.0, False
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._ended:
            time.sleep(0.2)
            now = time.monotonic()
            if now - before > 5:
                self.frozen += now - before
            before = now

    def stop(self) -> tuple[float, float]:
        """Seconds since the start, and those of them that were frozen."""
        self._ended = True
        return time.monotonic() - self._began, self.frozen


class AtRandom:
    """Victims after random numbers of finished jobs: a slow machine sees as many as a fast one.

    Args:
        seed: Of who is killed when.
        every: Mean number of jobs finished between two kills.
    """

    def __init__(self, seed: int, every: float) -> None:
        self._random, self._every = random.Random(seed), every
        self._next = self._random.expovariate(1 / every)

    def __call__(self, done: int) -> str | None:
        """Who is to be killed now, if anybody."""
        if done < self._next:
            return None
        self._next = done + self._random.expovariate(1 / self._every)
        return self._random.choice(["scheduler", "client", "client", "runner", *["worker"] * 6])


class ByProgress:
    """Victims when so many jobs are done: however slow the machine, each comes into its turn."""

    def __init__(self, plan: list[tuple[int, str]]) -> None:
        self._plan = plan

    def __call__(self, done: int) -> str | None:
        """Who is to be killed now, if anybody."""
        return self._plan.pop(0)[1] if self._plan and done >= self._plan[0][0] else None


def chaos(
    one: Lab,
    jobs: int,
    victim_now: Callable[[int], str | None],
    say: Callable[[str], None] = lambda sentence: None,
    limit: float = 600.0,
) -> dict[str, Any]:
    """Do the jobs while parts are killed.

    Args:
        one: A lab whose devices have registered.
        jobs: How many, a multiple of the kinds of device.
        victim_now: Told how many jobs are done, says which part is to be killed.
        say: Hears of the kills.
        limit: Seconds after which it is given up.

    Returns:
        The counts.
    """
    chance, kills, clock = random.Random(0), Counter[str](), Clock()
    kinds = ",".join(f"kind{n}" for n in range(KINDS))
    arguments = ("--devices", kinds, "--repeats", str(jobs // KINDS), "--json")
    client = one.start("client", *arguments)
    again: list[tuple[float, str]] = []
    end = time.monotonic() + limit
    restarts = 0
    while time.monotonic() < end:
        time.sleep(0.1)
        now = time.monotonic()
        for due in [entry for entry in again if entry[0] <= now]:
            again.remove(due)
            one.start(due[1], *(arguments if due[1] == "client" else ()))
        client = one.running["client"]
        if client.poll() is not None and not any(name == "client" for _, name in again):
            if client.returncode == 0:
                break
            restarts += 1  # e.g. no device was there yet when it was started
            again.append((now + 1, "client"))
        done = one.results()[1]
        victim = victim_now(done)
        if victim is None:
            continue
        name = victim if victim in one.running else f"worker{chance.randrange(one.processes)}"
        if any(waiting == name for _, waiting in again) or one.running[name].poll() is not None:
            continue
        if victim == "runner":
            if not _kill_runner(one.running[name].pid):
                continue
        else:
            one.kill(name)
            again.append((now + chance.uniform(0.2, 3), name))
        kills[victim] += 1
        say(f"killed {victim} of {name}, {done} jobs done")
    wall, frozen = clock.stop()
    entries, (stored, finished, different) = one.runs(), one.results()
    return {
        "devices": one.devices,
        "worker_processes": one.processes,
        "jobs": jobs,
        "exit": client.poll(),
        "stored": stored,
        "finished": finished,
        "different": different,
        "entered": entries["in"],
        "left": entries["out"],
        "entered_while_in_use": entries["refused"],
        "kills": dict(kills),
        "client_restarts_beside_kills": restarts,
        "seconds": round(wall, 1),
        "frozen_seconds": round(frozen, 1),
        "turn_seconds": one.turn,
    }


def _kill_runner(worker: int) -> bool:
    for child in _children(worker):
        if b"srdeploy.farm.runner" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGKILL)
            return True
    return False


def _children(pid: int) -> list[int]:
    """Of all its threads."""
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for one in lists for child in one.split()]


def scaling(one: Lab, sizes: list[int], jobs_each: int) -> list[dict[str, Any]]:
    """Without kills: what a job costs beyond its time on the device, and the time to finish."""
    rows = []
    for size in sizes:
        before, done = _cpu_seconds(one), one.runs()["out"]
        clock = Clock()
        client = one.start(
            "client", "--devices", f"first{size}", "--repeats", str(size * jobs_each), "--json"
        )
        first = last = 0.0
        while client.poll() is None:
            time.sleep(0.05)
            now, count = time.monotonic(), one.runs()["out"] - done
            if count and not first:
                first, first_count = now, count
            if count and count < size * jobs_each:
                last = now
        wall, frozen = clock.stop()
        cpu = _cpu_seconds(one) - before
        span = max(last - first, 1e-9)
        rate = (size * jobs_each - first_count) / span
        rows.append(
            {
                "devices": size,
                "jobs": size * jobs_each,
                "exit": client.returncode,
                "seconds": round(wall, 1),
                "frozen_seconds": round(frozen, 1),
                "jobs_per_second": round(rate, 2),
                "device_seconds_per_job": one.turn,
                "overhead_seconds_per_job": round(size / rate - one.turn, 3),
                "cpu_ms_per_job": round(1e3 * cpu / (size * jobs_each), 1),
            }
        )
    return rows


def _cpu_seconds(one: Lab) -> float:
    """Processor time of scheduler, workers, runners and of all jobs that have ended."""
    total = 0
    for name, process in one.running.items():
        if name == "client" or process.poll() is not None:
            continue
        for pid in [process.pid, *_children(process.pid)]:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(fields[n]) for n in (11, 12, 13, 14))
    return total / os.sysconf("SC_CLK_TCK")


def memory_mb(one: Lab) -> dict[str, float]:
    """Proportional memory of the lab's kinds of process, MB (10^6 bytes) each."""
    found: dict[str, list[float]] = {}
    for name, process in one.running.items():
        pids = {name.rstrip("0123456789"): [process.pid]}
        pids["runner"] = _children(process.pid)
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


def main() -> None:
    """Run it, check it, write the result."""
    from benchmarks.results_io import own_command, table, write

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--processes", type=int, default=10, help="worker processes")
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--turn", type=float, default=1.0, help="seconds on the device per job")
    parser.add_argument("--every", type=float, default=120.0, help="jobs between kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=7200.0)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--jobs-each", type=int, default=4, help="jobs per device with --scaling")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the lab is stopped then, too
    shape = {
        "devices": asked.devices,
        "processes": asked.processes,
        "port": free_port(),
        "turn": asked.turn,
    }
    with lab(**shape) as one:
        began = time.monotonic()
        one.start_all()
        one.wait_for_devices()
        start = {"start_seconds": round(time.monotonic() - began, 1), "memory_mb": memory_mb(one)}
        print(start, flush=True)
        if asked.scaling:
            sizes = [size for size in (10, 50, 100, 200) if size <= asked.devices]
            rows = scaling(one, sizes, asked.jobs_each)
            header = list(rows[0])
            text = SCALING + "\n\n" + table(header, [list(row.values()) for row in rows])
            name = f"farm-scaling-{asked.turn:g}s-jobs-{asked.processes}-worker-processes-2cpu"
            write(
                name, "Farm: overhead from 10 to 200 devices", text, [start, *rows], own_command()
            )
            return
        victims = AtRandom(asked.seed, asked.every)
        counts = chaos(one, asked.jobs, victims, lambda s: print(s, flush=True), asked.limit)
        print(one.log("client")[-3000:] if counts["exit"] else "", flush=True)
    counts |= start
    proven = (
        counts["exit"] == 0
        and counts["stored"] == counts["finished"] == counts["different"] == asked.jobs
        and counts["entered_while_in_use"] == 0
    )
    text = CHAOS + "\n\n" + table(["", ""], [[name, value] for name, value in counts.items()])
    text += f"\n\nEvery job measured exactly once, no device used twice at a time: **{proven}**."
    name = f"farm-chaos-{asked.devices}-devices-{asked.jobs}-jobs-seed{asked.seed}-2cpu"
    write(name, "Farm: killed at random, nothing lost, nothing twice", text, counts, own_command())
    sys.exit(0 if proven else 1)


CHAOS = """Fake devices on loopback with mutual TLS, all on one machine: a scheduler, worker
processes that hold several devices each, one runner process per worker process, one client. Parts
were killed with SIGKILL at random and started again after 0.2 to 3 s; a worker's death takes all
its devices along. `entered` counts how often a device was used: more than the jobs, because jobs
killed in the middle are done again; `entered_while_in_use` counts attempts to use a device that was
in use, by a lock of the devices' own. `frozen_seconds` is time in which other measurements of this
machine had stopped all of it."""

SCALING = """Fake devices on loopback with mutual TLS, one machine, no kills. Each job occupies its
device for `device_seconds_per_job`; the overhead is how much longer a device is taken per job, from
the first answer to the last: handing out, a process of its own, the answer's way into the store,
and waiting for a processor. `cpu_ms_per_job` is processor time of scheduler, workers and jobs (not
the client)."""


if __name__ == "__main__":
    main()
