from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from srdeploy.devices.browser import fetch_runtime
from srdeploy.devices.browser import runtime_files as module
from srdeploy.devices.browser.runtime_files import FILES, VERSION, fetch, runtime_folder
from srdeploy.errors import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the right form, which a stand-in for npm hands out."""
    path = tmp_path / "registry" / f"onnxruntime-web-{VERSION}.tgz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name in (*FILES, "ort.node.min.js"):
            content = name.encode() * 100
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\ncp {path} .\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(module.VARIABLE, raising=False)
    monkeypatch.setattr(module, "INTEGRITY", _integrity(path))
    return path


def _integrity(path: Path) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def test_it_is_fetched_once_and_holds_only_what_browsers_load(package: Path) -> None:
    folder = runtime_folder()
    assert {path.name for path in folder.iterdir()} == {
        name for file in FILES for name in (file, f"{file}.gz")
    }
    package.unlink()
    assert runtime_folder() == folder


def test_another_content_is_refused_and_nothing_is_kept(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTEGRITY", "sha512-AAAA")
    with pytest.raises(UserError, match="not the published onnxruntime-web"):
        fetch(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_npm_it_comes_from_the_registry(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "URL", package.as_uri())
    assert (runtime_folder() / FILES[0]).is_file()


def test_offline_it_says_what_to_bring(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "URL", (tmp_path / "nowhere.tgz").as_uri())
    with pytest.raises(UserError, match=r"npm is not installed.*fetch_runtime.*ORT_WEB=DIR"):
        runtime_folder()


def test_a_folder_of_the_users_may_be_a_whole_package(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    dist.mkdir()
    for name in FILES:
        (dist / name).touch()
    assert runtime_folder(str(tmp_path)) == dist
    (dist / FILES[1]).unlink()
    with pytest.raises(UserError, match="holds no onnxruntime-web"):
        runtime_folder(str(tmp_path))


def test_it_never_writes_over_a_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "srdeploy.devices.browser.fetch_runtime", "-o", tmp_path]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == f"'{tmp_path}' exists; name a new folder.\n"


def test_it_tells_what_it_fetched(
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["fetch_runtime", "-o", str(tmp_path / "out")])
    assert fetch_runtime.main() == 0
    assert (tmp_path / "out" / FILES[0]).is_file()
    assert f"out: onnxruntime-web {VERSION}, 6 files" in capsys.readouterr().out
