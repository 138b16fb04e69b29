"""The exceptions of srdeploy: each carries one sentence that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from srdeploy.util.synonyms import instead, nearest


class SrdeployError(Exception):
    """Something failed that is not the user's fault; the command line exits with 1."""

    exit_code = 1


class UserError(SrdeployError):
    """The input or the request cannot be served as given; the command line exits with 2."""

    exit_code = 2


def unknown_name(kind: str, name: str, known: Iterable[str], *tables: object) -> UserError:
    """The error for a name that is none: it says what is meant by it, else lists what exists.

    Of tables with broken plug-ins, one of which may have been to bring it, it tells them as well.

    Args:
        kind: What the name is of.
        name: The name.
        known: A table, or any names.
        tables: Tables from which the names come, where ``known`` is none.
    """
    names = sorted(known)
    if phrase := instead(kind, name):
        hint = f"{phrase}."
    elif close := nearest(name, names):
        hint = f"did you mean '{close}'?"
    else:
        hint = f"known: {', '.join(names) or 'none'}."
    plugins = [one for table in (known, *tables) for one in getattr(table, "plugins", list)()]
    unused = [sentence for one in plugins for sentence in one.problems]
    return UserError(" ".join([f"There is no {kind} named '{name}'; {hint}", *unused]))


def shown(text: object, most: int = 120) -> str:
    """Text that a file may have written, as one short printable line."""
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= most else f"{line[:most]}..."
