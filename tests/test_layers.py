"""The house: imports run downward only, and starting up stays light."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "srdeploy"

# From the top: a module may import from its own layer and from those below. A module that stands
# above the rest of its folder is named for itself.
LAYERS = [
    ["cli", "api", "__main__", "testing"],
    ["line"],
    ["reporting"],
    ["fitting"],
    ["farm"],
    ["benchmarking"],
    ["devices"],
    ["measure"],
    ["exporting"],
    ["train"],
    ["reconstruct"],
    ["compacting"],
    ["pruning"],
    ["quality.evaluate", "upscaling", "video"],
    ["runtime"],
    ["sparse"],
    ["models"],
    ["quality", "data"],
    ["util", "pickles"],
    ["util.terminal"],
    ["errors", "util.synonyms", "util.plugins", ""],
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
SHARED = {"models.card"}  # the card is read everywhere


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("srdeploy"):
            module = (node.module or "").removeprefix("srdeploy").lstrip(".")
            names = [f"{module}.{alias.name}".lstrip(".") for alias in node.names]
            found |= {module, *(name for name in names if name in RANK)}
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("srdeploy.")]
            found |= {name.removeprefix("srdeploy.") for name in names}
    return found


def _rank(module: str) -> int:
    """Of the most specific name in the table."""
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next(RANK[name] for name in names if name in RANK)


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downward(path: Path) -> None:
    own = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    own = "api" if own == "__init__" else own
    upward = [
        module for module in _imports(path) if module not in SHARED and _rank(module) < _rank(own)
    ]
    assert not upward, f"{path.name} imports upward: {upward}"


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450


def test_the_architecture_page_lists_these_layers() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| layer, from the top |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    listed = [re.findall(r"`([\w.]+)`", row) for row in rows]
    assert listed == [[name for name in layer if name] for layer in LAYERS]
