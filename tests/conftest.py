"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import srdeploy  # noqa: F401  (switches telemetry off before a test imports a runtime)
from srdeploy.testing.pictures import measured_on, write_middles
from srdeploy.util.progress import set_quiet


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and published weights (benchmark/, train/, weights/), where there are any."""
    root = os.environ.get("SRDEPLOY_TEST_DATA")
    if not root:
        beside = Path(__file__).parents[2] / "shared" / "data"
        root = str(beside) if beside.is_dir() else None
    if not root or not Path(root).is_dir():
        pytest.skip("set SRDEPLOY_TEST_DATA to a folder with benchmark/ and weights/ to run this")
    return Path(root)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Networks made without a seed have the same weights in every run of the tests.

    Tests that do not use torch must not import it for this.
    """
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _few_steps() -> Iterator[None]:
    """What pruning learns by default takes half a minute; most tests look at something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("srdeploy.pruning.methods.table.STEPS", 2)
        yield


@pytest.fixture(autouse=True)
def _verbosity_of_its_own() -> Iterator[None]:
    """A test that runs a command with --verbose or --quiet leaves the next ones as they were."""
    yield
    set_quiet(False)
    if (main := sys.modules.get("srdeploy.cli.main")) is not None:
        main._set_verbose(False)


@pytest.fixture(autouse=True, scope="session")
def _no_terminal() -> None:
    """Output goes into a pipe of no width, whatever runs the tests asks for (xdist does)."""
    os.environ.pop("COLUMNS", None)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never read or fill the user's cache."""
    os.environ["SRDEPLOY_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Commands under test can be stopped by Ctrl-C even where a shell runs the tests in the
    background, which has it ignored by them and by all that they start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _no_pauses() -> None:
    """Turns follow each other at once: what is measured here says nothing of speed."""
    from srdeploy.benchmarking.measuring import interleave

    interleave.PAUSE_SECONDS = 0.0


@pytest.fixture(scope="session")
def small_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The middles of the images that ``builtin`` measures on."""
    return write_middles(tmp_path_factory.mktemp("builtin"))


@pytest.fixture
def small_builtin(small_images: Path) -> Iterator[None]:
    """``builtin`` measures on a seventh of its pixels, for tests that are not about its figures."""
    with measured_on(small_images):
        yield


@pytest.fixture
def one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """SMSR does the same at all sizes (test_branches.py); to find that out is most of an export."""
    monkeypatch.setattr("srdeploy.exporting.parity.other_ways", lambda *_: [])


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: garbage is not looked for in it again.

    coremltools has everything looked through in each conversion, a third of a second of a process
    that has the whole suite in memory.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """At the end everything may go."""
    gc.unfreeze()


_BEGUN = time.monotonic()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """After SRDEPLOY_TEST_SECONDS, as `make check` has them, no more tests are begun."""
    limit = float(os.environ.get("SRDEPLOY_TEST_SECONDS", "inf"))
    if time.monotonic() - _BEGUN > limit:
        pytest.skip(f"the {limit:g} s of SRDEPLOY_TEST_SECONDS are over")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many tests were skipped, by reason, most first."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(_reason(report) for report in reports)
    if reasons:
        terminalreporter.section(f"{reasons.total()} skipped")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count:4}  {reason}")


def _reason(report: Any) -> str:
    """The first line of why a test, or a whole file of tests, was skipped."""
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return str(why).removeprefix("Skipped: ").partition("\n")[0]
