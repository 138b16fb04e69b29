"""Whether a device takes jobs, on disk: a restart forgets neither failures nor orders."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from srdeploy.util.files import atomic_path, cache_dir
from srdeploy.util.strict import Strict

KEPT = 10
"""Failures whose reasons are remembered."""


class Failure(Strict):
    """When a device failed, and why."""

    at: str
    reason: str


class DeviceState(Strict):
    """What is known of a device.

    Attributes:
        state: ``ready``; ``drained`` (takes no more jobs, by order); ``quarantined`` (set aside
            after failures, or by order).
        reason: Why it is not ready.
        since: When that began, UTC.
        in_a_row: Failures since the last success.
        failures: The latest.
        done: Jobs that it finished.
    """

    state: Literal["ready", "drained", "quarantined"] = "ready"
    reason: str = ""
    since: str = ""
    in_a_row: int = 0
    failures: tuple[Failure, ...] = ()
    done: int = 0

    def ordered(
        self, state: Literal["ready", "drained", "quarantined"], reason: str
    ) -> DeviceState:
        """The state that somebody wants; becoming ready forgives past failures."""
        change = {"state": state, "reason": reason, "since": _now(), "in_a_row": 0}
        return self.model_copy(update=change)

    def succeeded(self) -> DeviceState:
        """After a job."""
        return self.model_copy(update={"in_a_row": 0, "done": self.done + 1})

    def failed(self, reason: str, limit: int) -> DeviceState:
        """After a failure of the device; the ``limit``-th in a row sets it aside."""
        latest = (*self.failures, Failure(at=_now(), reason=reason))[-KEPT:]
        state = self.model_copy(update={"in_a_row": self.in_a_row + 1, "failures": latest})
        if state.in_a_row < limit or state.state != "ready":
            return state
        words = f"{state.in_a_row} failures in a row, the last: {reason}"
        return state.model_copy(update={"state": "quarantined", "reason": words, "since": _now()})


class StateFile:
    """A device's state on disk."""

    def __init__(self, name: str) -> None:
        self.path = cache_dir() / "farm" / "devices" / f"{name}.json"

    def read(self) -> DeviceState:
        """What was written last; a fresh state where there is nothing that can be read."""
        with suppress(OSError, ValidationError, ValueError):
            return DeviceState.model_validate(json.loads(Path(self.path).read_text("utf-8")))
        return DeviceState()

    def write(self, state: DeviceState) -> None:
        """Keep a state."""
        with atomic_path(self.path) as temporary:
            temporary.write_text(state.model_dump_json(indent=1), encoding="utf-8")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
