"""The files of onnxruntime-web: from a folder, the cache, or npm, by a pinned hash."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.util.files import atomic_path, cache_dir

VERSION = "1.30.0"
INTEGRITY = (
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ"
    "=="
)
"""Of the package on npm, as npm itself states it."""

URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""What a browser loads: three files for WASM, three for WebGPU."""

VARIABLE = "SRDEPLOY_ORT_WEB"
"""Environment variable that names a folder with these files."""

_FETCH = "python -m srdeploy.devices.browser.fetch_runtime"
_SECONDS = 300


def runtime_folder(given: str | None = None) -> Path:
    """A folder that holds :data:`FILES`.

    Args:
        given: A folder of the user's; default: ``$SRDEPLOY_ORT_WEB``, else the cache, which is
            filled from npm the first time.

    Raises:
        UserError: the folder lacks a file, or the package cannot be fetched.
    """
    if asked := given or os.environ.get(VARIABLE):
        folder = Path(asked)
        for place in (folder, folder / "dist", folder / "package" / "dist"):
            if all((place / name).is_file() for name in FILES):
                return place
        missing = next(name for name in FILES if not (folder / name).is_file())
        raise UserError(
            f"'{folder}' holds no onnxruntime-web ({missing} is missing); fill it by "
            f"`{_FETCH} -o {folder}` on a machine with internet."
        )
    cached = cache_dir() / "onnxruntime-web" / VERSION
    if not all((cached / name).is_file() for name in FILES):
        fetch(cached)
    return cached


def fetch(folder: Path) -> None:
    """Fetch the package, compare it with :data:`INTEGRITY` and unpack what browsers load.

    npm's client is asked first, since it knows the user's registry and proxy; without it the
    package comes straight from npm's registry. Files that compress well also get a ``.gz`` twin.

    Raises:
        UserError: neither way works, or what came is not the published package.
    """
    with tempfile.TemporaryDirectory() as temporary:
        package = _package(Path(temporary))
        digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != INTEGRITY:
            raise UserError(
                f"What the registry sent is not the published onnxruntime-web {VERSION} (its hash "
                "differs from the pinned one), so nothing was unpacked; check the registry or the "
                "proxy."
            )
        with atomic_path(folder) as unpacked, tarfile.open(package) as archive:
            unpacked.mkdir(parents=True)
            for name in FILES:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                content = member.read()
                (unpacked / name).write_bytes(content)
                (unpacked / f"{name}.gz").write_bytes(gzip.compress(content, 6, mtime=0))


def _package(folder: Path) -> Path:
    target = folder / f"onnxruntime-web-{VERSION}.tgz"
    npm, reason = shutil.which("npm"), "npm is not installed"
    if npm:
        command = [npm, "pack", "--silent", f"onnxruntime-web@{VERSION}"]
        try:
            ended = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
            if ended.returncode == 0 and target.is_file():
                return target
            reason = f"npm failed: {' '.join(ended.stderr.split())[:160]}"
        except subprocess.TimeoutExpired:
            reason = f"npm did not end within {_SECONDS} s"
    try:
        with urllib.request.urlopen(URL, timeout=30) as answer, target.open("wb") as stream:
            shutil.copyfileobj(answer, stream)
    except OSError as error:
        raise UserError(
            f"onnxruntime-web {VERSION} is not in the cache and could not be fetched ({reason}; "
            f"registry.npmjs.org: {getattr(error, 'reason', error)}); run "
            f"`{_FETCH} -o DIR` on a machine with internet, bring DIR here and set "
            f"{VARIABLE}=DIR."
        ) from None
    return target
