"""What `make release` looks at, on a small project whose archives are broken one way at a time."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import check_release  # type: ignore[import-not-found]  # noqa: E402
from check_release import BESIDE, faults, newest_release, of_checkout  # noqa: E402

PROJECT = {
    **{name: f"{name}\n" for name in BESIDE},
    "CHANGELOG.md": "# Changelog\n\n## 1.2.3, unreleased\n\n- New.\n\n## 1.2.2, 2020-02-02\n",
    "srdeploy/__init__.py": "",
    "srdeploy/__main__.py": "print('srdeploy 1.2.3')\n",
    "srdeploy/py.typed": "",
    "srdeploy/assets/native/zig-cc": "#!/bin/sh\n",
    "srdeploy/assets/prune/srp.yaml": "method: srp\n",
    "tests/test_it.py": "",
}
METADATA = "Name: srdeploy\nVersion: 1.2.3\n"
WHEEL = {name: text for name, text in PROJECT.items() if name.startswith("srdeploy/")} | {
    "srdeploy-1.2.3.dist-info/METADATA": METADATA,
    "srdeploy-1.2.3.dist-info/RECORD": "",
}
SOURCE = {name: text for name, text in PROJECT.items() if not name.startswith("tests/")} | {
    "PKG-INFO": METADATA,
    "setup.cfg": "",
    "srdeploy.egg-info/SOURCES.txt": "",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    for name, text in PROJECT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "srdeploy/assets/native/zig-cc").chmod(0o755)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    return root


def mode(name: str, runs: bool) -> int:
    return 0o100755 if runs and name.endswith("zig-cc") else 0o100644


def wheel(folder: Path, changes: dict[str, str | None], runs: bool = True) -> Path:
    """A wheel with changes: a file's other text, or None for one that is missing."""
    path = folder / "srdeploy-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (WHEEL | changes).items():
            if text is not None:
                entry = zipfile.ZipInfo(name)
                entry.external_attr = mode(name, runs) << 16
                archive.writestr(entry, text)
    return path


def source(folder: Path, changes: dict[str, str | None]) -> Path:
    """A source distribution with changes."""
    path = folder / "srdeploy-1.2.3.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (SOURCE | changes).items():
            if text is not None:
                entry = tarfile.TarInfo(f"srdeploy-1.2.3/{name}")
                entry.size, entry.mode = len(text), mode(name, True)
                archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def test_what_is_whole_has_no_faults(project: Path, tmp_path: Path) -> None:
    assert faults(project, wheel(tmp_path, {}), source(tmp_path, {})) == []


LARGE = "x" * 1_000_001


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"srdeploy/py.typed": None}, "srdeploy/py.typed is missing."),
        ({"srdeploy/assets/native/zig-cc": None}, "srdeploy/assets/native/zig-cc is missing."),
        (
            {"runs/demo/net.safetensors": "x"},
            "runs/demo/net.safetensors does not belong there, or git does not track it.",
        ),
        (
            {"tests/test_it.py": ""},
            "tests/test_it.py does not belong there, or git does not track it.",
        ),
        (
            {"srdeploy/assets/networks/mine.safetensors": "x"},
            "srdeploy/assets/networks/mine.safetensors does not belong there, or git does not "
            "track it.",
        ),
        (
            {"srdeploy/assets/prune/srp.yaml": "method: l1\n"},
            "srdeploy/assets/prune/srp.yaml is another than in the checkout.",
        ),
        (
            {"srdeploy-1.2.3.dist-info/METADATA": METADATA + LARGE},
            f"srdeploy-1.2.3.dist-info/METADATA has {len(METADATA + LARGE)} bytes, more than "
            "1000000.",
        ),
    ],
)
def test_a_broken_archive_is_told(
    project: Path, tmp_path: Path, changes: dict[str, str | None], fault: str
) -> None:
    broken = wheel(tmp_path, changes)
    assert faults(project, broken, source(tmp_path, {})) == [f"{broken.name}: {fault}"]
    if not any("dist-info" in name for name in changes):
        also = source(tmp_path, changes)
        assert faults(project, wheel(tmp_path, {}), also) == [f"{also.name}: {fault}"]


def test_what_only_the_source_distribution_has(project: Path, tmp_path: Path) -> None:
    whole, packed = wheel(tmp_path, {}), source(tmp_path, {"constraints.txt": None})
    assert faults(project, whole, packed) == [f"{packed.name}: constraints.txt is missing."]
    broken = wheel(tmp_path, {"constraints.txt": PROJECT["constraints.txt"]})
    assert len(faults(project, broken, source(tmp_path, {}))) == 1


def test_a_program_that_may_not_run_is_told(project: Path, tmp_path: Path) -> None:
    broken = wheel(tmp_path, {}, runs=False)
    (fault,) = faults(project, broken, source(tmp_path, {}))
    assert fault == (
        f"{broken.name}: srdeploy/assets/native/zig-cc has another executable bit than in the "
        "checkout."
    )


def test_versions_that_differ_are_told(project: Path, tmp_path: Path) -> None:
    other = METADATA.replace("1.2.3", "1.2.2")
    old = wheel(tmp_path, {"srdeploy-1.2.3.dist-info/METADATA": other})
    packed = source(tmp_path, {"PKG-INFO": other})
    assert faults(project, old, packed) == [
        f"CHANGELOG.md begins with 1.2.3, {place.name} says 1.2.2." for place in (old, packed)
    ]


@pytest.mark.parametrize(
    ("program", "said"),
    [("print('srdeploy 1.2.2')\n", "1.2.2"), ("raise SystemExit('broken')\n", "broken")],
)
def test_the_wheels_own_command_is_asked(
    project: Path, tmp_path: Path, program: str, said: str
) -> None:
    broken = wheel(tmp_path, {"srdeploy/__main__.py": program})
    found = faults(project, broken, source(tmp_path, {}))
    assert found[1:] == [
        f"CHANGELOG.md begins with 1.2.3, `srdeploy --version` of the wheel says {said}."
    ]


def test_the_newest_release(tmp_path: Path) -> None:
    for text, newest in (
        ("# Changelog\n\n## 0.3.0, unreleased\n## 0.2.0, 2020-01-01\n", ("0.3.0", True)),
        ("## 0.2.0, 2020-01-01\n## 0.1.0, unreleased\n", ("0.2.0", False)),
        ("# Changelog\n", ("nothing", False)),
    ):
        (tmp_path / "CHANGELOG.md").write_text(text)
        assert newest_release(tmp_path) == newest


def test_a_folder_without_one_of_each_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["check_release.py", str(tmp_path)])
    for made, count in (("", 0), ("a.whl", 0), ("b.whl", 2)):
        if made:
            (tmp_path / made).touch()
        ending = ".tar.gz" if made == "a.whl" else ".whl"
        assert check_release.main() == 2
        assert capsys.readouterr().err == (
            f"'{tmp_path}' holds {count} files *{ending}, not one; run `make release`.\n"
        )


def test_this_checkouts_version_is_the_changelogs() -> None:
    from srdeploy import __version__

    assert newest_release(ROOT)[0] == __version__


def test_every_shipped_file_is_named_for_the_build() -> None:
    """What is no Python reaches a wheel by the patterns of pyproject.toml alone."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (patterns,) = (
        line.partition("= ")[2]
        for line in project.partition("[tool.setuptools.package-data]")[2].splitlines()
        if line.startswith("srdeploy = ")
    )
    package = ROOT / "srdeploy"
    named = {
        path.relative_to(ROOT).as_posix()
        for pattern in patterns.strip('[]"').split('", "')
        for path in package.glob(pattern)
    }
    tracked = {name for name in of_checkout(ROOT) if name.startswith("srdeploy/")}
    assert {name for name in tracked if not name.endswith(".py")} <= named
    assert all(len(file.content) <= 1_000_000 for file in of_checkout(ROOT).values())
