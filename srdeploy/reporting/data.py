"""What the sections of a report page are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from srdeploy.benchmarking.deciding.verdict import Limits, Verdict
from srdeploy.reporting.crops import Crop
from srdeploy.reporting.figures import FigureGroup, groups_of
from srdeploy.reporting.sources import Evidence
from srdeploy.reporting.widths import Widths

LIMITS = Limits(max_slowdown=0.05, max_drop=0.05)
"""Against a baseline: 5 % slower or 0.05 dB worse is a regression."""


@dataclass(frozen=True)
class ReportData:
    """Everything that a section may show.

    Attributes:
        evidence: The measurements and the folders of runs.
        verdict: Against the baseline; None without one.
        limits: What a regression is.
        crops: Images in all versions of a network.
        widths: Of the layers of pruned networks.
        commands: What to type to get these results again.
    """

    evidence: Evidence
    verdict: Verdict | None = None
    limits: Limits = LIMITS
    crops: Sequence[Crop] = ()
    widths: Sequence[Widths] = ()
    commands: Sequence[str] = ()

    @cached_property
    def groups(self) -> list[FigureGroup]:
        """The finished measurements, by device, scenario and input."""
        return groups_of(self.evidence)
