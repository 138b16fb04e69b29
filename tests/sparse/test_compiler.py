"""Which compiler builds C here, and what it built is kept for which processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.sparse import compiler
from srdeploy.sparse.compiler import Step, Unavailable, build_library


def test_processors_are_told_apart_by_what_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "model: 1\nflags\t: avx2\nflags\t: sse\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: told)
    monkeypatch.setattr(compiler.platform, "machine", lambda: "z80")
    assert compiler._processor().startswith("z80 ")
    assert compiler._processor().endswith(" flags\t: avx2")
    told = "Features\t: bf16\n"
    assert compiler._cpu_flags() == "Features\t: bf16"
    told = ""
    assert compiler._cpu_flags() == ""

    def absent(self: Path, **_: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(compiler.platform, "processor", lambda: "some")
    assert compiler._cpu_flags() == "some"


def test_which_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    here = {"clang": "/bin/clang", "gcc": "/bin/gcc", "icc": "/bin/icc"}
    monkeypatch.setattr(compiler.shutil, "which", here.get)
    assert compiler._compiler() == "/bin/gcc"
    monkeypatch.setenv("CC", "icc")
    assert compiler._compiler() == "/bin/icc"
    monkeypatch.setenv("CC", "tcc")
    with pytest.raises(Unavailable, match="CC is tcc, which is not there"):
        compiler._compiler()
    monkeypatch.delenv("CC")
    here.clear()
    with pytest.raises(Unavailable, match=r"there is no C compiler \(cc, gcc, clang\)"):
        compiler._compiler()
    for command in (["/no/such/file", "--version"], ["false"]):
        with pytest.raises(Unavailable, match=f"{command[0]} does not run"):
            compiler._output(command)


def test_a_library_is_made_again_where_a_source_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiler, "_compiler", lambda: "/bin/cc")
    monkeypatch.setattr(compiler, "_output", lambda command: "cc 1.0")
    source = tmp_path / "one.c"
    source.write_text("int one;")

    def steps(program: str, folder: Path, target: Path) -> list[Step]:
        made = str(folder / "made")
        return [[["false"], ["cp", str(source), made]], [["cp", made, str(target)]]]

    first = build_library("lib", [source], steps)
    assert first.read_text() == "int one;"
    assert build_library("lib", [source], steps) == first
    source.write_text("int two;")
    second = build_library("lib", [source], steps)
    assert second != first
    assert second.read_text() == "int two;"
    with pytest.raises(Unavailable, match="/bin/cc fails: cp: cannot stat"):
        build_library("lib", [], lambda *_: [[["cp", str(tmp_path / "none"), str(tmp_path / "x")]]])
