"""Results on disk: JSON with everything, and a Markdown page to read, named by their conditions."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srdeploy.files import atomic_path
from srdeploy.measure.machine import machine_facts

RESULTS = Path(__file__).parent / "results"


def srdeploy(*arguments: str) -> Any:
    """Run a command of ours with ``--json``, as a user would; return what it printed."""
    command = [sys.executable, "-m", "srdeploy", "--quiet", *arguments, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def shown(*arguments: str) -> str:
    """The command line of :func:`srdeploy`, for people to repeat."""
    return shlex.join(["srdeploy", *arguments])


def write(name: str, title: str, text: str, data: Any, repeat: str, out: Path = RESULTS) -> None:
    """Write ``<name>.md`` and ``<name>.json``.

    Args:
        name: File stem: what was measured and under which conditions.
        title: Heading of the page.
        text: Its body (Markdown).
        data: Everything behind it.
        repeat: The command that makes it again.
        out: Folder.
    """
    machine = machine_facts()
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
    if (load := machine.get("load_1min")) is not None:
        where += f"; load at the end {load:g}"
    return f"# {title}\n\n{text.strip()}\n\nMachine: {where}.\n\nRepeat: `{repeat}`\n"


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
    if isinstance(data, str) and data.startswith("/") and "\n" not in data:
        return Path(data).name
    return data


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
