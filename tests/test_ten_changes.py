"""docs/ten-changes.md: every difference applies, is code in one place and one row, and works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ten-changes.md").read_text(encoding="utf-8")
KINDS = [
    *("architecture", "pruning method", "runtime", "target", "device", "metric", "scenario"),
    *("report section", "bench option", "calibration method"),
]

CHECKS = """
import contextlib, io, json, sys, traceback

told = {}
for kind, check in json.load(sys.stdin).items():
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(check, {"__name__": "check"})
        told[kind] = ""
    except BaseException:
        told[kind] = traceback.format_exc()
json.dump(told, sys.__stdout__)
"""


@dataclass(frozen=True)
class Change:
    """One section of the page.

    Attributes:
        kind: What is added.
        code: Its folder or file.
        table: The file of the row, or the folder where a file is the row.
        diff: The difference.
        check: Python that works only with the change.
    """

    kind: str
    code: str
    table: str
    diff: str
    check: str

    def files(self) -> dict[str, tuple[int, int]]:
        """Changed files, with the numbers of hunks and of lines taken away."""
        found = {}
        for part in re.split(r"^diff --git .*\n", self.diff, flags=re.MULTILINE)[1:]:
            (name,) = re.findall(r"^\+\+\+ b/(.*)$", part, re.MULTILINE)
            gone = re.findall(r"^-(?!-- )", part, re.MULTILINE)
            found[name] = (part.count("\n@@ "), len(gone))
        return found


def _change(section: str) -> Change:
    (kind,) = re.findall(r"\A\d+\. An? (.*)\n", section)
    ((code, table),) = re.findall(r"^Code: `(\S+)`\. Row: .*`(\S+)`\.$", section, re.MULTILINE)
    (diff,) = re.findall(r"^```diff\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    (check,) = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return Change(kind, code, table, diff, check)


CHANGES = [_change(section) for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """By kind, how its check fails in a copy of the package, and in one with all ten changes."""
    checkout = tmp_path_factory.mktemp("ten")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "srdeploy", checkout / "srdeploy", ignore=ignored)
    before = _check(checkout, "before")
    for change in CHANGES:
        for name in change.files():
            if (ROOT / name).exists() and not (checkout / name).exists():
                (checkout / name).parent.mkdir(parents=True)
                shutil.copy(ROOT / name, checkout / name)
        apply = ["git", "apply", "--whitespace=error-all", "-"]
        done = subprocess.run(
            apply, cwd=checkout, input=change.diff, text=True, capture_output=True
        )
        assert done.returncode == 0, f"{change.kind}: {done.stderr}"
    after = _check(checkout, "after")
    return {kind: (before[kind], after[kind]) for kind in before}


def _check(checkout: Path, desk: str) -> dict[str, str]:
    (checkout / desk).mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CHECKS],
        input=json.dumps({change.kind: change.check for change in CHANGES}),
        cwd=checkout / desk,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_has_all_ten() -> None:
    assert [change.kind for change in CHANGES] == KINDS


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.kind)
def test_a_change_is_code_in_one_place_and_one_row(change: Change) -> None:
    files = change.files()
    assert any(name.startswith(change.table) for name in files)
    for name, (hunks, gone) in files.items():
        assert name.startswith((change.code, change.table)), name
        assert gone == 0
        assert name.startswith(change.code) or hunks <= 2  # an import, and the row


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_works_with_the_change_only(kind: str, told: dict[str, tuple[str, str]]) -> None:
    before, after = told[kind]
    assert before, "works without the change"
    assert not after, after
