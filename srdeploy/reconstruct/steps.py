"""The finished steps of a reconstruction, kept in a folder: the same call goes on from there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from srdeploy import __version__
from srdeploy.models.digest import weights_sha256
from srdeploy.util.files import atomic_path

CHOSEN, FITTED, LEARNED = "chosen", "fitted", "learned"
"""The network before the removal, with the plan; the small one with the layers that are fitted so
far; and the small one on its way to the dense one's output."""

EVERY_SECONDS = 5.0
"""Between two writes of what grows layer by layer."""


def origin_of(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    """Hex SHA-256 of all that decides the result.

    Args:
        tensors: The network's and the calibration inputs, by name.
        settings: Plain data.
    """
    told = json.dumps([__version__, weights_sha256(tensors), settings], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


class Steps:
    """Files of one reconstruction.

    Args:
        folder: Where they lie; None keeps nothing.
        origin: Of :func:`origin_of`. Files of another origin are not read, and are replaced.
    """

    def __init__(self, folder: Path | None = None, origin: str = "") -> None:
        self._folder, self._origin = folder, origin
        self._written = time.monotonic()

    def read(self, name: str) -> tuple[dict[str, Tensor], Any] | None:
        """Tensors and facts of a step; None where there are none of this origin."""
        if self._folder is None:
            return None
        try:
            with safe_open(self._path(name), "pt") as file:
                said = file.metadata() or {}
                if said.get("origin") != self._origin:
                    return None
                return {key: file.get_tensor(key) for key in file.keys()}, json.loads(said["facts"])  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError, ValueError, KeyError):
            return None

    def write(self, name: str, tensors: Mapping[str, Tensor], facts: Any) -> None:
        """Keep a step.

        Raises:
            UserError: the folder cannot be written to.
        """
        if self._folder is None:
            return
        own = {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}
        said = {"origin": self._origin, "facts": json.dumps(facts)}
        with atomic_path(self._path(name)) as temporary:
            save_file(own, temporary, metadata=said)
        self._written = time.monotonic()

    def due(self) -> bool:
        """Whether what grows layer by layer should be written now."""
        waited = time.monotonic() - self._written
        return self._folder is not None and waited >= EVERY_SECONDS

    def clear(self) -> None:
        """Take the files away, and the run's folder if nothing else is in it.

        What lies above is the user's, but for the usual ``runs``.
        """
        if self._folder is not None:
            for name in (CHOSEN, FITTED, LEARNED):
                self._path(name).unlink(missing_ok=True)
            with suppress(OSError):  # something else lies there
                run = self._folder.parent
                for folder in (self._folder, run, *([run.parent] * (run.parent.name == "runs"))):
                    folder.rmdir()

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.safetensors"
