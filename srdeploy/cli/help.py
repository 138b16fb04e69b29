"""Help that fits its terminal: no option, no choice and no command is ever cut."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
import typer.core

from srdeploy.cli.complete import IN_HELP
from srdeploy.cli.output import console
from srdeploy.util.tables import wrapped

if TYPE_CHECKING:
    from rich.text import Text

_COLUMN = 24
"""Where explanations begin."""


class Command(typer.core.TyperCommand):
    """A command with such help."""

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete an option; shells show their help, too."""
        _fill(self)
        return super().shell_complete(ctx, incomplete)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print it."""
        _print(self, ctx)


class CommandGroup(typer.core.TyperGroup):
    """A group of commands with such help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print it."""
        _print(self, ctx)


def give(app: typer.Typer) -> None:
    """Have all commands of an application, and of the groups in it, show such help."""
    for command in app.registered_commands:
        if not issubclass(command.cls or Command, Command):
            command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            give(group.typer_instance)


def _fill(command: Any) -> None:
    """Put the names that tables hold now into the help of a command's options."""
    for one in command.params:
        if (text := getattr(one, "help", None)) is not None:
            one.help = re.sub(r"\{([\w-]+)\}", _names, text)


def _names(place: re.Match[str]) -> str:
    return IN_HELP.get(place[1], place.group)()


def _print(command: Any, ctx: Any) -> None:
    from rich.markdown import Markdown

    screen = console()
    _fill(command)
    shown = [one for one in command.get_params(ctx) if not one.hidden]
    screen.print(wrapped(f"Usage: {ctx.command_path} {_usage(command, shown)}", screen.width))
    screen.print()
    screen.print(Markdown(inspect.cleandoc(command.help or "")))
    sections = {
        "Arguments": [one for one in shown if one.param_type_name == "argument"],
        "Options": [one for one in shown if one.param_type_name == "option"],
    }
    for title, parameters in sections.items():
        records = [one.get_help_record(ctx) for one in parameters]
        _section(screen, title, [(names, text) for names, text in filter(None, records)])
    commands = getattr(command, "commands", {})
    _section(screen, "Commands", [
        (name, " ".join((one.help or "").strip().split("\n\n")[0].split()))
        for name, one in commands.items()
        if not one.hidden
    ])  # fmt: skip
    if command.epilog:
        screen.print()
        screen.print(Markdown(command.epilog))


def _usage(command: Any, parameters: list[Any]) -> str:
    words = ["[OPTIONS]"]
    for one in parameters:
        if one.param_type_name == "argument":
            name = one.metavar or one.name.upper()
            words.append(name if one.required or name.startswith("[") else f"[{name}]")
    return " ".join([*words, *(["COMMAND ..."] if hasattr(command, "commands") else [])])


def _section(screen: Any, title: str, rows: list[tuple[str, str]]) -> None:
    from rich.text import Text

    if not rows:
        return
    screen.print(Text(f"\n{title}", style="bold"))
    for names, text in rows:
        for line in _lines(names, text, screen.width):
            screen.print(line, soft_wrap=True)


def _lines(names: str, text: str, width: int) -> Iterator[Text]:
    """What is explained, and its explanation: beside it, or below where it is long."""
    from rich.text import Text

    head = Text(f"  {names}", style="cyan")
    explained = [" " * _COLUMN + line.strip() for line in _explained(text, width)]
    if explained and len(head) + 2 <= _COLUMN:
        first, *explained = explained
        head.append(first[len(head) :], style="default")
    yield head
    yield from map(Text, explained)


def _explained(text: str, width: int) -> list[str]:
    return (
        wrapped(" ".join(text.split()), max(width - _COLUMN, _COLUMN)).split("\n") if text else []
    )
