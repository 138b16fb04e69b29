"""Is what `make release` built what it should be? Reads the wheel and the source distribution.

python benchmarks/check_release.py dist

Each must contain the files that ship and that git tracks, as they are in the checkout, and nothing
else. No file may be larger than :data:`MOST_BYTES`. The version must be the newest of CHANGELOG.md,
and the command in the wheel must print it.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path, PurePosixPath

from srdeploy.errors import UserError

ROOT = Path(__file__).parents[1]

PACKAGE = "srdeploy"
"""The folder that ships."""

BESIDE = (
    "CHANGELOG.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "constraints.txt",
    "pyproject.toml",
)
"""What the source distribution has beside it."""

MADE_IN_WHEEL = re.compile(r"[^/]+\.dist-info/.+")
MADE_IN_SOURCE = re.compile(r"[^/]+\.egg-info/.+|PKG-INFO|setup\.cfg")
"""What the build writes itself."""

MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class File:
    """A file in an archive or in the checkout."""

    content: bytes
    executable: bool


def of_wheel(path: Path) -> dict[str, File]:
    """The files of a wheel, by name."""
    with zipfile.ZipFile(path) as archive:
        return {
            entry.filename: File(
                archive.read(entry), bool(entry.external_attr >> 16 & stat.S_IXUSR)
            )
            for entry in archive.infolist()
            if not entry.is_dir()
        }


def of_source(path: Path) -> dict[str, File]:
    """The files of a source distribution, by their names below its one folder."""
    found = {}
    with tarfile.open(path) as archive:
        for entry in archive:
            if not entry.isdir():
                stream = archive.extractfile(entry)
                content = b"" if stream is None else stream.read()
                name = PurePosixPath(*PurePosixPath(entry.name).parts[1:])
                found[str(name)] = File(content, bool(entry.mode & stat.S_IXUSR))
    return found


def of_checkout(root: Path) -> dict[str, File]:
    """What git tracks of the files that ship, as they are in the checkout."""
    asked = ["git", "ls-files", "-z", "--", PACKAGE, *BESIDE]
    done = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=True)
    return {
        name: File((root / name).read_bytes(), os.access(root / name, os.X_OK))
        for name in done.stdout.split("\0")
        if name
    }


def differences(
    built: Mapping[str, File], meant: Mapping[str, File], made: re.Pattern[str]
) -> Iterator[str]:
    """What is wrong with each file of an archive that is not as meant.

    Args:
        built: The archive's files.
        meant: Those that it should have.
        made: Names of those that the build writes itself.
    """
    for name in sorted(meant.keys() - built.keys()):
        yield f"{name} is missing"
    for name, file in sorted(built.items()):
        if len(file.content) > MOST_BYTES:
            yield f"{name} has {len(file.content)} bytes, more than {MOST_BYTES}"
        if name not in meant:
            if not made.fullmatch(name):
                yield f"{name} does not belong there, or git does not track it"
        elif file.content != meant[name].content:
            yield f"{name} is another than in the checkout"
        elif file.executable != meant[name].executable:
            yield f"{name} has another executable bit than in the checkout"


def faults(root: Path, wheel: Path, source: Path) -> list[str]:
    """A sentence for everything that is wrong with what was built from a checkout."""
    in_wheel, in_source, meant = of_wheel(wheel), of_source(source), of_checkout(root)
    shipped = {name: file for name, file in meant.items() if name.startswith(f"{PACKAGE}/")}
    found = [f"{wheel.name}: {d}." for d in differences(in_wheel, shipped, MADE_IN_WHEEL)]
    found += [f"{source.name}: {d}." for d in differences(in_source, meant, MADE_IN_SOURCE)]
    newest, _ = newest_release(root)
    said = {
        wheel.name: _version(in_wheel, r".*\.dist-info/METADATA"),
        source.name: _version(in_source, "PKG-INFO"),
        f"`{PACKAGE} --version` of the wheel": _said_by_command(wheel),
    }
    found += [
        f"CHANGELOG.md begins with {newest}, {place} says {version}."
        for place, version in said.items()
        if version != newest
    ]
    return found


def newest_release(root: Path) -> tuple[str, bool]:
    """The version that the changelog begins with, and whether it is called unreleased."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    match = re.search(r"^## ([^\s,]+)(.*)$", text, re.MULTILINE)
    return (match[1], "unreleased" in match[2]) if match else ("nothing", False)


def _version(files: Mapping[str, File], metadata: str) -> str:
    found = [file.content for name, file in files.items() if re.fullmatch(metadata, name)]
    return str(message_from_bytes(found[0])["Version"]) if found else "nothing"


def _said_by_command(wheel: Path) -> str:
    """The version that the command in the wheel tells, run with this Python's libraries."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        done = subprocess.run(
            [sys.executable, "-m", PACKAGE, "--version"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        return " ".join(done.stderr.splitlines()[-1:]) or "nothing"
    return done.stdout.removeprefix(PACKAGE).strip()


def one(folder: Path, ending: str) -> Path:
    """The only file with an ending in a folder.

    Raises:
        UserError: there is none, or more than one.
    """
    found = sorted(folder.glob(f"*{ending}"))
    if len(found) != 1:
        count = len(found)
        raise UserError(f"'{folder}' holds {count} files *{ending}, not one; run `make release`.")
    return found[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where wheel and source distribution are")
    folder = parser.parse_args().folder
    try:
        wheel, source = one(folder, ".whl"), one(folder, ".tar.gz")
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if found := faults(ROOT, wheel, source):
        print("\n".join(found), file=sys.stderr)
        return 1
    for path, files in ((wheel, of_wheel(wheel)), (source, of_source(source))):
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {len(files)} files, {size:.1f} MB, what the checkout has")
    version, unreleased = newest_release(ROOT)
    if unreleased:
        print(f"CHANGELOG.md calls {version} unreleased: write the day there before you upload.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
