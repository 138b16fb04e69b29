"""The native runner for tests: what the user has built, or a skip that says how to build it."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.devices.native_build import runner_path
from srdeploy.util.files import cache_dir

_USERS_CACHE = cache_dir()  # before tests get one of their own


def require_runner(arch: str, *, vulkan: bool = False) -> Path:
    """The program for a processor, in the tests' cache from now on."""
    here = runner_path(arch, vulkan=vulkan)
    built = _USERS_CACHE / here.relative_to(cache_dir())
    if not built.is_file():
        command = f"python -m srdeploy.devices.build_runner --arch {arch}"
        pytest.skip(f"needs the runner: {command}{' --vulkan' if vulkan else ''}")
    if not here.exists():
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(built)
    return here
