"""Mutation testing: what is drawn, what counts as noticed, what is kept."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import mutant_lanes  # type: ignore[import-not-found]  # noqa: E402
import mutants  # type: ignore[import-not-found]  # noqa: E402
from mutant_lanes import Answer, _Lane  # noqa: E402
from mutations import Mutant, draw  # type: ignore[import-not-found]  # noqa: E402

MODULE = '''"""A module."""
from __future__ import annotations


GIGA = 1e9


def bigger(a: int | None, *, b: int) -> bool:
    return a > b
'''
TESTS = """
import pathlib, time
from srdeploy.pair import bigger

def test_first():
    assert pathlib.Path(__file__).exists()

def test_always_fails():
    assert False

def test_bigger():
    while bigger(1, b=7):
        time.sleep(.1)
    assert bigger(2, b=1)
"""


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Lane:
    """A copy of a package with one module and its tests."""
    for root in (tmp_path / "checkout", tmp_path / "c"):
        for name, text in {
            "srdeploy/__init__.py": "",
            "srdeploy/pair.py": MODULE,
            "tests/test_pair.py": TESTS,
            "pyproject.toml": "[tool.pytest.ini_options]\nmarkers = ['slow', 'gpu', 'emulated', "
            "'browser']\naddopts = '--import-mode=importlib'\n",
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    monkeypatch.setattr(mutant_lanes, "ROOT", tmp_path / "checkout")
    for name in [n for n in sys.modules if n.split(".")[0] == "srdeploy"]:
        monkeypatch.delitem(sys.modules, name)  # as in the warm process, which has not imported it
    return _Lane(tmp_path / "c", tmp_path / "t", 20, {})


def mutant(source: str) -> Mutant:
    return Mutant("srdeploy/pair.py", 9, "return a > b", "", "", source, "key")


TEST = "tests/test_pair.py::"


@pytest.mark.parametrize(
    ("after", "outcome", "by"),
    [
        ("a < b - 6", "noticed", f"{TEST}test_bigger"),
        ("a >= b", "survived", "2 tests pass"),
        ("__import__('os')._exit(0)", "noticed", f"{TEST}test_bigger"),
        ("] no Python", "noticed", "tests/test_pair.py"),
    ],
)
def test_outcomes(lane: _Lane, after: str, outcome: str, by: str) -> None:
    lane.fails_anyway[f"{TEST}test_always_fails"] = True
    answer = lane.judge(mutant(MODULE.replace("a > b", after)), ["tests/test_pair.py"])
    assert (answer.outcome, answer.by) == (outcome, by)
    assert (lane.tree / "srdeploy/pair.py").read_text() == MODULE


def test_a_test_that_fails_on_the_unchanged_code_notices_nothing(lane: _Lane) -> None:
    answer = lane.judge(mutant(MODULE.replace("a > b", "a >= b")), ["tests/test_pair.py"])
    assert answer.outcome == "survived"
    assert answer.fail_anyway == (f"{TEST}test_always_fails",)


def test_a_test_that_no_longer_ends_is_stopped(
    lane: _Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutant_lanes, "SILENCE", 3)
    lane.fails_anyway |= {f"{TEST}test_always_fails": True, f"{TEST}test_bigger": False}
    endless = mutant(MODULE.replace("a > b", "1 if a is b else True"))
    answer = lane.judge(endless, ["tests/test_pair.py"])
    assert (answer.outcome, answer.by) == ("timed out", f"{TEST}test_bigger")


def test_the_time_of_a_mutant_is_bounded(lane: _Lane) -> None:
    lane.seconds = 0.0
    lane.fails_anyway[f"{TEST}test_always_fails"] = True
    answer = lane.judge(mutant(MODULE), ["tests/test_pair.py"])
    assert (answer.outcome, answer.by) == ("survived", "1 tests pass, then the time was over")


def test_drawn_changes_are_real_and_stay_when_others_are_made(tmp_path: Path) -> None:
    pytest.importorskip("cosmic_ray", reason="the extra 'mutants' is not installed")
    (tmp_path / "pair.py").write_text(MODULE)
    drawn = list(draw(tmp_path, ["pair.py"], seed=1))
    # One place that runs; the others are an annotation, a signature, a number too large for 1.
    assert [(m.line, m.before) for m in drawn] == [(9, "return a > b")]
    assert drawn[0].source == MODULE.replace("return a > b", drawn[0].after)
    (tmp_path / "pair.py").write_text(MODULE.replace("\n\n\ndef", "\n\nX = 3\n\n\ndef"))
    again = {m.key: m for m in draw(tmp_path, ["pair.py"], seed=1)}
    assert len(again) == 2
    assert again[drawn[0].key].after == drawn[0].after


def test_kept_answers_are_asked_again_when_they_may_differ(tmp_path: Path) -> None:
    kept = mutants.Kept(tmp_path / "runs" / "kept.json")
    one = mutant(MODULE)
    kept.put(one, Answer("survived", "2 tests pass", 1.0), "tests")
    again = mutants.Kept(tmp_path / "runs" / "kept.json")
    assert again.get(one, "tests") == Answer("survived", "2 tests pass", 1.0)
    assert again.get(one, "other tests") is None
    kept.put(one, Answer("noticed", "t", 1.0), "tests")
    assert kept.get(one, "other tests") == Answer("noticed", "t", 1.0)
    assert kept.get(dataclasses.replace(one, source="changed"), "tests") is None


def test_shares_by_folder_leave_equivalent_changes_out() -> None:
    outcomes = ["noticed", "timed out", "survived", "survived", "equivalent"]
    rows = [{"folder": "srdeploy/a", "outcome": outcome} for outcome in outcomes]
    rows.append({"folder": "srdeploy/b", "outcome": "noticed"})
    assert mutants.by_folder(rows) == [
        ["srdeploy/a", 5, 1, 1, 2, 1, "50 %"],
        ["srdeploy/b", 1, 1, 0, 0, 0, "100 %"],
        ["all", 6, 2, 1, 2, 1, "60 %"],
    ]


def test_the_named_equivalents_are_of_lines_that_stand_in_their_files() -> None:
    for (file, before, after), reason in mutants._equivalent().items():
        lines = [line.strip() for line in (ROOT / file).read_text().splitlines()]
        assert before in lines, f"{file} has no line '{before}' any more"
        assert after != before
        assert len(reason) > 20


def test_exceptions_of_modules_are_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("cosmic_ray")
    code = "import os\n\ntry:\n    x = 1\nexcept (os.error, ValueError):\n    x = 2\n"
    (tmp_path / "module.py").write_text(code)
    drawn = [one.after for seed in range(5) for one in draw(tmp_path, ["module.py"], seed)]
    assert {"x = 2", "x = 3"} <= {text.replace("  ", " ") for text in drawn}
    assert not [text for text in drawn if "CosmicRay" in text and "os.error" not in text]
