"""Small changes of the package's code, drawn by cosmic-ray's operators.

A place in the source is drawn, then one of the changes that the operators know there, both by a
hash of the seed, the file and the line's own text: a change elsewhere in the file draws no others.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# In CPython these change nothing: small numbers, texts and None are one object each.
SAME_IN_CPYTHON = ("Eq_Is", "NotEq_IsNot", "Is_Eq", "IsNot_NotEq")


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: The file, relative to the root.
        line: Number of the line that changes, from 1.
        before: That line, without its indentation.
        after: The line as changed.
        operator: cosmic-ray's name of the operator.
        source: The whole file as changed.
        key: Names the change, also after changes elsewhere in the file.
    """

    path: str
    line: int
    before: str
    after: str
    operator: str
    source: str
    key: str

    @property
    def folder(self) -> str:
        """The folder of the package that the file lies in."""
        return Path(self.path).parent.as_posix()


@dataclass(frozen=True)
class _Change:
    operator: str
    occurrence: int


def draw(root: Path, files: Sequence[str], seed: int) -> Iterator[Mutant]:
    """Mutants of the files: turn by turn one of each folder, in an order that the seed gives.

    Args:
        root: Folder that the files are relative to.
        files: Python files.
        seed: Any number.
    """
    by_folder: dict[str, list[str]] = {}
    for path in files:
        by_folder.setdefault(Path(path).parent.as_posix(), []).append(path)
    open_ = [_of_folder(root, by_folder[folder], seed) for folder in sorted(by_folder)]
    while open_:
        for of_folder in list(open_):
            if (mutant := next(of_folder, None)) is None:
                open_.remove(of_folder)
            else:
                yield mutant


def _of_folder(root: Path, files: Sequence[str], seed: int) -> Iterator[Mutant]:
    places = []
    for path in files:
        code = (root / path).read_text(encoding="utf-8")
        lines = code.splitlines()
        seen: dict[tuple[str, int], int] = {}
        for (line, column), changes in sorted(_places(code).items()):
            text = lines[line - 1].strip()
            seen[text, column] = nth = seen.get((text, column), 0) + 1
            places.append((_rank(seed, path, text, column, nth), path, line, changes))
    for rank, path, line, changes in sorted(places, key=lambda place: place[0]):
        code = (root / path).read_text(encoding="utf-8")
        for change in sorted(changes, key=lambda c: _rank(rank, c.operator, c.occurrence)):
            if (changed := _apply(code, change)) is not None:
                before, after = _differing(code, changed)
                key = _rank(path, rank, before, after, change.operator)[:16]
                yield Mutant(path, line, before, after, change.operator, changed, key)
                break


def _places(code: str) -> dict[tuple[int, int], list[_Change]]:
    """Where which changes can be made: start (line, column) -> changes."""
    from cosmic_ray.ast import ast_nodes, get_ast

    count = dict.fromkeys(_operators(), 0)
    found: dict[tuple[int, int], list[_Change]] = {}
    for node in ast_nodes(get_ast(code)):
        for name, operator in _operators().items():
            for start, _ in operator.mutation_positions(node):
                found.setdefault(start, []).append(_Change(name, count[name]))
                count[name] += 1
    return found


def _apply(code: str, change: _Change) -> str | None:
    """The changed file; none where nothing that runs is changed, or what results is no Python."""
    from cosmic_ray.mutating import mutate_code

    try:
        changed = mutate_code(code, _operators()[change.operator], change.occurrence)
    except AttributeError:  # cosmic-ray stumbles over exceptions with a dot in their name
        return None
    try:
        return None if changed is None or _runs(changed) == _runs(code) else changed
    except SyntaxError:
        return None


@cache
def _operators() -> dict[str, Any]:
    from cosmic_ray.plugins import get_operator, operator_names

    classes = {name: get_operator(name) for name in operator_names()}
    return {
        name: made()
        for name, made in classes.items()
        if not made.arguments() and not name.endswith(SAME_IN_CPYTHON)
    }


def _runs(code: str) -> str:
    """What of a file can be seen to run.

    Not annotations, which are for the type checker; not the markers ``*`` and ``/`` of a
    signature, which no call of ours needs; not 1 in a float of 10,000 and more.
    """
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(value=None)
        elif isinstance(node, ast.Constant) and type(node.value) is float and node.value >= 1e4:
            node.value = float(f"{node.value:.4g}")
        elif isinstance(node, ast.arguments):
            node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
            node.posonlyargs, node.kwonlyargs = [], []
            node.defaults = [*node.defaults, *filter(None, node.kw_defaults)]
            node.kw_defaults = []
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return ast.dump(tree)


def _differing(before: str, after: str) -> tuple[str, str]:
    """The first line that differs, before and after, without indentation."""
    old, new = before.splitlines(), after.splitlines()
    for one, other in zip(old, new, strict=False):
        if one != other:
            return one.strip(), other.strip()
    return (old[len(new)].strip(), "") if len(old) > len(new) else ("", new[len(old)].strip())


def _rank(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
