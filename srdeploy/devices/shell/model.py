"""What models on a device have in common that a program there runs, a process for every turn."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from srdeploy.devices.protocol import Loaded
from srdeploy.devices.shell.files import ShellFiles
from srdeploy.devices.shell.link import ShellLink
from srdeploy.models.card import Card

if TYPE_CHECKING:
    from typing_extensions import Self


class ShellModel:
    """The parts of :class:`srdeploy.devices.protocol.LoadedModel` that are alike."""

    _loaded: Loaded

    def __init__(
        self,
        link: ShellLink,
        files: ShellFiles,
        *,
        program: Path,
        card: Card,
        threads: int,
        timeout: float,
    ) -> None:
        """Bring the program there, and choose a folder for tensors.

        Args:
            link: To the device.
            files: There.
            program: A file of this machine.
            card: The network's.
            threads: CPU threads.
            timeout: Seconds that a run may take besides its own.
        """
        self._link, self._files = link, files
        self._card, self._threads, self._timeout = card, threads, timeout
        self._program = files.push(program)
        link.run(["chmod", "+x", self._program])
        self._folder = f"{files.folder}/run/{uuid.uuid4().hex}"
        self._peak_mb: float | None = None

    @property
    def loaded(self) -> Loaded:
        """What is known; more once a run was prepared."""
        return self._loaded

    def peak_mb(self) -> float | None:
        """The most of all runs so far."""
        return self._peak_mb

    def close(self) -> None:
        """Delete the tensors; program and network stay for the next time."""
        self._link.discard(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _saw(self, peak_mb: float | None) -> None:
        """Keep the peak memory that a run told, if it did."""
        self._peak_mb = max(filter(None, (self._peak_mb, peak_mb)), default=None)
