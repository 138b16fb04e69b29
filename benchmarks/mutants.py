"""Would the tests notice? Small changes of the code, one at a time, each against its tests.

``make mutants [PATHS=srdeploy/reporting] [SAMPLE=60] [SEED=1] [MINUTES=25]``

Without PATHS, the page is written when the sample is through or the time is over. Answers are kept
in ``runs/mutants.json``: the next run goes on, and asks again only what was not noticed and whose
file or tests have changed since.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from mutant_lanes import Answer, Lanes
from mutations import Mutant, draw
from tests_of import DOCS, ROOT, Sources

STATE = ROOT / "runs" / "mutants.json"
EQUIVALENT = ROOT / "benchmarks" / "equivalent_mutants.yaml"
NOTICED = ("noticed", "timed out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files or folders below srdeploy/ (default: all)")
    parser.add_argument("--sample", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=25, help="begin no more after these")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seconds", type=float, default=20, help="CPU seconds of tests a mutant")
    options = parser.parse_args()
    files = _sources(options.paths or ["srdeploy"])
    kept = Kept(STATE)
    rows = _ask(files, kept, options)
    if options.paths:
        print("\n" + "\n\n".join([_summary(rows), _survivors(rows), _left_out(rows)]))
    else:
        _write_page(rows, options)


def _sources(paths: Sequence[str]) -> list[str]:
    """Python files of the package among and below the paths; scripts sent to boards are data."""
    found: list[str] = []
    for path in paths:
        at = ROOT / path
        if not at.exists():
            raise SystemExit(f"there is no {path}")
        below = sorted(at.rglob("*.py")) if at.is_dir() else [at]
        found += [file.relative_to(ROOT).as_posix() for file in below]
    return [path for path in dict.fromkeys(found) if not path.startswith("srdeploy/assets/")]


def _ask(files: Sequence[str], kept: Kept, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Answers of the sample, as far as the time allows."""
    ends = time.monotonic() + 60 * options.minutes
    equivalent = _equivalent()
    sources = Sources()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        lanes = Lanes(Path(folder), options.jobs, options.seconds)

        def take(mutant: Mutant, answer: Answer) -> None:
            kept.put(mutant, answer, _digest(sources.of(mutant.path)))
            rows.append(_row(mutant, answer))
            print(_line(rows[-1], len(rows)), flush=True)

        asked = 0
        for mutant in draw(ROOT, files, options.seed):
            if asked == options.sample or time.monotonic() > ends:
                break
            asked += 1
            if (reason := equivalent.get((mutant.path, mutant.before, mutant.after))) is not None:
                rows.append(_row(mutant, Answer("equivalent", reason)))
                continue
            holding = sorted(sources.of(mutant.path), key=lambda test: test == DOCS)
            if (answer := kept.get(mutant, _digest(holding))) is not None:
                rows.append(_row(mutant, answer))
            elif not holding:
                take(mutant, Answer("survived", "no test reaches this file"))
            else:
                for done in lanes.put(mutant, holding):
                    take(*done)
        for done in lanes.rest():
            take(*done)
    return rows


def _equivalent() -> dict[tuple[str, str, str], str]:
    """Changes that change nothing which anyone could see, with the reason."""
    entries = yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")) or []
    return {(e["file"], e["before"], e["after"]): e["reason"] for e in entries}


class Kept:
    """Answers on disk: what was noticed stays true while the file does; the rest also while its
    tests do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers = json.loads(path.read_text()) if path.exists() else {}

    def get(self, mutant: Mutant, tests: str) -> Answer | None:
        found = self.answers.get(mutant.key)
        if found is None or found["file"] != _text_digest(mutant.source):
            return None
        if found["outcome"] not in NOTICED and found["tests"] != tests:
            return None
        return Answer(found["outcome"], found["by"], found["seconds"])

    def put(self, mutant: Mutant, answer: Answer, tests: str) -> None:
        self.answers[mutant.key] = {
            "outcome": answer.outcome, "by": answer.by, "seconds": answer.seconds,
            "file": _text_digest(mutant.source), "tests": tests,
        }  # fmt: skip
        self.path.parent.mkdir(exist_ok=True)
        whole = self.path.with_suffix(".part")
        whole.write_text(json.dumps(self.answers))
        whole.replace(self.path)


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest(tests: Sequence[str]) -> str:
    return _text_digest("\0".join((ROOT / test).read_text(encoding="utf-8") for test in tests))


def _row(mutant: Mutant, answer: Answer) -> dict[str, Any]:
    return {
        "folder": mutant.folder, "file": mutant.path, "line": mutant.line,
        "before": mutant.before, "after": mutant.after,
        "outcome": answer.outcome, "by": answer.by, "seconds": round(answer.seconds, 1),
        "left_out": list(answer.fail_anyway),
    }  # fmt: skip


def _line(row: dict[str, Any], number: int) -> str:
    said = f"{number:4} {row['outcome']:10} {row['seconds']:5.1f} s  {row['file']}:{row['line']}"
    return f"{said}  by {row['by']}" if row["by"] else said


def by_folder(rows: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Rows of the table: folder, sampled, noticed, survived, equivalent, timed out, share.

    A mutant that makes a test hang is noticed; an equivalent one counts neither way.
    """
    found = []
    for folder in [*sorted({row["folder"] for row in rows}), "all"]:
        count = Counter(row["outcome"] for row in rows if folder in (row["folder"], "all"))
        noticed = count["noticed"] + count["timed out"]
        real = count.total() - count["equivalent"]
        found.append(
            [folder, count.total(), count["noticed"], count["timed out"], count["survived"],
             count["equivalent"], f"{100 * noticed / real:.0f} %" if real else "-"]
        )  # fmt: skip
    return found


HEADER = ["folder", "sampled", "noticed", "timed out", "survived", "equivalent", "noticed of real"]


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    lines = [HEADER, *by_folder(rows)]
    widths = [max(len(str(line[at])) for line in lines) for at in range(len(HEADER))]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _survivors(rows: Sequence[dict[str, Any]]) -> str:
    left = [row for row in rows if row["outcome"] == "survived"]
    shown = [
        f"{row['file']}:{row['line']}  ({row['by']})\n  - {row['before']}\n  + {row['after']}"
        for row in sorted(left, key=lambda row: (row["file"], row["line"]))
    ]
    return "\n".join(shown) or "Nothing survived."


def _left_out(rows: Sequence[dict[str, Any]]) -> str:
    tests = sorted({test for row in rows for test in row["left_out"]})
    return f"Left out, since they fail here on the unchanged code: {', '.join(tests) or 'none'}."


def _write_page(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    from results_io import table, write

    strategy = (
        f"Seed {options.seed}, one change of each folder in turn, until the sample of "
        f"{options.sample} is through or {options.minutes:g} minutes are over. The changes are "
        "cosmic-ray's operators' (a comparison, a number, `and`/`or`, a sign, an operator, a "
        "decorator, a loop that never turns, an exception that is not caught): a place in the code "
        "is drawn, then one change there. Left out are annotations and the markers of signatures, "
        "which nothing runs, `==` into `is`, which CPython does not tell apart where it matters, "
        "and 1 more or less in a float of 10,000 and more.\n\n"
        "A change is run in a copy of the checkout, and only against the tests that hold its file "
        "(`benchmarks/tests_of.py`): those named after it, those that import it, and those of its "
        "folder which reach it through imports; nearest first, until one fails or "
        f"{options.seconds:g} s of CPU are spent. A failing test is tried on the unchanged code "
        "before it counts. No real data, browsers, boards or slow tests: the whole suite notices "
        'at least what is told here. "Timed out": a test no longer ends; that is noticed.\n\n'
    )
    text = strategy + table(HEADER, by_folder(rows)) + "\n\n" + _left_out(rows)
    left = _survivors(rows)
    same = [
        [f"`{row['file']}:{row['line']}`", f"`{row['after']}`".replace("|", "\\|"), row["by"]]
        for row in rows if row["outcome"] == "equivalent"
    ]  # fmt: skip
    text += f"\n\n## Survived\n\n```\n{left}\n```"
    if same:
        text += "\n\n## Equivalent\n\n" + table(["where", "changed to", "why it is the same"], same)
    write("mutants", "Would the tests notice?", text, rows, "make mutants")


if __name__ == "__main__":
    main()
