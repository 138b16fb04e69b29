"""C sources to a library for the machine at hand, built once and kept in the cache folder.

It needs a C compiler (gcc; clang), as ``torch.compile`` does.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from srdeploy.util.files import atomic_path, cache_dir

COMPILERS = ("cc", "gcc", "clang")
SOURCES = Path(__file__).parent
"""Where the C sources of this package are."""


class Unavailable(Exception):
    """A library cannot be had here; the message says why."""


def arm() -> bool:
    """Whether this is a 64-bit ARM processor."""
    return platform.machine().lower() in ("aarch64", "arm64")


Step = list[list[str]]
"""Commands, of which the first that succeeds counts."""


def build_library(
    name: str, sources: Sequence[Path], steps: Callable[[str, Path, Path], list[Step]]
) -> Path:
    """Compile, unless the cache has it.

    Args:
        name: What the file's name begins with.
        sources: Everything that it is made from.
        steps: Compiler, empty folder and target to what makes it.

    Returns:
        The library.

    Raises:
        Unavailable: there is no compiler, or it fails.
    """
    compiler = _compiler()
    version = _output([compiler, "--version"])
    told = str(steps(compiler, Path(), Path("target"))).replace(str(SOURCES), "")
    identity = [source.read_text(encoding="utf-8") for source in sources]
    identity += [version, told, _processor()]
    key = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]
    library = cache_dir() / "kernels" / f"{name}-{key}.so"
    if not library.exists():
        with atomic_path(library) as target, tempfile.TemporaryDirectory() as folder:
            for step in steps(compiler, Path(folder), target):
                _take(step, compiler)
            if not target.exists():
                raise _failed(compiler, b"")
    return library


def _take(step: Step, compiler: str) -> None:
    said = b""
    for command in step:
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            return
        said = said or done.stderr
    raise _failed(compiler, said)


def _failed(compiler: str, told: bytes) -> Unavailable:
    said = told.decode(errors="replace").strip().splitlines()
    return Unavailable(f"{compiler} fails: {said[0] if said else 'no message'}")


def _compiler() -> str:
    asked = os.environ.get("CC")
    for name in (asked,) if asked else COMPILERS:
        if found := shutil.which(name):
            return found
    raise Unavailable(
        f"CC is {asked}, which is not there" if asked else "there is no C compiler (cc, gcc, clang)"
    )


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{command[0]} does not run") from error


def _processor() -> str:
    """What distinguishes processors that share a home folder."""
    return f"{platform.machine()} {_cpu_flags()}"


def _cpu_flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
