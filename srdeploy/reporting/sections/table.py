"""The table of sections: what a report page consists of, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srdeploy.reporting.sections.baseline import baseline
from srdeploy.reporting.sections.commands import commands
from srdeploy.reporting.sections.energy import energy
from srdeploy.reporting.sections.failures import failures
from srdeploy.reporting.sections.fit import fit
from srdeploy.reporting.sections.load import load
from srdeploy.reporting.sections.method import method
from srdeploy.reporting.sections.pictures import pictures
from srdeploy.reporting.sections.plot import plot
from srdeploy.reporting.sections.results import results
from srdeploy.reporting.sections.stages import stages
from srdeploy.reporting.sections.widths import widths

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


@dataclass(frozen=True)
class Section:
    """One row of the table.

    Attributes:
        key: Anchor of the section on the page, and its name in ``ReportSummary.sections``.
        title: Its heading.
        body: Makes the HTML below the heading, with all foreign text escaped; None where the
            data hold nothing for it, and then the page leaves the section out.
    """

    key: str
    title: str
    body: Callable[[ReportData], str | None]


SECTIONS: dict[str, Section] = {
    row.key: row
    for row in (
        Section("baseline", "Against the baseline", baseline),
        Section("pictures", "What it looks like", pictures),
        Section("fit", "Fitted to a budget", fit),
        Section("plot", "Quality and latency", plot),
        Section("stages", "Stage by stage", stages),
        Section("results", "Results by device and runtime", results),
        Section("load", "Under lasting load", load),
        Section("energy", "Energy", energy),
        Section("widths", "Layer widths", widths),
        Section("failures", "What failed", failures),
        Section("method", "How it was measured", method),
        Section("commands", "To repeat it", commands),
    )
}
