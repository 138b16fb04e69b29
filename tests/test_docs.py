"""The documentation is true: its code blocks run, and its links lead somewhere.

What a reader would type is typed here with the real command line, in a temporary folder. Files and
folders that a command reads and nobody has made are stood in for: networks by small ones, data sets
and pictures by a few small images. Long work is cut short (see :data:`SHORTER`). The blocks of one
page run in order in one folder, as a reader would go through it.

A comment on the line before a block says what is different about it:

``<!-- docs: skip (reason) -->``  It never runs; the reason is obligatory.
``<!-- docs: slow -->``           It runs with the slow tests.
``<!-- docs: exit 2 -->``         Its last command ends with that exit code.
``<!-- docs: file NAME -->``      It is a file that later blocks use: it is written, not run.

Run are fences tagged ``sh`` and ``python``, and indented blocks whose first line is a command of
ours. Others show output. Of ``make`` and ``pip install`` only the target or extra is looked up.
"""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from srdeploy.cli.main import run
from srdeploy.models.registry import ARCHITECTURES
from srdeploy.quality.metrics import METRICS
from tests.video import clips

ROOT = Path(__file__).parents[1]
TOPS = (ROOT / "srdeploy", ROOT)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("*/*/*.md"))
    if not any(part.startswith((".", "runs")) for part in path.relative_to(ROOT).parts)
)
PHOTO = ROOT / "srdeploy" / "assets" / "images" / "benchmark" / "coffee.png"
PROGRAMS = ("srdeploy", "make", "pip", "python", "torchrun")

# What costs minutes for a reader, and tells a test nothing more.
SHORTER = [
    (r"--iterations[ =]\d+", "--iterations 2"),
    (r"--(seconds|duration)[ =][\d.]+", r"--\1 0.05"),
    (
        r"^(srdeploy (?:bench (?!compare|sparse)|compare ))(?!.*--runs)(?!.*--scenario)",
        r"\1--runs 1 --seconds 0 ",
    ),
    (r"^(srdeploy prune edsr-s-x2)( --method reconstruct)", r"\1-p50\2"),
    (r"^(srdeploy (?:fit|profile) edsr-s-x2) ", r"\1-p70 "),
]
OUTPUTS = ("-o", "--output", "--store", "--run-dir", "--emit-script", "--journal")
FOLDERS = ("--data", "--train-data", "--eval-data", "--calibration", "--hr")


@dataclass(frozen=True)
class Block:
    """One code block: its language, its lines, the line it begins in, and its mark."""

    language: str
    text: str
    line: int
    mark: str = ""
    argument: str = ""


def blocks_of(page: str) -> list[Block]:
    """Code blocks of a Markdown text, in order."""
    found: list[Block] = []
    lines = page.splitlines()
    mark = ("", "")
    number = 0
    while number < len(lines):
        line = lines[number]
        if match := re.fullmatch(r"<!-- docs: (\w+) ?\(?(.*?)\)? -->", line.strip()):
            mark = (match[1], match[2])
            number += 1
            continue
        fence = re.fullmatch(r"( {0,3})(```+)(\w*)", line)
        indented = line.startswith("    ") and (number == 0 or not lines[number - 1].strip())
        if fence is None and not indented:
            if line.strip():
                mark = ("", "")
            number += 1
            continue
        start = number + 1
        if fence is not None:
            number += 1
            while number < len(lines) and lines[number].strip() != fence[2]:
                number += 1
            body = [text.removeprefix(fence[1]) for text in lines[start:number]]
            number += 1
            language = fence[3]
        else:
            while number < len(lines) and (lines[number].startswith("    ") or not lines[number]):
                number += 1
            body = [text[4:] for text in lines[start - 1 : number]]
            language = "sh" if body[0].split(" ")[0] in PROGRAMS else ""
        found.append(Block(language, "\n".join(body), start, *mark))
        mark = ("", "")
    return found


def commands_of(block: Block) -> list[str]:
    """Lines as a shell sees them: continued ones joined, comments and prompts gone."""
    joined = block.text.replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


MADE: dict[str, bytes] = {}
"""Networks that stand in, by their files' names: each is made once for all pages."""


def stand_in(path: Path) -> None:
    """Make something small where a command expects a file or folder of the reader's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower()
    if kind in (".pt", ".pth", ".safetensors", ".onnx"):
        if path.name not in MADE:
            _network(path, kind)
            MADE[path.name] = path.read_bytes()
        path.write_bytes(MADE[path.name])
    elif kind in (".png", ".jpg", ".jpeg", ".tif", ".webp"):
        _picture(path, (40, 30))
    elif kind in (".mp4", ".mkv"):
        clips.make(path, frames=2)
    elif not kind:
        for name in ("first", "second"):
            _picture(path / f"{name}.png", (144, 120))


def _network(path: Path, kind: str) -> None:
    import torch

    from srdeploy.compacting.run import prune_oneshot
    from srdeploy.exporting.run import export
    from srdeploy.models.edsr.edsr_pytorch import save_edsr_pytorch
    from srdeploy.models.registry import create
    from srdeploy.models.store import save_network
    from srdeploy.pruning.options import PruneOptions

    torch.manual_seed(sum(path.name.encode()))
    network = dense = create("edsr", n_blocks=3, n_feats=16)
    if any(word in path.stem for word in ("prune", "small", "tune")):
        network, _ = prune_oneshot(dense, PruneOptions(ratio=0.5))
    if kind == ".onnx":
        precision = next((p for p in ("int8", "fp16") if p in path.stem), "fp32")
        export(network, "onnx", path, precision=precision)
    elif kind == ".safetensors":
        save_network(network, path)
    else:
        save_edsr_pytorch(dense, path)


def _picture(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(PHOTO) as photo:  # a real one, so that losses are of a real size
        photo.convert("RGB").crop((20, 10, 20 + size[0], 10 + size[1])).save(path)


def prepare(arguments: list[str], folder: Path) -> None:
    """Stand in for what a command reads and is not there."""
    before = ""
    for position, argument in enumerate(arguments):
        path = folder / argument
        looks_like_file = re.fullmatch(
            r"[\w./-]+\.(pth?|safetensors|onnx|png|jpe?g|tif|webp|mp4|mkv)", argument
        )
        reads = position > 1 and before not in OUTPUTS and not path.exists()
        if (
            reads
            and "/" not in argument[:1]
            and (
                looks_like_file
                or (before in FOLDERS and argument not in ("builtin", "none"))
                or (argument.endswith("/") and not before.startswith("-"))
            )
        ):
            stand_in(path)
        before = argument


def execute(command: str, folder: Path) -> int:
    """Run one line; returns its exit code."""
    for pattern, replacement in SHORTER:
        command = re.sub(pattern, replacement, command)
    arguments = shlex.split(command, comments=True)
    if arguments[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return 0 if all(word in targets for word in arguments[1:] if "=" not in word) else 2
    if arguments[:2] == ["pip", "install"]:
        project = (ROOT / "pyproject.toml").read_text()
        section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
        known = re.findall(r"^([\w-]+) = \[", section, re.MULTILINE)
        asked = re.findall(r"srdeploy\[([\w,-]+)\]", command)
        return 0 if all(extra in known for group in asked for extra in group.split(",")) else 2
    prepare(arguments, folder)
    if arguments[0] == "srdeploy" and not re.search(r"[|<>;&`$]", command):
        return run(["--quiet", *arguments[1:]])
    tools = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    checkout = {"PATH": tools, "PYTHONPATH": str(ROOT)}  # whose tests pages may name
    return subprocess.run(["bash", "-c", command], cwd=folder, env=checkout).returncode


def read_through(page: Path, folder: Path, slow: bool) -> None:
    """Do everything a page says."""
    for block in blocks_of(page.read_text(encoding="utf-8")):
        where = f"{page.name}, line {block.line}"
        assert block.mark in ("", "skip", "slow", "exit", "file"), f"{where}: mark '{block.mark}'"
        if block.mark == "skip":
            assert block.argument, f"{where}: skipped without a reason"
        elif block.mark == "file":
            (folder / block.argument).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.argument).write_text(block.text + "\n")
        elif block.mark == "slow" and not slow:
            continue
        elif block.language == "python":
            script = folder / f"block{block.line}.py"
            script.write_text(block.text)
            for literal in re.findall(r"""["']([\w./-]+)["']""", block.text):
                prepare(["python", script.name, literal], folder)
            runpy.run_path(str(script), run_name="__main__")
        elif block.language == "sh":
            commands = commands_of(block)
            for command in commands:
                last = command is commands[-1]
                expected = int(block.argument) if block.mark == "exit" and last else 0
                assert execute(command, folder) == expected, f"{where}: {command}"


def _ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The reader's folder. What ``builtin`` measures on is stood in for, too: it is large."""
    folder = tmp_path / "desk"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    stand_in(tmp_path / "builtin")
    monkeypatch.setattr("srdeploy.data.benchmark.BENCHMARK_IMAGES", tmp_path / "builtin")
    known = {id(table): set(table) for table in (ARCHITECTURES, METRICS)}
    yield folder
    for table in (ARCHITECTURES, METRICS):
        for name in set(table) - known[id(table)]:  # a page adds one
            del table[name]


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_code_blocks_run(page: Path, desk: Path) -> None:
    read_through(page, desk, slow=False)


SLOW_PAGES = [page for page in PAGES if "<!-- docs: slow -->" in page.read_text(encoding="utf-8")]


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW_PAGES, ids=_ids)
def test_slow_code_blocks_run(page: Path, desk: Path) -> None:
    read_through(page, desk, slow=True)


def _anchors(page: Path) -> set[str]:
    """What GitHub calls a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *#*$", text, re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", h).lower() for h in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", LINKED, ids=_ids)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)", text):
        if re.match(r"[a-z]+:", target):
            assert re.match(r"https://[\w.-]+\.[a-z]+(/|$)|mailto:", target), target
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}, which is not there"
        assert ROOT in linked.parents, f"{page.name} links to {target}, outside the project"
        if anchor and linked.suffix == ".md":
            assert anchor in _anchors(linked), f"{page.name}: {path or 'it'} has no #{anchor}"


def test_every_page_is_in_the_table_of_pages() -> None:
    folder = ROOT / "docs"
    listed = re.findall(r"\]\(([\w-]+\.md)", (folder / "README.md").read_text(encoding="utf-8"))
    assert set(listed) == {page.name for page in folder.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", ["architecture.md", "glossary.md"])
def test_code_is_where_the_page_says(page: str) -> None:
    """Paths are those below ``srdeploy/``; a name before a path in brackets is defined there."""
    text = " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
    paths = re.findall(r"(?<!\[)`([\w/]+\.py)`", text)
    assert paths
    gone = [path for path in paths if not any((top / path).is_file() for top in TOPS)]
    assert not gone
    for name, path in re.findall(r"`(?:\w+\.)*(\w+)` \(`([\w/]+\.py)`", text):
        source = (ROOT / "srdeploy" / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *(async )?(def|class) {name}\b|^{name}\b", source, re.MULTILINE), name


def test_drawings_are_the_scripts(tmp_path: Path) -> None:
    folder = ROOT / "docs" / "pictures"
    runpy.run_path(str(folder / "draw.py"))["main"](tmp_path)
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.svg")}
    assert drawn == {path.name: path.read_text("utf-8") for path in folder.glob("groups-*.svg")}


def _sentences() -> str:
    """Every text in our source, a line each; what is filled in is ``{}``."""
    found = []
    for path in (ROOT / "srdeploy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value.replace("\n", " "))
    return "\n".join(found)


@pytest.mark.parametrize("page", ["troubleshooting.md", "own-network.md"])
def test_messages_are_those_that_are_printed(page: str) -> None:
    """In tables headed "message": quoted names stand for any, ``...`` for anything."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    tables = re.findall(r"^\| message \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    shown = [m for table in tables for m in re.findall(r"`([^`]+)`", "".join(
        row.split("|")[1] for row in table.splitlines()))]  # fmt: skip
    assert shown
    printed = _sentences()
    for message in shown:
        pattern = re.escape(message).replace(r"\.\.\.", ".*")
        pattern = re.sub(r"'[^']+'|\d+(x\d+)+", r".+", pattern)
        assert re.search(pattern, printed), message


# The reader of pages itself

SAMPLE = """
Text, then a block:

    srdeploy doctor   # a comment
    srdeploy inspect \\
        net.pt

    of output

<!-- docs: skip (needs a phone) -->
```sh
srdeploy bench net.onnx --device browser
```

<!-- docs: exit 2 -->

```sh
$ srdeploy doctor
# nothing
srdeploy inspect nothing.pt
```
```text
shown
```
"""


def test_blocks_are_found() -> None:
    first, skipped, failing, shown = blocks_of(SAMPLE)
    assert [shlex.split(command, comments=True) for command in commands_of(first)[:2]] == [
        ["srdeploy", "doctor"],
        ["srdeploy", "inspect", "net.pt"],
    ]
    assert (skipped.mark, skipped.argument) == ("skip", "needs a phone")
    assert (failing.mark, failing.argument, failing.language) == ("exit", "2", "sh")
    assert commands_of(failing) == ["srdeploy doctor", "srdeploy inspect nothing.pt"]
    assert (shown.language, shown.mark) == ("text", "")


def test_stand_ins_are_made_for_what_is_read(tmp_path: Path) -> None:
    line = "srdeploy upscale net.safetensors holiday/ a.png -o out.png --data Set5 --json"
    prepare(shlex.split(line), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "net.safetensors", "holiday", "a.png", "Set5",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("```sh\nsrdeploy inspekt x\n```", "inspekt"),
        ("<!-- docs: skip () -->\n```sh\nx\n```", "without a reason"),
        ("<!-- docs: later (why) -->\n```sh\nx\n```", "mark 'later'"),
        ("```sh\nmake nothing\n```", "make nothing"),
        ("```sh\npip install 'srdeploy[nothing]'\n```", "pip install"),
        ("<!-- docs: exit 2 -->\n```sh\nsrdeploy --version\n```", "--version"),
    ],
)
def test_what_is_wrong_is_found(page: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(AssertionError, match=re.escape(words)):
        read_through(tmp_path / "page.md", tmp_path, slow=False)
