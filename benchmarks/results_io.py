"""Results on disk: JSON with everything, and a Markdown page to read, named by their conditions.

A script whose page speaks of time calls :func:`quiet` before its ``main``: it is refused on a
machine that is busy with something else, or its page and its rows in the README say so.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srdeploy.measure.machine import machine_facts
from srdeploy.util.files import atomic_path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
QUIET = 0.5
"""One-minute load from which on a machine is busy."""

LOAD_AT_START = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
"""One-minute load before this process did anything of its own."""

_asked = False


def quiet() -> None:
    """Refuse to go on where something else is running; ``--busy`` on the command line allows it.

    The word is taken off the command line: what it leads to stands on the page.
    """
    global _asked
    _asked = True
    allowed = "--busy" in sys.argv
    if allowed:
        sys.argv.remove("--busy")
    if LOAD_AT_START >= QUIET and not allowed:
        sys.exit(
            f"This machine is busy: load {LOAD_AT_START:.2f} over the last minute, {QUIET:g} is "
            "the limit for measuring times. Wait until it is quiet, or add --busy: then the page "
            "says so."
        )


def srdeploy(*arguments: str) -> Any:
    """Run a command of ours with ``--json``, as a user would; return what it printed."""
    command = [sys.executable, "-m", "srdeploy", "--quiet", *arguments, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def shown(*arguments: str) -> str:
    """The command line of :func:`srdeploy`, for people to repeat."""
    return shlex.join(["srdeploy", *arguments])


def write(
    name: str,
    title: str,
    text: str,
    data: Any,
    repeat: str,
    out: Path = RESULTS,
    before: float | None = None,
) -> None:
    """Write ``<name>.md`` and ``<name>.json``.

    Args:
        name: File stem: what was measured and under which conditions.
        title: Heading of the page.
        text: Its body (Markdown).
        data: Everything behind it.
        repeat: The command that makes it again.
        out: Folder.
        before: One-minute load before the measurement, where it was another process's; default:
            this one's, if it called :func:`quiet`.
    """
    machine = machine_facts()
    if before is None and _asked:
        before = LOAD_AT_START
    if before is not None:
        machine |= {"load_before": round(before, 2), "busy": before >= QUIET}
    text = page(title, text, repeat, machine)
    for suffix, content in (
        (".md", text),
        (
            ".json",
            json.dumps({"title": title, "machine": machine, "data": names_only(data)}, indent=1)
            + "\n",
        ),
    ):
        with atomic_path(out / f"{name}{suffix}") as temporary:
            temporary.write_text(content, encoding="utf-8")
    if out == RESULTS:
        mark_readme(name, before if machine.get("busy") else None)
    print(text)


def page(title: str, text: str, repeat: str, machine: dict[str, Any] | None = None) -> str:
    """A page of results: what was found, on which machine, how busy, and how to repeat it.

    Args:
        title: Heading.
        text: Body (Markdown).
        repeat: The command that makes it again.
        machine: See :func:`srdeploy.measure.machine.machine_facts`; default: this one, now.
    """
    machine = machine or machine_facts()
    where = (
        f"{machine['cpu']}, {machine['usable_cpus']} CPUs, {machine['os']}, "
        f"Python {machine['python']}, "
        + ", ".join(f"{tool} {version}" for tool, version in machine["versions"].items())
    )
    loads = [
        f"{when} {machine[key]:g}"
        for when, key in (("before", "load_before"), ("at the end", "load_1min"))
        if machine.get(key) is not None
    ]
    if loads:
        where += f"; load {', '.join(loads)}"
    warning = f"**{_busy(machine['load_before'])}**\n\n" if machine.get("busy") else ""
    return f"# {title}\n\n{warning}{text.strip()}\n\nMachine: {where}.\n\nRepeat: `{repeat}`\n"


def mark_readme(name: str, load: float | None, readme: Path = README) -> None:
    """Say beside every link to a page that it was measured on a busy machine, or no longer.

    Args:
        name: The page's stem.
        load: What the machine was busy with; none for a page measured on a quiet one.
        readme: The file with the links.
    """
    link = rf"(\]\(benchmarks/results/{re.escape(name)}\.md\))(?: \(measured on a busy [^)]*\))?"
    said = "" if load is None else f" ({_busy(load)[0].lower()}{_busy(load)[1:].rstrip('.')})"
    old = readme.read_text(encoding="utf-8")
    new = re.sub(link, lambda found: found[1] + said, old)
    if new != old:
        with atomic_path(readme) as temporary:
            temporary.write_text(new, encoding="utf-8")


def _busy(load: float) -> str:
    return f"Measured on a busy machine: load {load:.2g} before it began."


def own_command(data: Path | None = None) -> str:
    """The running script's command line, for people to repeat from the project's root.

    Folders above a name are left out, and where the results went (``--out``) is nobody's concern.

    Args:
        data: The folder among the words that is to be called DATA.
    """
    words = sys.argv[1:]
    if "--out" in words:
        at = words.index("--out")
        words = words[:at] + words[at + 2 :]
    named = ["DATA" if data is not None and Path(word) == data else _name(word) for word in words]
    module = sys.modules["__main__"].__spec__  # of `python -m`
    script = ["-m", module.name] if module else [f"benchmarks/{Path(sys.argv[0]).name}"]
    return shlex.join(["python", *script, *named])


def _name(word: str) -> str:
    return Path(word).name if word.startswith("/") else word


def names_only(data: Any) -> Any:
    """``data`` with the folders cut off every absolute path: they are nobody's business."""
    if isinstance(data, dict):
        return {key: names_only(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [names_only(value) for value in data]
    if isinstance(data, str):
        if data.startswith("/") and "\n" not in data:
            return Path(data).name
        return _PATH.sub(_of_this_machine, data)
    return data


_PATH = re.compile(r"(?<![\w:/.])/[\w.+-]+(?:/[\w.+-]+)+")


def _of_this_machine(found: re.Match[str]) -> str:
    """The name alone; what begins with no folder of this machine is a layer's name, say."""
    path = Path(found[0])
    return path.name if Path(*path.parts[:2]).is_dir() else found[0]


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
