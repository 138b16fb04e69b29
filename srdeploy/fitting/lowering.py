"""The form in which PixelShuffle is written: the one in which the network runs fastest there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import onnx

from srdeploy.devices.errors import DeviceError, DeviceUnfit
from srdeploy.errors import SrdeployError
from srdeploy.exporting.targets import AUTO, PIXEL_SHUFFLES
from srdeploy.fitting.bench import Bench
from srdeploy.fitting.conditions import Conditions, Way
from srdeploy.fitting.profile import cut_file
from srdeploy.fitting.samples import sample_removals
from srdeploy.fitting.subject import Subject

MARGIN = 0.95
"""Share of the usual form's time that another one may take to be preferred: equal programs scatter
by a few percent, and a choice should not."""


def with_form(
    subject: Subject, bench: Bench, way: Way, conditions: Conditions, folder: Path
) -> Way:
    """A way to run the network, with its form of PixelShuffle chosen where it is to be.

    The network of half the widths is measured in every form, in turns.

    Args:
        subject: The network.
        bench: The device.
        way: Its form may be ``auto``.
        conditions: Resolution and threads.
        folder: For the networks; files are named by their content.

    Raises:
        SrdeployError: the device went away, or no form could be measured.
    """
    if way.pixel_shuffle != AUTO:
        return way
    usual = replace(way, pixel_shuffle=PIXEL_SHUFFLES[0])
    removed = sample_removals(subject.groups, 1, 2)[-1]
    first = cut_file(subject, removed, usual, folder)
    graph = onnx.load(str(first), load_external_data=False).graph
    if all(node.op_type != "DepthToSpace" for node in graph.node):
        return usual
    ways, files = [usual], [first]
    for form in PIXEL_SHUFFLES[1:]:
        with suppress(SrdeployError):  # not every precision has every form
            other = replace(way, pixel_shuffle=form)
            files.append(cut_file(subject, removed, other, folder))
            ways.append(other)
    times = _times(bench, usual, [str(file) for file in files], conditions)
    ms = {one: t for one, t in zip(ways, times, strict=True) if t is not None}
    fastest = min(ms, key=ms.__getitem__)
    return fastest if usual not in ms or ms[fastest] <= MARGIN * ms[usual] else usual


def _times(
    bench: Bench, way: Way, files: Sequence[str], conditions: Conditions
) -> list[float | None]:
    """Median milliseconds of each; None where it does not run."""
    request = conditions.forms(bench, way)
    try:
        return [one.p50_ms for one in bench.measure(files, request)]
    except SrdeployError as error:
        if isinstance(error, DeviceError) and not isinstance(error, DeviceUnfit):
            raise
        if len(files) == 1:
            raise
    found: list[float | None] = []
    for file in files:  # what ran is stored
        found.append(None)
        with suppress(SrdeployError):
            found[-1] = bench.measure([file], request)[0].p50_ms
    return found
