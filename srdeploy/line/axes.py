"""One axis, one folder: where the values that a recipe names are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from srdeploy.errors import UserError, unknown_name
from srdeploy.pruning.methods.table import CRITERIA, METHODS, SCORED
from srdeploy.util.shipped import LINES, shipped
from srdeploy.util.strict import merged, read_mapping

FOLDERS = {
    **{"model": "models", "prune": "prune", "fit": "fit", "train": "train"},
    **{"targets": "targets", "devices": "devices", "scenarios": "scenarios"},
}
"""Key of a recipe to the folder of its axis."""

LISTS = ("targets", "devices", "scenarios")
"""Keys that hold several values."""

BASE = "base"

_NOUNS = {
    **{"model": "model", "prune": "pruning method", "train": "training recipe"},
    **{"fit": "budget"},
    **{"targets": "target", "devices": "device", "scenarios": "scenario", LINES: "recipe"},
}


def find_line(name: str) -> Path:
    """A recipe's file, or a shipped recipe by its name.

    Raises:
        UserError: neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"There is no file '{name}'.")
    found = shipped(LINES)
    if name not in found:
        raise unknown_name(_NOUNS[LINES], name, found)
    return found[name]


def spelt_out(values: dict[str, Any]) -> dict[str, Any]:
    """The same recipe with every axis as mappings: a bare name becomes ``{base: name}``.

    Raises:
        UserError: an axis that holds something else.
    """
    result = dict(values)
    for key in FOLDERS:
        if result.get(key) is None:
            continue
        if key in LISTS:
            several = result[key] if isinstance(result[key], list) else [result[key]]
            result[key] = [_mapping(key, one) for one in several]
        else:
            result[key] = _mapping(key, result[key])
    return result


def _mapping(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {BASE: value}
    if isinstance(value, dict):
        return value
    raise UserError(f"{key} holds '{value}'; write a name, or settings as `key: value`.")


def resolved(key: str, value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An axis value with the settings of its ``base`` filled in.

    A name is looked up beside the recipe (``AXIS/NAME.yaml`` there or one folder up), then among
    what comes with the package; then it may be what the axis is about: a network's file or name,
    a pruning method, an export target, a device's URI.

    Args:
        key: The recipe's key.
        value: As the recipe has it, spelt out.
        folder: Where the recipe lies.

    Raises:
        UserError: there is nothing of that name.
    """
    own = {name: item for name, item in value.items() if name != BASE}
    name = value.get(BASE)
    if name is None:
        return own
    if not isinstance(name, str):
        raise UserError(f"{key}: base names a file or a value of this axis, not '{name}'.")
    file = _file(key, name, folder)
    if file is not None:
        base = read_mapping(file)
        if key == "prune" and "prune" in base:
            base = {"name": file.stem, **_flattened(base)}
        elif key in ("targets", "devices"):
            base = {"name": file.stem, **base}
        return merged(base, own)
    return merged(_by_itself(key, name), own)


def _file(key: str, name: str, folder: Path) -> Path | None:
    if name.endswith((".yaml", ".yml")):
        return folder / name
    axis = FOLDERS[key]
    beside = [root / axis / f"{name}.yaml" for root in (folder, folder.parent)]
    return next((p for p in beside if p.is_file()), shipped(axis).get(name))


def _flattened(recipe: dict[str, Any]) -> dict[str, Any]:
    """A file of `srdeploy prune --recipe`, its ``prune`` section a level up."""
    others = {name: item for name, item in recipe.items() if name != "prune"}
    return {**recipe["prune"], **others}


def _by_itself(key: str, name: str) -> dict[str, Any]:
    if key == "model":
        return {"file": name}
    if key == "prune":
        if name in METHODS:
            return {"method": name}
        if name in CRITERIA:
            return {"method": SCORED, "criterion": name}
        raise unknown_name(_NOUNS[key], name, {*METHODS, *CRITERIA, *shipped("prune")}, METHODS)
    if key == "targets":
        from srdeploy.exporting.targets import TARGETS

        if name in TARGETS:
            return {"name": name, "target": name}
        raise unknown_name(_NOUNS[key], name, {*TARGETS, *shipped("targets")}, TARGETS)
    if key == "devices":
        from srdeploy.devices.table import KINDS

        if name in KINDS or "://" in name or name.partition("?")[0] in KINDS:
            return {"name": name, "uri": name}
        raise unknown_name(_NOUNS[key], name, {*KINDS, *shipped("devices")}, KINDS)
    raise unknown_name(_NOUNS[key], name, shipped(FOLDERS[key]))
