"""The options of the exporters on the command line, read off their classes."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin

import typer

from srdeploy.cli import complete
from srdeploy.cli import options as o
from srdeploy.cli.help import Command

if TYPE_CHECKING:
    from srdeploy.exporting.options import Option


def with_options(function: Callable[..., None]) -> type[Command]:
    """The class of a command that takes the options of all exporters, too.

    Their classes are models of pydantic, plug-ins' among them, so they are read only when somebody
    asks what the command takes: they would add a half to the time of ``srdeploy --help``.

    Args:
        function: What the command calls. It takes them as keywords, those that are left out as
            None; help lists them before its own keyword-only parameters.
    """

    class Exporting(Command):
        _read: list[Any] | None = None

        @property
        def params(self) -> list[Any]:
            if self._read is None:
                alone = typer.Typer(add_completion=False)
                alone.command()(_spelt_out(function))
                whole = typer.main.get_command(alone)
                self._read, self.callback = whole.params, whole.callback
            return self._read

        @params.setter
        def params(self, _: list[Any]) -> None:
            self._read = None

    return Exporting


def _spelt_out(function: Callable[..., None]) -> Callable[..., None]:
    """The function with every option in its signature, where Typer finds it."""
    from srdeploy.exporting.options import all_options

    @functools.wraps(function)
    def command(**given: Any) -> None:
        function(**given)

    signature = inspect.signature(function)
    *own, _ = signature.parameters.values()
    place = next(i for i, one in enumerate(own) if one.kind is one.KEYWORD_ONLY)
    own[place:place] = [_parameter(option) for option in all_options().values() if option.help]
    command.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    return command


def _parameter(option: "Option") -> inspect.Parameter:
    kind = option.value_type
    understood: Callable[[str | None], Any] | None = None
    if get_origin(kind) is tuple:
        understood = _parts
    elif option.choices:
        understood = o.in_our_words(option.choices)
    told = typer.Option(
        option.flags,
        help=option.help,
        metavar=option.metavar,
        min=option.least,
        show_default=False,
        autocompletion=complete.starting(lambda: option.choices) if option.choices else None,
        callback=understood,
    )
    kind = kind if kind in (bool, int, float, Path) else str
    return inspect.Parameter(
        option.keyword,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, told],
    )


def _parts(text: str | None) -> tuple[str, ...] | None:
    """The parts of a list with commas."""
    return tuple(text.replace(" ", "").split(",")) if text else None
