"""The two sides of a comparison: read from stores and exports, or measured now in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srdeploy.benchmarking.measuring.on_device import measure_on
from srdeploy.benchmarking.measuring.plan import check, plan
from srdeploy.devices.open import open_device
from srdeploy.errors import UserError, unknown_name
from srdeploy.measure.export import read_json
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store, is_sqlite


@dataclass(frozen=True)
class BaselinePair:
    """Measurements of BASE and NEW; ``same_names``: artifacts belong together by name."""

    base: list[Measurement]
    new: list[Measurement]
    same_names: bool


def is_stored(text: str) -> bool:
    """Whether this names kept measurements (a store or export), and no artifact to be measured."""
    path = Path(text.partition("#")[0])
    if path.suffix.lower() == ".json":
        return True
    try:
        return is_sqlite(path)
    except OSError:
        return path.suffix.lower() in (".sqlite", ".db")


def stored_pair(
    base: str, new: str, *, scenario: str | None = None, device: str | None = None
) -> BaselinePair:
    """Read both sides.

    Args:
        base: ``FILE`` or ``FILE#ARTIFACT``.
        new: Likewise. With one artifact named on each side the two belong together whatever
            their names.
        scenario: Only these, separated by commas; None for all.
        device: Likewise.

    Raises:
        UserError: no such file or artifact, something else in the file, or twice the same.
    """
    if base == new:
        raise UserError("BASE and NEW are the same; nothing could ever differ.")
    chosen = [_chosen(text, scenario, device) for text in (base, new)]
    return BaselinePair(chosen[0], chosen[1], same_names=not ("#" in base and "#" in new))


def _chosen(text: str, scenario: str | None, device: str | None) -> list[Measurement]:
    name, _, artifact = text.partition("#")
    path = Path(name)
    if path.suffix.lower() == ".json":
        found = read_json(path)
    else:
        with Store.open(path, create=False) as store:
            found = list(store.measurements())
    if artifact:
        known = {one.artifact for one in found}
        if artifact not in known:
            raise unknown_name(f"artifact in '{name}'", artifact, known)
        found = [one for one in found if one.artifact == artifact]
    if scenario:
        found = [one for one in found if one.scenario.name in scenario.split(",")]
    if device:
        found = [one for one in found if one.device in device.split(",")]
    if not found:
        raise UserError(f"'{text}' holds no measurement of that scenario and device.")
    return found


def measured_pair(
    base: str,
    new: str,
    devices: Sequence[str],
    scenarios: Sequence[Scenario],
    **settings: Any,
) -> BaselinePair:
    """Measure both now, in turns, so that their ratios are paired.

    Args:
        base: An artifact.
        new: Another, perhaps of the same name.
        devices: URIs.
        scenarios: The conditions.
        settings: As :func:`srdeploy.benchmarking.measuring.plan.plan`.

    Raises:
        UserError: as :func:`srdeploy.benchmarking.measuring.plan.check`, or a URI of no device.
    """
    sides = BaselinePair([], [], same_names=False)
    batches = plan(devices, scenarios, **settings)
    base, new = check([base, new], batches)
    opened = [open_device(batch.device) for batch in batches]
    for batch, place in zip(batches, opened, strict=True):
        with place as device:
            before, after = measure_on(device, [base, new], batch.request, repeat=batch.repeat)
        sides.base.append(before.measurement)
        sides.new.append(after.measurement)
    return sides
