"""What a run reports while it goes: ``metrics.jsonl``, TensorBoard and the progress bar."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from srdeploy.errors import UserError
from srdeploy.train.recipe import Validation
from srdeploy.train.run_folder import METRICS
from srdeploy.util.figures_json import dumps, figure
from srdeploy.util.files import atomic_path, space_for
from srdeploy.util.progress import Tracker

SHOWN = ("psnr_y", "loss", "density", "penalty", "pruned", "kept", "lr")
"""What stands below the progress bar where a run reports it, most important first."""


class TrainingJournal:
    """Appends one JSON object per report to ``metrics.jsonl``.

    Entries later than the checkpoint a run resumes from are dropped: they will be written again.
    """

    def __init__(self, run_dir: Path, iteration: int, bar: Tracker, tensorboard: bool) -> None:
        """Open the journal of a run that stands at ``iteration``.

        Raises:
            UserError: TensorBoard is asked for and not installed.
        """
        self._path = run_dir / METRICS
        self._bar = bar
        self._latest: dict[str, float] = {}
        self._shown: dict[str, str] = {}
        self._writer: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UserError(
                    "TensorBoard is not installed; run `pip install 'srdeploy[tensorboard]'` or "
                    "set `tensorboard: false`."
                ) from error
            self._writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=iteration + 1)
        kept = [entry for entry in read_metrics(run_dir) if entry["iteration"] <= iteration]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(dumps(entry) + "\n" for entry in kept))

    def write(self, iteration: int, **values: Any) -> None:
        """Record values reached after ``iteration`` iterations."""
        with space_for(self._path), open(self._path, "a", encoding="utf-8") as stream:
            stream.write(dumps({"iteration": iteration, **values}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._latest |= {name: values[name] for name in SHOWN if name in values}
        self._shown = {n: f"{self._latest[n]:.4g}" for n in SHOWN if n in self._latest}
        if self._writer is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(name, value, iteration)

    def advance(self) -> None:
        """Move the progress bar by one iteration."""
        self._bar.update(1, **self._shown)

    def close(self) -> None:
        """Flush what TensorBoard holds back."""
        if self._writer is not None:
            self._writer.close()


def read_curve(run_dir: Path, check: Validation | None) -> list[dict[str, Any]]:
    """A run's measurements by one validation, by iteration; 0 is what it began with."""
    found = [e for e in read_metrics(run_dir) if check is not None and e.get("what") == check.what]
    return sorted(found, key=lambda entry: entry["iteration"])


def psnr_of(entry: dict[str, Any]) -> float:
    """The PSNR (dB) of a measurement, whichever planes it compares."""
    return next(value for key, value in entry.items() if key.startswith("psnr_"))


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The entries of a run's journal in order; a line cut short or damaged is skipped."""
    path = run_dir / METRICS
    if not path.exists():
        return []
    entries = []
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(entry, dict):
            continue
        entries.append({k: v if (f := figure(v)) is None else f for k, v in entry.items()})
    return entries
