"""Copies of the checkout in which mutants meet their tests, each in a child of a warm process.

The warm process has imported what is slow to import and nothing of the package: a child is forked,
finds the changed file in its copy, and runs pytest there.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from mutations import Mutant
from tests_of import ROOT

WARM = ("torch", "numpy", "onnx", "onnxruntime", "typer", "rich.console", "pydantic", "yaml",
        "safetensors.torch", "PIL.Image", "hypothesis")  # fmt: skip
CHOSEN = "not slow and not gpu and not emulated and not browser"
SILENCE = 90  # seconds without a new test: it hangs
MEMORY = 6 << 30  # bytes that a change may make a test take
FILE = 4 << 30  # and write
_SUBREAPER = 36  # prctl(2)


@dataclass(frozen=True)
class Answer:
    """What became of a mutant.

    Attributes:
        outcome: ``noticed``, ``survived``, ``timed out`` or ``equivalent``.
        by: The test that noticed, or what else explains the outcome.
        seconds: Of wall clock.
        fail_anyway: Tests that were left out since they fail on the unchanged code.
    """

    outcome: str
    by: str
    seconds: float = 0.0
    fail_anyway: tuple[str, ...] = ()


class Lanes:
    """Runs mutants beside each other, one per copy.

    Args:
        folder: Where the copies go.
        count: How many.
        seconds: CPU seconds of tests per mutant, collection included.
    """

    def __init__(self, folder: Path, count: int, seconds: float) -> None:
        os.environ.update(ORT_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")  # as the package does
        for name in WARM:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        lanes = get_context("fork").SimpleQueue()
        for number in range(count):
            lanes.put(_Lane.make(folder / str(number), seconds))
        self.count = count
        self.pool = ProcessPoolExecutor(count, get_context("fork"), _become, (lanes,))
        self.out: dict[Future[Answer], Mutant] = {}

    def put(self, mutant: Mutant, tests: Sequence[str]) -> Iterator[tuple[Mutant, Answer]]:
        """Hand a mutant in; the answers to others, until a copy is free."""
        self.out[self.pool.submit(_judge, mutant, list(tests))] = mutant
        while len(self.out) > self.count:
            yield from self._ended()

    def rest(self) -> Iterator[tuple[Mutant, Answer]]:
        """The answers that are still out."""
        while self.out:
            yield from self._ended()
        self.pool.shutdown()

    def _ended(self) -> list[tuple[Mutant, Answer]]:
        done, _ = wait(self.out, return_when=FIRST_COMPLETED)
        return [(self.out.pop(future), future.result()) for future in done]


_lane: _Lane  # of this process


def _become(lanes: Any) -> None:
    global _lane
    _lane = lanes.get()
    with contextlib.suppress(OSError, AttributeError):  # elsewhere, what tests leave stays
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _judge(mutant: Mutant, tests: list[str]) -> Answer:
    return _lane.judge(mutant, tests)


@dataclass
class _Lane:
    """One copy, and what is known of its tests."""

    tree: Path
    temporary: Path
    seconds: float
    fails_anyway: dict[str, bool]

    @classmethod
    def make(cls, folder: Path, seconds: float) -> _Lane:
        """Copy the checkout, uncommitted files included; it is itself never changed."""
        tree = folder / "c"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True,
        ).stdout.decode()  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, tree / name)
        subprocess.run(  # known by their content: a changed file is never taken for the old one
            [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash",
             "srdeploy"], cwd=tree, check=True,
        )  # fmt: skip
        return cls(tree, folder / "t", seconds, {})

    def judge(self, mutant: Mutant, tests: list[str]) -> Answer:
        """Run the tests against the changed file; a test that fails anyway does not count."""
        begun = time.monotonic()
        changed = self.tree / mutant.path
        while True:
            asked = [test for test in tests if not self.fails_anyway.get(test)]
            without = [test for test, fails in self.fails_anyway.items() if fails]
            changed.write_text(mutant.source, encoding="utf-8")
            report = self._run(asked, without)
            shutil.copyfile(ROOT / mutant.path, changed)
            outcome, test = _verdict(report)
            if outcome == "survived" or not self._fails_anyway(test):
                left = tuple(t for t in without if t.split("::")[0] in tests)
                return Answer(outcome, test, time.monotonic() - begun, left)

    def _fails_anyway(self, test: str) -> bool:
        """Whether the test, or collecting that file, fails on the unchanged code as well."""
        if test and test not in self.fails_anyway:
            self.fails_anyway[test] = _verdict(self._run([test], []))[1] == test
        return bool(test) and self.fails_anyway[test]

    def _run(self, tests: list[str], without: list[str]) -> dict[str, Any]:
        """Run tests in a child; what :class:`_Watch` wrote."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        told = self.temporary / "told.json"
        told.write_text("{}")
        if (pid := os.fork()) == 0:
            _child(self, tests, without, told)
        hangs = False
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            hangs = time.time() - told.stat().st_mtime > SILENCE
            if hangs:
                _kill_group(pid)
            time.sleep(0.05)
        _kill_group(pid)
        _end_orphans()
        report = json.loads(told.read_text())
        shutil.rmtree(self.temporary, ignore_errors=True)
        return report | {"hangs": hangs}


def _verdict(report: dict[str, Any]) -> tuple[str, str]:
    """Outcome, and the test that decided it."""
    if report["hangs"]:
        return "timed out", report.get("at", "")
    if failed := report.get("failed"):
        return "noticed", failed
    if not report.get("ended"):  # the process is gone in the middle of a test
        return "noticed", report.get("at", "")
    over = ", then the time was over" if report["over"] else ""
    return "survived", f"{report['passed']} tests pass{over}"


class _Watch:
    """A pytest plugin: tells what goes on, and ends when the time is over."""

    def __init__(self, told: Path, seconds: float) -> None:
        self.told = told
        self.seconds = seconds
        self.seen: dict[str, Any] = {"at": "", "passed": 0, "over": False, "ended": False}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tell(at=nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell(failed=report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and "failed" not in self.seen:
            self._tell(failed=report.nodeid)
        self.seen["passed"] += report.when == "call" and report.passed

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        if sum(os.times()[:4]) > self.seconds and nextitem is not None:
            self.seen["over"] = True
            item.session.shouldstop = "the time is over"

    def pytest_sessionfinish(self) -> None:
        self._tell(ended=True)

    def _tell(self, **new: Any) -> None:
        self.seen |= new
        part = self.told.with_suffix(".part")
        part.write_text(json.dumps(self.seen))
        part.replace(self.told)


def _child(lane: _Lane, tests: list[str], without: list[str], told: Path) -> None:
    """Run pytest in the copy; does not return."""
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
        for stream in (1, 2):
            os.dup2(os.open(lane.temporary / "output", os.O_WRONLY | os.O_CREAT), stream)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(lane.tree)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.environ |= {
            "PYTHONPATH": str(lane.tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
            "TMPDIR": str(lane.temporary),
        }  # fmt: skip
        sys.dont_write_bytecode = True
        sys.path[:] = [str(lane.tree), *(p for p in sys.path if not p.startswith(f"{ROOT}"))]
        spec = importlib.util.find_spec("srdeploy")
        assert spec is not None
        assert str(spec.origin).startswith(str(lane.tree)), spec.origin
        pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", "-m", CHOSEN,
             "-c", str(lane.tree / "pyproject.toml"), "--basetemp", str(lane.temporary / "b"),
             *(f"--deselect={test}" for test in without), *tests],
            plugins=[_Watch(told, lane.seconds)],
        )  # fmt: skip
    finally:
        os._exit(0)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _end_orphans() -> None:
    """End what a test left behind: with this process as the subreaper it became our child."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children")
    for pid in map(int, children.read_text().split() if children.exists() else []):
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
