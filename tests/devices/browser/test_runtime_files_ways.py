"""Each way to onnxruntime-web, and what is said where it ends."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from srdeploy.devices.browser import runtime_files as module
from srdeploy.devices.browser.runtime_files import FILES, VERSION, fetch, runtime_folder
from srdeploy.errors import UserError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as the registry has it; there is no npm."""
    path = tmp_path / f"onnxruntime-web-{VERSION}.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in FILES:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name) * 100
            archive.addfile(member, io.BytesIO(name.encode() * 100))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    monkeypatch.setattr(module, "INTEGRITY", f"sha512-{digest}")
    monkeypatch.setattr(module, "URL", path.as_uri())
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(module.VARIABLE, raising=False)
    return path


def npm(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "npm").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_what_browsers_load_is_there_plain_and_packed(package: Path, tmp_path: Path) -> None:
    fetch(tmp_path / "a" / "b")
    for name in FILES:
        content = (tmp_path / "a" / "b" / name).read_bytes()
        packed = (tmp_path / "a" / "b" / f"{name}.gz").read_bytes()
        assert content == name.encode() * 100 == gzip.decompress(packed)
        assert packed[4:8] == bytes(4)  # no time of day: equal each time


@pytest.mark.parametrize("missing", [0, len(FILES) - 1])
def test_the_cache_is_filled_where_a_file_is_missing(package: Path, missing: int) -> None:
    folder = runtime_folder()
    assert folder.parent.name == "onnxruntime-web"
    (folder / FILES[missing]).unlink()
    assert runtime_folder() == folder
    assert (folder / FILES[missing]).is_file()


def test_npm_is_asked_first(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "URL", (tmp_path / "nowhere").as_uri())
    npm(tmp_path, monkeypatch, f'echo "$@" >{tmp_path}/words; /bin/cp {package} .')
    assert (runtime_folder() / FILES[0]).is_file()
    assert (tmp_path / "words").read_text() == f"pack --silent onnxruntime-web@{VERSION}\n"


@pytest.mark.parametrize(
    "text", ["exit 0", f"/bin/cp /etc/hostname onnxruntime-web-{VERSION}.tgz; exit 1"]
)
def test_without_npms_package_the_registry_is_asked(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    npm(tmp_path, monkeypatch, text)
    assert (runtime_folder() / FILES[0]).is_file()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "npm is not installed; registry"),
        ("exit 0", "npm failed: ; registry"),
        (f"echo '{'x' * 300}  y' >&2; exit 1", f"npm failed: {'x' * 160}; registry"),
        ("echo 'no  network' >&2; exit 1", "npm failed: no network; registry"),
    ],
)
def test_where_both_fail_both_are_told(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, reason: str
) -> None:
    monkeypatch.setattr(module, "URL", (tmp_path / "nowhere").as_uri())
    if text is not None:
        npm(tmp_path, monkeypatch, text)
    with pytest.raises(UserError) as caught:
        runtime_folder()
    said = str(caught.value)
    assert said.startswith(
        f"onnxruntime-web {VERSION} is not in the cache and could not be fetched ({reason}"
    )
    assert "No such file" in said
    assert said.endswith(
        "run `python -m srdeploy.devices.browser.fetch_runtime -o DIR` on a machine with internet, "
        "bring DIR here and set SRDEPLOY_ORT_WEB=DIR."
    )


def test_both_have_their_time(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def run(command: Any, timeout: float, **more: Any) -> None:
        limits.append(timeout)
        raise subprocess.TimeoutExpired(command, timeout)

    def urlopen(url: str, timeout: float) -> None:
        limits.append(timeout)
        raise OSError("refused")

    npm(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
    with pytest.raises(UserError, match=r"\(npm did not end within 300 s; .*npmjs\.org: refused\)"):
        runtime_folder()
    assert limits == [300, 30]


@pytest.mark.parametrize("below", ["", "dist", "package/dist"])
def test_a_folder_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    place = tmp_path / below
    place.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (place / name).touch()
    monkeypatch.setenv(module.VARIABLE, str(tmp_path))
    assert runtime_folder() == place
    assert runtime_folder("") == place
    monkeypatch.setenv(module.VARIABLE, "/nowhere")
    assert runtime_folder(str(tmp_path)) == place
    (place / FILES[3]).unlink()
    missing = FILES[3] if not below else FILES[0]
    with pytest.raises(
        UserError, match=rf"holds no onnxruntime-web \({missing} is missing\); fill"
    ):
        runtime_folder(str(tmp_path))


def test_the_pinned_hash_is_compared(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ("sha512-zzzz", "sha512-0000"):
        monkeypatch.setattr(module, "INTEGRITY", wrong)
        with pytest.raises(UserError, match=f"not the published onnxruntime-web {VERSION}"):
            fetch(tmp_path / "out")
    assert not (tmp_path / "out").exists()
