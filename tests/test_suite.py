"""The suite itself: what is skipped is counted by reason, and a limit of time is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TESTS = """
import pytest, time

@pytest.mark.parametrize("n", range(3))
def test_no_board(n):
    pytest.skip("no board\\nsecond line")

@pytest.mark.skipif(True, reason="no phone")
def test_no_phone(): pass

def test_slow(): {slow}

def test_after(): assert {after}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder of tests with this suite's own conftest."""
    (tmp_path / "tests").mkdir()
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    (tmp_path / "tests" / "conftest.py").write_text(conftest)
    return tmp_path


def run(suite: Path, text: str, **environment: str) -> str:
    (suite / "tests" / "test_some.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=suite, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_what_is_skipped_is_counted_by_reason(suite: Path) -> None:
    said = run(suite, TESTS.format(slow="pass", after=True))
    assert " 4 skipped " in said
    assert "\n   3  no board\n   1  no phone\n" in said


@pytest.mark.slow
def test_no_test_begins_after_the_limit(suite: Path) -> None:
    limit = {"SRDEPLOY_TEST_SECONDS": "600"}
    hour = "time.monotonic = lambda before=time.monotonic: before() + 3600"
    said = run(suite, TESTS.format(slow=hour, after=False), **limit)
    assert "1  the 600 s of SRDEPLOY_TEST_SECONDS are over" in said


@pytest.mark.slow
def test_real_data_beside_the_checkout_is_found(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone anywhere with shared/data in the folder around it needs no setting."""
    monkeypatch.delenv("SRDEPLOY_TEST_DATA", raising=False)
    asks = "def test(shared_data): assert (shared_data / 'weights').is_dir()\n"
    clone = suite / "clone"
    (clone / "tests").mkdir(parents=True)
    (clone / "tests" / "conftest.py").write_text((suite / "tests" / "conftest.py").read_text())
    assert "1  set SRDEPLOY_TEST_DATA" in run(clone, asks)
    (suite / "shared" / "data" / "weights").mkdir(parents=True)
    assert "1 passed" in run(clone, asks)
