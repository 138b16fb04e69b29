"""``srdeploy bench`` and what is done with its results, as a user does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from srdeploy.cli.main import run
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.measure.export import read_json
from srdeploy.models.registry import create

FAST = ("--input", "24x16", "--runs", 30, "--seconds", 0.1, "--no-quality")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), root / "net.onnx")
    export_onnx(create("ledsr", n_blocks=1, n_feats=5), root / "other.onnx")
    return root


def bench(command, folder: Path, *more: object, ms: float = 5, names=("net.onnx",)) -> list[dict]:
    files = [folder / name for name in names]
    return command("bench", *files, "--device", f"fake://x?ms={ms}&jitter=0.01", *FAST, *more)


def test_several_devices_and_scenarios_into_a_store(command, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.sqlite"
    arguments = ("--device", "fake://x,fake://y", "--scenario", "quick,frame-360p")
    rows = command("bench", folder / "net.onnx", *arguments, *FAST, "--store", store)
    assert len(rows) == 4
    assert {row["scenario"]["name"] for row in rows} == {"quick (changed)", "frame-360p (changed)"}
    again = command("bench", folder / "net.onnx", *arguments, *FAST, "--store", store)
    assert [row["samples_ms"] for row in again] == [row["samples_ms"] for row in rows]
    assert len(command("results", store)) == 4
    assert len(command("results", store, "--device", "*y", "--scenario", "quick*")) == 1
    command("results", store, "-o", tmp_path / "r.json")
    assert len(read_json(tmp_path / "r.json")) == 4


def test_progress_is_a_line_per_result_where_nobody_watches(folder: Path, capsys) -> None:
    arguments = ["bench", str(folder / "net.onnx"), "--device", "fake://x,fake://y"]
    assert run([*arguments, *map(str, FAST)]) == 0
    captured = capsys.readouterr()
    assert [line.split(" ")[0] for line in captured.err.splitlines()] == ["1/2", "2/2"]
    assert "fake://y" in captured.out


def test_a_failure_among_others_is_exit_1(folder: Path, capsys) -> None:
    devices = "fake://x,fake://y?fail=unfit"
    code = run(["bench", str(folder / "net.onnx"), "--device", devices, *map(str, FAST)])
    assert code == 1
    assert "lacks what runs networks" in capsys.readouterr().out


def test_compare_decides(command, folder: Path, tmp_path: Path, capsys) -> None:
    """Three states of a network: as it was, a bit slower within the limit, and much slower."""
    stores = {}
    for name, ms in (("base", 5.0), ("same", 5.05), ("slow", 6.0)):
        stores[name] = tmp_path / f"{name}.sqlite"
        bench(command, folder, "--store", stores[name], "--repeats", 3, ms=ms)
    # A device is called by its URI, which has the milliseconds in it: bring them to one name.
    for path in stores.values():
        found = json.loads(json.dumps(command("results", path)))
        for one in found:
            one["device"] = "desk"
        path.with_suffix(".json").write_text(json.dumps(found))
    base, same, slow = (path.with_suffix(".json") for path in stores.values())

    def decide(new: Path, *more: str) -> tuple[int, dict]:
        capsys.readouterr()
        code = run(["bench", "compare", str(base), str(new), *more, "--json"])
        return code, json.loads(capsys.readouterr().out)

    code, found = decide(same, "--max-slowdown", "5%")
    assert (code, found["verdict"]) == (0, "pass")
    code, found = decide(slow, "--max-slowdown", "5%")
    assert (code, found["verdict"]) == (1, "fail")
    assert found["lines"][0]["slowdown"] == pytest.approx(0.2, abs=0.02)
    assert found["lines"][0]["runs"] == [3, 3]
    assert decide(slow)[0] == 0  # no limit, no verdict
    assert decide(slow, "--max-slowdown", "30%")[0] == 0
    code, found = decide(same, "--max-slowdown", "1%")
    assert (code, found["verdict"]) == (1, "noisy")
    assert decide(same, "--max-slowdown", "1%", "--allow-noisy")[0] == 0


def test_compare_within_a_store(command, folder: Path, tmp_path: Path, capsys) -> None:
    store = tmp_path / "r.sqlite"
    bench(command, folder, "--store", store, "--seconds", 5, names=("net.onnx", "other.onnx"))
    page = tmp_path / "summary.md"
    arguments = [f"{store}#net.onnx", f"{store}#other.onnx", "--max-slowdown", "5%"]
    assert run(["bench", "compare", *arguments, "--markdown", str(page)]) == 0
    assert "took turns" in capsys.readouterr().out
    assert "| other.onnx |" in page.read_text()


def test_compare_measures_artifacts_in_turns(command, folder: Path) -> None:
    found = command(
        "bench", "compare", folder / "net.onnx", folder / "other.onnx", "--device", "fake://x",
        "--max-slowdown", "10%", "--repeats", 3, "--input", "24x16", "--runs", 30, "--seconds", 0.1
    )  # fmt: skip
    (line,) = found["lines"]
    assert (line["paired"], line["runs"], line["verdict"]) == (True, [3, 3], "pass")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bench", "net.onnx", "--scenario", "papr-set"], "did you mean 'paper-set'"),
        *(
            (["bench", "net.onnx", "net.onnx", "--why", *option], f"leave out {option[0]}.")
            for option in (
                ["--device", "fake://x"],
                ["--store", "new.sqlite"],
                ["--scenario", "quick"],
                ["--runtime", "openvino"],
                ["--farm", "farm.yaml"],
                ["--devices", "pixel"],
                ["--repeats", "2"],
                ["--seconds", "1"],
                ["--no-quality"],
                ["--protocol", "rgb"],
                ["--job-limit", "5"],
                ["--apart"],
                ["--output", "turns.jsonl"],
            )
        ),
        (
            ["bench", "net.onnx", "--device", "ssh://x?precision=fp12"],
            "precision of the native runner named 'fp12'",
        ),
        (["bench", "net.onnx", "--device", "sssh://x"], "did you mean 'ssh'"),
        (["bench", "net.onnx", "--device", "fake://x?mss=5"], "did you mean 'ms'"),
        (["bench", "net.onnx", "--device", "fake://x", "--store", "net.onnx"], "no store of"),
        (["bench", "net.onnx", "--device", "fake://x", "--store", "."], "is a folder"),
        (["bench", "compare", "a.sqlite", "b.sqlite"], "There is no store of results 'a.sqlite'"),
        (["bench", "compare", "a.json", "b.json"], "cannot be read"),
        (["bench", "compare", "a.sqlite", "net.onnx"], "name two stores, or two artifacts"),
        (["bench", "compare", "a.sqlite", "a.sqlite"], "are the same"),
        (["bench", "compare", "a", "b", "--max-slowdown", "500"], "e.g. 5%"),
        (["bench", "compare", "a", "b", "--max-drop", "-1"], "max-drop"),
        (["results", "net.onnx"], "no store of results"),
        (["results", "absent.sqlite"], "`srdeploy bench ARTIFACT... --store absent.sqlite` makes"),
        (["report", "absent.sqlite"], "`srdeploy bench ARTIFACT... --store absent.sqlite` makes"),
        (["scenarios", "quik"], "did you mean 'quick'"),
    ],
)
def test_bad_input_is_one_sentence(
    refused, folder: Path, arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    code, sentence = refused(*arguments)
    assert code == 2
    assert told in sentence
    assert sorted(path.name for path in folder.iterdir()) == before


def test_lists(command) -> None:
    assert {"sustained", "tiled-4k"} <= {one["name"] for one in command("scenarios")}
    assert command("scenarios", "mobile-540p")["min_runs"] == 1024
    kinds = {row["kind"]: row for row in command("devices")}
    assert kinds["local"]["available"]


def test_a_scenario_that_was_printed_can_be_read_back(
    command, folder: Path, tmp_path: Path, capsys
) -> None:
    assert run(["scenarios", "tiled-4k"]) == 0
    (tmp_path / "own.yaml").write_text(capsys.readouterr().out)
    device = ("--device", "fake://x?ms=1")
    (row,) = command("bench", folder / "net.onnx", *device, "--scenario", tmp_path / "own.yaml")
    assert row["scenario"] == command("scenarios", "tiled-4k")


@pytest.mark.parametrize("name", ["bench compare", "results", "scenarios", "devices"])
def test_help_with_examples(capsys, name: str) -> None:
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"srdeploy {name}" in shown


def test_a_file_may_be_called_like_a_sub_command(command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "compare").write_bytes((folder / "net.onnx").read_bytes())
    os.rename(tmp_path / "compare", tmp_path / "compare.onnx")
    (row,) = command("bench", tmp_path / "compare.onnx", "--device", "fake://x", *FAST)
    assert row["artifact"] == "compare.onnx"


LIVE = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-m", "srdeploy", *sys.argv[1:]])
text = b""
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    text += part
os.waitpid(pid, 0)
sys.stdout.buffer.write(text)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_live_table_on_a_terminal(folder: Path) -> None:
    arguments = ["bench", folder / "net.onnx", "--device", "fake://x,fake://y", *FAST]
    done = subprocess.run(
        [sys.executable, "-c", LIVE, *map(str, arguments)], capture_output=True, check=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    )  # fmt: skip
    text = done.stdout.decode()
    assert "2 of 2 done" in text
    assert text.count("\x1b[") > 4  # drawn over, not printed line by line


def test_a_missing_artifact_is_told_before_anything_is_measured(
    refused, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for words in (["bench"], ["bench", "compare"], ["compare"]):
        device = [] if words == ["compare"] else ["--device", "fake://x?pace=1&ms=60000"]
        code, sentence = refused(*words, "net.onnx", "gone.onnx", *device)
        assert (code, sentence) == (2, "srdeploy: There is no file 'gone.onnx'.")


def test_what_a_store_had_already_is_told(folder: Path, tmp_path: Path, capsys) -> None:
    store = tmp_path / "r.sqlite"
    line = ["bench", str(folder / "net.onnx"), "--device", "fake://x", *map(str, FAST)]
    assert run([*line, "--store", str(store)]) == 0
    assert "already" not in capsys.readouterr().err
    assert run([*line, str(folder / "other.onnx"), "--store", str(store)]) == 0
    told = capsys.readouterr().err
    assert f"1 of 2 results were in '{store}' already, measured 20" in told


def test_what_the_figures_of_a_store_are_of(folder: Path, tmp_path: Path, capsys) -> None:
    store = str(tmp_path / "r.sqlite")
    line = ["bench", str(folder / "net.onnx"), "--device", "fake://x", "--input", "24x16"]
    assert run([*line, "--runs", "3", "--seconds", "0", "--store", store]) == 0
    capsys.readouterr()
    assert run(["results", store]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("times: p50 and p90 of ") for line in lines)
    assert "quality: psnr[y, crop=2, u8, matlab], mean of 4 images of builtin" in lines


@pytest.mark.parametrize("ending", ["csv", "png", "sqlite"])
def test_turns_are_lines_of_json(refused, folder: Path, ending: str) -> None:
    code, told = refused("bench", folder / "net.onnx", "-o", f"turns.{ending}")
    assert code == 2
    assert f"'turns.{ending}' will be a file of JSON lines, so it must end in .jsonl" in told
