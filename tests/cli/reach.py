"""What a command line makes the package do: which functions it calls, and with what."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from srdeploy.cli.main import app, run

STOP = object()
"""What a function does at which the command line has been followed far enough."""

ALL = ("all",)
"""Another case of the command sees that each of its options is held."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A command, and what its options are for.

    Attributes:
        line: The command with as little as it takes.
        replaced: ``module:function`` -> what it returns in place of running, or :data:`STOP`.
        base: What reaches these functions, as ``function.parameter``; what is None or empty is
            left out.
        options: Words added to the line -> what then differs.
        elsewhere: Options that other cases or tests hold.
    """

    line: str
    replaced: dict[str, Any]
    base: dict[str, Any]
    options: dict[str, dict[str, Any]]
    elsewhere: tuple[str, ...] = ("--json",)


def hold(case: Case) -> None:
    """See that every option of the command reaches what it is for, and nothing else changes."""
    base = calls(case.line, case.replaced)
    assert base == case.base
    for words, meant in case.options.items():
        found = calls(f"{case.line} {words}", case.replaced)
        differs = {k: found.get(k) for k in {**base, **found} if found.get(k) != base.get(k)}
        assert differs == meant, words
    words = {word for line in (case.line, *case.options) for word in shlex.split(line)}
    for parameter in _command(case.line).params if case.elsewhere != ALL else ():
        spelled = {*parameter.opts, *parameter.secondary_opts} - {"--help", "-h"}
        if parameter.param_type_name == "option" and spelled:
            assert spelled & {*words, *case.elsewhere}, f"nothing holds {spelled}"


def calls(line: str, replaced: Mapping[str, Any]) -> dict[str, Any]:
    """What a command line hands to the functions that are replaced."""
    seen: dict[str, Any] = {}
    assert _run(line, replaced, seen) in (None, 0, 1)
    return seen


def exit_code(line: str, replaced: Mapping[str, Any]) -> int | None:
    """How a command ends where functions are replaced; None at one that stops."""
    return _run(line, replaced, {})


def _run(line: str, replaced: Mapping[str, Any], seen: dict[str, Any]) -> int | None:
    with pytest.MonkeyPatch.context() as patch:
        for target, result in replaced.items():
            module, name = target.split(":")
            patch.setattr(importlib.import_module(module), name, _Double(target, result, seen))
        with contextlib.suppress(_Stopped):
            return run(shlex.split(line))
    return None


class _Stopped(BaseException):
    """Passes the handlers of the command line."""


class _Double:
    """In a function's place: notes the arguments by their names."""

    def __init__(self, target: str, result: Any, seen: dict[str, Any]) -> None:
        module, self.name = target.split(":")
        self.signature = inspect.signature(getattr(importlib.import_module(module), self.name))
        self.result, self.seen = result, seen

    def __call__(self, *values: Any, **named: Any) -> Any:
        given = self.signature.bind(*values, **named).arguments
        self.seen |= _flat(self.name, given)
        if self.result is STOP:
            raise _Stopped
        return self.result


def _flat(name: str, value: Any) -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"name.a.b": 1}``; None and what is empty left out."""
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, Mapping):
        return {k: v for key, one in value.items() for k, v in _flat(f"{name}.{key}", one).items()}
    if isinstance(value, (list, tuple)) and any(isinstance(one, BaseModel) for one in value):
        return _flat(name, dict(enumerate(value)))
    if inspect.isfunction(value) or value is None or (type(value) in (list, tuple) and not value):
        return {}
    return {name: _word(value)}


def _word(value: Any) -> Any:
    """Plain data as it is; of anything else, its class."""
    if isinstance(value, (list, tuple)):
        return [_word(one) for one in value]
    if isinstance(value, Path):
        return value.as_posix()
    return value if isinstance(value, (str, int, float)) else type(value).__name__


def _command(line: str) -> Any:
    found: Any = typer.main.get_command(app)
    for word in shlex.split(line):
        if word not in getattr(found, "commands", {}):
            break
        found = found.commands[word]
    return found.commands["measure"] if "measure" in getattr(found, "commands", {}) else found
