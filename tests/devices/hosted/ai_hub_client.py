"""AI Hub's client as our adapter meets it, with answers as the real one gives them.

For tests without the library; with it, ``test_ai_hub.py`` drives the real client.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

PROFILE = {
    "execution_summary": {
        "estimated_inference_time": 8900,
        "estimated_inference_peak_memory": 61_000_000,
        "first_load_time": 500_000,
        "compile_time": 0,
        "all_inference_times": [9000, 9100, 8900],
    },
    "execution_detail": [
        {"name": "conv", "type": "Conv2D", "compute_unit": "CPU"},
        {"name": "relu", "type": "Relu", "compute_unit": "NPU"},
        {"name": "shuffle", "type": "DepthToSpace", "compute_unit": "NPU"},
    ],
}


class Error(Exception):
    """The library's base of errors."""


class LibraryUserError(Error):
    """The library's ``UserError``."""


class APIException(Exception):
    """What the library raises for the service's own failures."""


def install(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put a library with these errors in the real one's place; the profiles that are asked for."""
    profiles: list[Any] = []

    def client(profile: str | None = None) -> str:
        profiles.append(profile)
        return "a client"

    module: Any = ModuleType("qai_hub")
    errors = {"UserError": LibraryUserError, "Error": Error, "APIException": APIException}
    module.client, module.Client = SimpleNamespace(**errors), client
    monkeypatch.setitem(sys.modules, "qai_hub", module)
    monkeypatch.setattr("importlib.metadata.version", {"qai-hub": "0.40.0"}.__getitem__)
    return profiles


@dataclass
class Job:
    """A job: what it waits for, ends with and brings."""

    client: Client
    kind: str
    brings: Any
    job_id: str = "j7"
    url: str = "https://hub.example/jobs/j7"

    def wait(self, seconds: int) -> SimpleNamespace:
        self.client.waited.append(seconds)
        message = self.client.failures.get(self.kind)
        return SimpleNamespace(success=message is None, message=message)

    def get_target_model(self) -> Any:
        return self.brings

    def download_profile(self) -> Any:
        return self.brings

    def download_output_data(self) -> Any:
        return self.brings


@dataclass
class Client:
    """The client.

    Attributes:
        asked: Every call: its name and what it was given.
        waited: How long each job was waited for.
        failures: The message that jobs of a kind (``compile``, ``inference``) end with.
        profile: What timed jobs bring,
        output: and the others.
        hub_version: Of the jobs; None where they do not tell.
    """

    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    waited: list[int] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=lambda: PROFILE)
    output: Any = None
    hub_version: str | None = "aihub-2026.10"

    def set_verbose(self, verbose: bool) -> None:
        self.asked.append(("set_verbose", {"verbose": verbose}))

    def get_devices(self, name: str = "", os: str = "") -> list[SimpleNamespace]:
        self.asked.append(("get_devices", {"name": name, "os": os}))
        return [
            SimpleNamespace(
                name="Galaxy S24", os=one, attributes=[f"os:android-{one}", "chipset:8"]
            )
            for one in ("12", "13", "14")
            if name in ("", "Galaxy S24") and os in ("", one)
        ]

    def upload_model(self, path: str, name: str) -> str:
        self.asked.append(("upload_model", {"path": path, "name": name}))
        return f"source of {name}"

    def submit_compile_job(self, model: Any, device: Any, **more: Any) -> Job:
        self.asked.append(("compile", {"model": model, "os": device.os, **more}))
        return Job(self, "compile", f"target {more['input_specs']}")

    def submit_inference_job(self, model: Any, device: Any, **more: Any) -> Job:
        self.asked.append(("inference", {"model": model, "os": device.os, **more}))
        job = Job(self, "inference", self.profile if more["profile"] else self.output)
        if self.hub_version is not None:
            job.hub_version = self.hub_version  # type: ignore[attr-defined]
        return job

    def did(self, kind: str) -> list[dict[str, Any]]:
        """What calls of a kind were given."""
        return [given for name, given in self.asked if name == kind]
