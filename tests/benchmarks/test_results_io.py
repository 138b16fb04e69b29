"""Pages of results: none of times from a busy machine without saying so, in the README as well."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import all_pages  # type: ignore[import-not-found]  # noqa: E402
import results_io  # type: ignore[import-not-found]  # noqa: E402

SCRIPT = """
import os, sys
os.getloadavg = lambda: ({load}, 0.0, 0.0)
sys.path.insert(0, {benchmarks!r})
import results_io
os.getloadavg = lambda: (7.0, 0.0, 0.0)  # its own work
from pathlib import Path
results_io.RESULTS = Path({out!r})
results_io.mark_readme.__defaults__ = (Path({out!r}) / "README.md",)
results_io.quiet()
print(sys.argv[1:])
results_io.write("times", "Times", "5 ms", [5], "make times", results_io.RESULTS)
"""
ROW = "| speed | [fast](benchmarks/results/times.md){} | [other](benchmarks/results/times2.md) |\n"


def measured(out: Path, load: float, *words: str) -> subprocess.CompletedProcess[str]:
    source = SCRIPT.format(load=load, benchmarks=str(BENCHMARKS), out=str(out))
    if not (out / "README.md").exists():
        (out / "README.md").write_text(ROW.format(""))
    return subprocess.run(
        [sys.executable, "-c", source, *words], capture_output=True, text=True, cwd=ROOT
    )


def test_a_busy_machine_is_refused_with_the_remedy(tmp_path: Path) -> None:
    done = measured(tmp_path, 0.5, "x")
    assert done.returncode == 1
    assert "This machine is busy: load 0.50 over the last minute" in done.stderr
    assert "--busy" in done.stderr
    assert not (tmp_path / "times.md").exists()


def test_busy_is_written_on_the_page_and_in_the_readme_until_measured_again(
    tmp_path: Path,
) -> None:
    done = measured(tmp_path, 2.34, "x", "--busy")
    assert done.stdout.startswith("['x']")  # the word is taken off
    page = (tmp_path / "times.md").read_text()
    assert "# Times\n\n**Measured on a busy machine: load 2.3 before it began.**" in page
    assert "; load before 2.34, at the end 7." in page
    machine = json.loads((tmp_path / "times.json").read_text())["machine"]
    assert (machine["busy"], machine["load_before"], machine["load_1min"]) == (True, 2.34, 7.0)
    marked = ROW.format(" (measured on a busy machine: load 2.3 before it began)")
    assert (tmp_path / "README.md").read_text() == marked
    assert measured(tmp_path, 9, "--busy").returncode == 0
    assert (tmp_path / "README.md").read_text() == marked.replace("2.3", "9")

    # Its own work does not count, only what was there before.
    assert measured(tmp_path, 0.49).returncode == 0
    assert "busy" not in (tmp_path / "times.md").read_text()
    assert (tmp_path / "README.md").read_text() == ROW.format("")


def test_every_page_of_times_is_in_the_list_and_asks_for_quiet() -> None:
    asking = {
        path.name
        for path in BENCHMARKS.glob("*.py")
        if re.search(r"^ +quiet\(\)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    listed = set()
    for page in (*all_pages.PAGES, *all_pages.HOURS):
        words = page.commands[-1].split()
        listed.add(f"{words[2].split('.')[1]}.py" if words[1] == "-m" else Path(words[1]).name)
    assert asking == listed
    timed = re.compile(r"perf_counter|_ms\b")
    for path in BENCHMARKS.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if timed.search(text) and re.search(r"^    write\(", text, re.MULTILINE):
            assert path.name in asking, f"{path.name} measures times and asks nothing"


def test_the_readme_says_of_each_page_what_the_page_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for file in results_io.RESULTS.glob("*.json"):
        document = json.loads(file.read_text(encoding="utf-8"))
        busy = isinstance(document, dict) and document.get("machine", {}).get("busy", False)
        link = f"](benchmarks/results/{file.stem}.md)"
        assert readme.count(f"{link} (measured on a busy") == (readme.count(link) if busy else 0)


def test_all_pages_goes_on_after_a_failure_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(all_pages, "WORK", tmp_path)
    monkeypatch.setattr(all_pages, "DONE", tmp_path / "done.json")
    monkeypatch.setattr(all_pages, "wait_for_quiet", lambda patience: True)
    note = f"python {tmp_path}/note.py"
    (tmp_path / "note.py").write_text(
        f"import sys\nopen(r'{tmp_path / 'told'}', 'a').write(sys.argv[1])\n"
        "sys.exit(sys.argv[1] == 'b')\n"
    )
    pages = [all_pages.Page(n, m, (f"{note} {n}",)) for n, m in (("c", 3), ("b", 2), ("a", 1))]
    monkeypatch.setattr(all_pages, "PAGES", pages)
    monkeypatch.setattr(sys, "argv", ["all_pages", str(tmp_path)])
    assert all_pages.main() == 1
    assert "b FAILED" in capsys.readouterr().out
    assert all_pages.main() == 1
    assert (tmp_path / "told").read_text() == "abcb"  # the shortest first; done ones only once
    with pytest.raises(SystemExit, match="There is no page 'd'"):
        all_pages.pages(["d"], False)


def test_folders_are_filled_in() -> None:
    words = all_pages.filled("python x.py DATA DATA/weights/a.pt WORK/b DATAx", Path("/d"))
    assert words[1:] == ["x.py", "/d", "/d/weights/a.pt", f"{all_pages.WORK}/b", "DATAx"]


def test_pages_say_nothing_of_this_machine_s_folders(tmp_path: Path) -> None:
    told = [
        f"cannot read '{tmp_path}/a/net.onnx'.",
        f"{tmp_path}/net.pth",
        "1/2 of /body/body.0/Add",
    ]
    told.append("https://example.org/a/b")
    assert results_io.names_only({"x": told}) == {
        "x": ["cannot read 'net.onnx'.", "net.pth", "1/2 of /body/body.0/Add", told[3]]
    }
