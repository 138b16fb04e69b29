"""The runner's builder: what it is made of ships with the package, and what it calls with what."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

import srdeploy
from srdeploy.devices import build_runner
from srdeploy.devices.build_runner import GLIBC, NATIVE, SPARSE, TARGETS, build, main
from srdeploy.devices.native import VERSION
from srdeploy.devices.native_build import ARCHITECTURES, runner_binary
from srdeploy.errors import SrdeployError, UserError
from srdeploy.sparse.library import kernels_of


@pytest.fixture
def environments() -> list[dict[str, str]]:
    """What each build was told."""
    return []


@pytest.fixture
def calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environments: list[dict[str, str]]
) -> list[list[str]]:
    """Every program that the builder runs; none runs here, and ninja leaves a program."""
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))
    made: list[list[str]] = []

    def create(folder: Path, **options: object) -> None:
        zig = folder / "lib" / "python3.99" / "site-packages" / "ziglang" / "zig"
        zig.parent.mkdir(parents=True)
        zig.touch()
        (folder / "bin").mkdir()

    def run(command: list[str | Path], what: str, **options: object) -> None:
        words = [str(word) for word in command]
        made.append(words)
        if words[0] == "ninja":
            folder = Path(words[2])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / words[-1]).write_bytes(b"\x7fELF")
            environments.append(options["env"])  # type: ignore[arg-type]

    def sources(root: Path, environment: Path) -> Path:
        return root / "ncnn-1.0.20990101"

    monkeypatch.setattr(build_runner.venv, "create", create)
    monkeypatch.setattr(build_runner, "run", run)
    monkeypatch.setattr(build_runner, "sources", sources)
    return made


def test_what_it_is_made_of_lies_in_the_package() -> None:
    assert Path(srdeploy.__file__).parent in NATIVE.parents
    assert {path.name for path in NATIVE.iterdir()} == {
        "CMakeLists.txt", "ncnn_network.cpp", "program.h", "request.cpp", "requirements.txt",
        "runner.cpp", "sources.txt", "sparse_network.cpp", "zig-cc",
    }  # fmt: skip
    assert (NATIVE / "zig-cc").stat().st_mode & stat.S_IXUSR


def test_the_program_has_our_version() -> None:
    assert f"RUNNER_VERSION {VERSION} " in (NATIVE / "program.h").read_text()
    assert (SPARSE / "kernel.c").is_file()
    assert (SPARSE / "portable" / "smsr.h").is_file()


def test_every_processor_has_kernels() -> None:
    for arch in ARCHITECTURES:
        assert list(kernels_of(arch))[-1] != "plain"


def test_all_it_is_built_from_has_a_hash() -> None:
    for name in ("requirements.txt", "sources.txt"):
        text = (NATIVE / name).read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert lines
        for line in lines:
            assert re.match(r"[\w-]+==[\w.]+ +--hash=sha256:[0-9a-f]{64}", line)


def test_each_architecture_has_a_target() -> None:
    assert set(TARGETS) == set(ARCHITECTURES)


def test_the_program_lands_where_devices_look(calls: list[list[str]], tmp_path: Path) -> None:
    program = build("armv7l", 3, tmp_path / "work")
    assert program == runner_binary("armv7l")
    assert os.access(program, os.X_OK)
    pip, cmake, ninja = calls
    assert pip[-5:] == [
        "-q", "--require-hashes", "--no-deps", "-r", str(NATIVE / "requirements.txt"),
    ]  # fmt: skip
    assert cmake[cmake.index("-S") + 1] == str(NATIVE)
    assert f"-DCMAKE_C_COMPILER={NATIVE / 'zig-cc'}" in cmake
    assert "-DNCNN_VERSION=20990101" in cmake
    assert f"-DSPARSE_SOURCE={SPARSE}" in cmake
    assert ninja[-2:] == ["-j3", "srdeploy-runner"]
    assert ninja[2] == cmake[cmake.index("-B") + 1]


def test_a_program_with_vulkan_is_another_one(
    calls: list[list[str]], environments: list[dict[str, str]], tmp_path: Path
) -> None:
    static = build("aarch64", 1, tmp_path)
    dynamic = build("aarch64", 1, tmp_path, vulkan=True)
    assert (static.name, dynamic.name) == ("srdeploy-runner", "srdeploy-runner-vulkan")
    assert static.parent == dynamic.parent
    first, second = (words for words in calls if words[0] == "cmake")
    assert first[first.index("-B") + 1] != second[second.index("-B") + 1]
    assert "-DRUNNER_VULKAN=OFF" in first
    assert {"-DRUNNER_VULKAN=ON", "-DRUNNER=srdeploy-runner-vulkan"} <= {*second}
    told = [(one["ZIG_TARGET"], one["ZIG_LIBRARIES"]) for one in environments]
    assert told == [("aarch64-linux-musl", ""), (f"aarch64-linux-gnu.{GLIBC}", "-lc++")]
    with pytest.raises(UserError, match="no architecture of the native runner named 'armv7l'"):
        build("armv7l", 1, tmp_path, vulkan=True)


def test_tools_are_fetched_once(calls: list[list[str]], tmp_path: Path) -> None:
    build("x86_64", 1, tmp_path)
    build("aarch64", 1, tmp_path)
    assert [Path(words[0]).name for words in calls] == [
        "python", "cmake", "ninja", "cmake", "ninja",
    ]  # fmt: skip


def test_two_places_share_no_folder(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CMake refuses a folder that was made for the same sources elsewhere."""
    build("x86_64", 1, tmp_path)
    build("x86_64", 1, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in NATIVE.iterdir():
        (elsewhere / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(build_runner, "NATIVE", elsewhere)
    build("x86_64", 1, tmp_path)
    first, again, other = (words[2] for words in calls if words[0] == "ninja")
    assert first == again != other


def test_what_fails_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build_(*given: object, **how: object) -> None:
        build_runner.run(["false"], "The build")

    monkeypatch.setattr(build_runner, "build", build_)
    monkeypatch.setattr("sys.argv", ["build_runner"])
    assert main() == 1
    assert capsys.readouterr().err == "The build failed (exit code 1); its words are above.\n"


def test_constraints_of_the_machine_do_not_reach_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its old resolver breaks off at the first."""
    monkeypatch.setenv("PIP_CONSTRAINT", "/etc/constraints.txt")
    seen = []

    def run(command: list[str | Path], what: str, **options: Any) -> None:
        seen.append(Path(options["env"]["PIP_CONSTRAINT"]).read_text())
        raise SrdeployError("stop")

    monkeypatch.setattr(build_runner, "run", run)
    with pytest.raises(SrdeployError, match="stop"):
        build_runner.sources(tmp_path, tmp_path / "tools")
    assert seen == [""]
