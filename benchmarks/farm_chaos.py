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
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.farm_lab import KINDS, Lab, children, free_port, lab, memory_mb
from benchmarks.results_io import own_command, quiet, table, write

SIZES = (10, 50, 100, 200)


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
    chance, kills, began = random.Random(0), Counter[str](), time.monotonic()
    kinds = ",".join(f"kind{n}" for n in range(KINDS))
    arguments = ("--devices", kinds, "--repeats", str(jobs // KINDS), "--json")
    client = one.start("client", *arguments)
    again: list[tuple[float, str]] = []
    end = began + limit
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
    wall = time.monotonic() - began
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
        "turn_seconds": one.turn,
    }


def _kill_runner(worker: int) -> bool:
    for child in children(worker):
        if b"srdeploy.farm.runner" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGKILL)
            return True
    return False


def scaling(one: Lab, jobs_each: int) -> dict[str, Any]:
    """Without kills: what a job costs beyond its time on the device, and the time to finish.

    From a device's end of one job to its end of the next one, less the time that the job occupies
    it, is the overhead of the next. A first job has been done, so that the network is on the host
    and its arithmetic counted.
    """
    store = str(one.folder / "first.sqlite")
    one.start("client", "--devices", "kind0", "--json", "--store", store).wait()
    before, since, began = _cpu_seconds(one), time.time(), time.monotonic()
    kinds = ",".join(f"kind{n}" for n in range(KINDS))
    jobs = one.devices * jobs_each
    client = one.start("client", "--devices", kinds, "--repeats", str(jobs // KINDS), "--json")
    client.wait()
    wall, cpu = time.monotonic() - began, _cpu_seconds(one) - before
    ends = [[when for what, when in use if what == "out" and when > since] for use in one.uses()]
    gaps = sorted(1e3 * (b - a - one.turn) for own in ends for a, b in pairwise(own))
    return {
        "devices": one.devices,
        "worker processes": one.processes,
        "jobs": jobs,
        "finished": one.results()[1],
        "device s/job": one.turn,
        "overhead ms/job: median": round(gaps[len(gaps) // 2]),
        "quartiles": f"{gaps[len(gaps) // 4]:.0f}-{gaps[len(gaps) * 3 // 4]:.0f}",
        "90 %": round(gaps[len(gaps) * 9 // 10]),
        "processor ms/job": round(1e3 * cpu / jobs, 1),
        "seconds to finish": round(wall, 1),
        "at least": round(jobs_each * one.turn, 1),
        "jobs/s": round(jobs / wall, 1),
    }


def _cpu_seconds(one: Lab) -> float:
    """Processor time of scheduler, workers, runners and of all jobs that have ended."""
    total = 0
    for name, process in one.running.items():
        if name == "client" or process.poll() is not None:
            continue
        for pid in [process.pid, *children(process.pid)]:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(fields[n]) for n in (11, 12, 13, 14))
    return total / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run it, check it, write the result."""
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
    command = own_command()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the lab is stopped then, too
    shape = {
        "devices": asked.devices,
        "processes": asked.processes,
        "port": free_port(),
        "turn": asked.turn,
    }
    if asked.scaling:
        write_scaling(asked, command)
        return
    with lab(**shape) as one:
        began = time.monotonic()
        one.start_all()
        one.wait_for_devices()
        start = {"start_seconds": round(time.monotonic() - began, 1), "memory_mb": memory_mb(one)}
        print(start, flush=True)
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
    write(name, "Farm: killed at random, nothing lost, nothing twice", text, counts, command)
    sys.exit(0 if proven else 1)


def write_scaling(asked: argparse.Namespace, command: str) -> None:
    """A lab per size, one after the other."""
    rows = []
    for size in (size for size in SIZES if size <= asked.devices):
        processes = max(1, size * asked.processes // asked.devices)
        shape = {"devices": size, "processes": processes, "port": free_port(), "turn": asked.turn}
        with lab(**shape) as one:
            began = time.monotonic()
            one.start_all()
            one.wait_for_devices()
            seconds = round(time.monotonic() - began, 1)
            start = {"seconds until all devices are there": seconds, **memory_mb(one)}
            rows.append(scaling(one, asked.jobs_each) | start)
            print(rows[-1], flush=True)
    header = list(rows[0])
    text = SCALING + "\n\n" + table(header, [list(row.values()) for row in rows])
    name = f"farm-scaling-{asked.turn:g}s-jobs-2cpu"
    write(name, "Farm: overhead from 10 to 200 devices", text, rows, command)


CHAOS = """Fake devices on loopback with mutual TLS, all on one machine: a scheduler, worker
processes that hold several devices each, one runner process per worker process, one client. Parts
were killed with SIGKILL at random and started again after 0.2 to 3 s; a worker's death takes all
its devices along, a scheduler's or the client's the answers of all jobs that were running.
`entered` counts how often a device was used, `left` how often to the end: more than the jobs,
because what was killed in the middle, or could tell nobody its answer, is done again.
`entered_while_in_use` counts attempts to use a device that was in use, by a lock of the devices'
own."""

SCALING = """Fake devices on loopback with mutual TLS, one machine for all of it, no kills. Each job
occupies its device for `device s/job`. The overhead is what a device waits from one job to the
next, and what a job takes on it beyond that time: the answer's way to the store, handing out, a
process of the job's own, and waiting for a processor. `processor ms/job` is that of scheduler,
workers and jobs (not the client), heartbeats included; the last columns are MB of memory of each
process."""


if __name__ == "__main__":
    quiet()
    main()
