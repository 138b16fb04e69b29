"""What is typed, put into the words of ours before it is parsed.

Other spellings of options (:data:`srdeploy.util.synonyms.OPTIONS`) become ours, ``-q`` and ``-v``
are taken wherever they stand, and an unknown command or option is refused with what to type
instead. Values are left alone: those of options, and all that follows ``--``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from srdeploy.errors import UserError, unknown_name
from srdeploy.util.synonyms import OPTIONS, VALUES, instead, nearest

EVERYWHERE = ("-q", "--quiet", "-v", "--verbose")
"""Options of ``srdeploy`` itself that may also follow the command."""

_HELP = ("-h", "--help")


def understood(root: Any, words: Sequence[str]) -> list[str]:
    """A command line as the parser of ``root`` knows it.

    Args:
        root: The application's command; of its groups, one with a command ``usual`` takes that
            where none is named.
        words: What follows ``srdeploy``.

    Raises:
        UserError: a command or an option that is none.
    """
    command, path = root, ""
    rest, moved, told = list(words), list[str](), list[str]()
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*moved, *told, word, *rest]
        if path and (word in EVERYWHERE or _is_cluster(word)):
            moved.append(word)
            continue
        is_option = word[:1] == "-" and len(word) > 1
        if (usual := getattr(command, "usual", None)) and word not in command.commands:
            command = usual
        if is_option:
            told += _option(command, path, word, rest)
            continue
        if hasattr(command, "commands"):
            command, path = _named(command, path, word)
        told.append(word)
    return [*moved, *told]


def _is_cluster(word: str) -> bool:
    """Whether it is ``-qv`` or the like."""
    return word[:1] == "-" and len(word) > 1 and set(word[1:]) <= {"q", "v"}


def _named(group: Any, path: str, word: str) -> tuple[Any, str]:
    """The command of a group that a word names, and what leads to it."""
    if word in group.commands:
        return group.commands[word], f"{path} {word}".strip()
    kind = f"command of `srdeploy {path}`" if path else "command"
    line = f"srdeploy {path} --help" if path else "srdeploy --help"
    raise UserError(f"{unknown_name(kind, word, group.commands)} See `{line}`.")


def _option(command: Any, path: str, word: str, rest: list[str]) -> list[str]:
    """An option with its value out of ``rest``; another spelling is put back there as ours."""
    flag, equals, value = word.partition("=")
    known = {spelled: one for one in command.params for spelled in _spellings(one)}
    if (option := known.get(flag)) is not None:
        takes = not (equals or option.is_flag or option.count)
        taken = [rest.pop(0)] if takes and rest else []
        other = VALUES.get(f"{path} {flag} {''.join(taken) or value}")
        return other.split(" ") if other else [word, *taken]
    if flag in _HELP or not flag.startswith("--"):
        return [word]
    for row in (f"{path} {flag}", flag):
        ours, *meant = OPTIONS.get(row, "").split(" ")
        if ours in known and not (equals and meant):
            rest[:0] = [ours + equals + value, *meant]
            return []
    raise _unknown(path, flag, [name for name in known if name.startswith("--")])


def _spellings(parameter: Any) -> list[str]:
    is_option = parameter.param_type_name == "option"
    return [*parameter.opts, *parameter.secondary_opts] if is_option else []


def _unknown(path: str, flag: str, known: list[str]) -> UserError:
    command = f"srdeploy {path}".strip()
    if phrase := instead("option", f"{path} {flag}") or instead("option", flag):
        hint = f"{phrase}."
    elif close := nearest(flag, known):
        hint = f"did you mean {close}? See `{command} --help`."
    else:
        hint = f"see `{command} --help`."
    return UserError(f"`{command}` has no option {flag}; {hint}")
