"""Strict configuration read from YAML: an unknown key is an error that names the nearest match."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from srdeploy.errors import UserError, unknown_name

MAX_BASES = 16
"""Files that may be based on one another."""

log = logging.getLogger(__name__)


NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
"""Names that people give: parts of paths and of sentences everywhere, and never more than that."""


def check_name(name: str) -> str:
    """``name``, if it is one.

    Raises:
        ValueError: it does not fit :data:`NAME`.
    """
    if re.fullmatch(NAME, name) is None:
        raise ValueError(
            f"{name[:80]!r} is no name; use letters, digits, '.', '_' and '-', no '.' or '-' "
            "first, and 64 characters at most"
        )
    return name


Name = Annotated[str, AfterValidator(check_name), Field(json_schema_extra={"pattern": f"^{NAME}$"})]


class Strict(BaseModel):
    """Base of every configuration model: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)


def read_yaml(model: type[Model], path: str | Path, changes: Sequence[str] = ()) -> Model:
    """Read and check a YAML file.

    A file may begin with ``base: OTHER.yaml`` (beside it) and then holds only what differs.

    Args:
        model: What it must fit.
        path: The file.
        changes: Settings to replace, each as ``key.subkey=value`` with the value in YAML.

    Raises:
        UserError: the file (or its base) is missing, is no YAML mapping, or does not fit ``model``;
            or a change is not of that form.
    """
    values = read_mapping(path)
    for change in changes:
        values = merged(values, read_change(change))
    return parse(model, values, where=named(path, changes))


def named(path: str | Path, changes: Sequence[str] = ()) -> str:
    """How errors call a file with its changes."""
    return f"'{path}'" + (f" with {', '.join(changes)}" if changes else "")


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``values`` with ``changes`` in place of what they name; mappings are merged key by key.

    A mapping of another ``kind`` replaces the old one: its other keys would mean nothing.
    """
    result = dict(values)
    for key, new in changes.items():
        old = values.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and _same_kind(old, new):
            new = merged(old, new)
        result[key] = new
    return result


def _same_kind(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return "kind" not in new or new["kind"] == old.get("kind")


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, laid over those of its ``base``; not checked.

    Raises:
        UserError: the file (or its base) is missing, or is no YAML mapping.
    """
    return _load(Path(path))


def _load(path: Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    from srdeploy.util.bounded_yaml import read_file

    log.info("reading %s", path)
    values = read_file(path)
    if not isinstance(values, dict):
        raise UserError(f"'{path}' holds no settings; write them as `key: value` lines.")
    base = values.pop("base", None)
    if base is None:
        return values
    above = (*above, os.path.realpath(path))
    if not isinstance(base, str) or "\0" in base or os.path.realpath(path.parent / base) in above:
        raise UserError(f"'{path}': base names another YAML file, not {base!r:.80}.")
    if len(above) >= MAX_BASES:
        raise UserError(f"'{path}': more than {MAX_BASES} files, each the base of the next.")
    return merged(_load(path.parent / base, above), values)


def read_change(text: str) -> dict[str, Any]:
    """``a.b=1`` as ``{"a": {"b": 1}}``, the value being YAML.

    Raises:
        UserError: it is not of that form.
    """
    from srdeploy.util.bounded_yaml import MAX_DEPTH, parsed

    key, separator, value = text.partition("=")
    parts = key.split(".")
    try:
        if not separator or not all(parts) or len(parts) > MAX_DEPTH:
            raise ValueError
        result: Any = parsed(value)
    except ValueError:
        raise UserError(
            f"'{text:.80}' is not KEY=VALUE; write for instance 'prune.ratio=0.3'."
        ) from None
    for part in reversed(parts):
        result = {part: result}
    return result


def parse(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """Check ``values`` against ``model``; ``where`` opens the message of the error.

    Raises:
        UserError: the first thing that does not fit, with its dotted key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # A misspelt key is the cause of the missing one reported beside it, so it goes first.
        problems = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise UserError(f"{where}: {_explain(model, problems[0])}") from error


def expand(text: str) -> Path:
    """A path with ``~`` and ``$VARIABLES`` expanded.

    Raises:
        UserError: a variable is not set.
    """
    return Path(os.path.expanduser(expand_variables(text)))


def expand_variables(text: str) -> str:
    """Text with ``$VARIABLES`` expanded.

    Raises:
        UserError: a variable is not set.
    """
    expanded = os.path.expandvars(text)
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise UserError(
            f"The path '{text}' needs the environment variable {unset[1]}, which is not set."
        )
    return expanded


def _explain(model: type[BaseModel], problem: Any) -> str:
    location: tuple[int | str, ...] = problem["loc"]
    if problem["type"] == "extra_forbidden":
        parent = _model_at(model, location[:-1])
        inside = f" in '{_dotted(location[:-1])}'" if location[:-1] else ""
        return str(unknown_name(f"key{inside}", str(location[-1]), parent.model_fields))
    message = problem["msg"].removeprefix("Value error, ")
    key = _dotted(location)
    return f"{key}: {message}." if key else f"{message}."


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The model an error location of pydantic points into (list indices and union tags too)."""
    current = model
    candidates: list[type[BaseModel]] = [model]
    for part in location:
        if part in current.model_fields:
            candidates = _models_in(current.model_fields[str(part)].annotation)
        else:
            tagged = [c for c in candidates if part in _tags(c)]
            candidates = tagged or candidates
        if candidates:
            current = candidates[0]
    return current


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation) if kind else ()
