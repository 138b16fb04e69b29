"""The native runner for tests: what was built, or a skip that says how to build it."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.devices.native_build import runner_binary
from srdeploy.errors import UserError


def require_runner(arch: str) -> Path:
    """The program for a processor."""
    try:
        return runner_binary(arch)
    except UserError as error:
        pytest.skip(str(error))
