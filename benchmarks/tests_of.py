"""Which tests hold a file: the one owner of that question, read from names and imports.

A test holds a module of the package when it is named after it, or imports it, or lies in its
folder and reaches it through what it imports. ``make mutants`` and ``make check`` ask here.

python benchmarks/tests_of.py srdeploy/data/images.py # the tests of a file, nearest first
python benchmarks/tests_of.py --changed               # those of what changed since main
"""

from __future__ import annotations

import argparse
import ast
import subprocess
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("srdeploy", "tests", "benchmarks")
DOCS = "tests/test_docs.py"
HOUSE = "tests/test_layers.py"


class Sources:
    """A tree of sources, and which of its tests hold which file.

    Args:
        root: Folder with ``srdeploy/`` and ``tests/``.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """What each Python file imports of the others, by paths relative to the root."""
        files = sorted(path for top in CODE for path in (self.root / top).rglob("*.py"))
        named = {self._dotted(path): self._relative(path) for path in files}
        # Scripts of benchmarks/ know each other by their bare names.
        named |= {path.stem: self._relative(path) for path in (self.root / CODE[2]).glob("*.py")}
        return {
            self._relative(path): {
                named[name] for name in _imported(path) if name in named
            } - {self._relative(path)}
            for path in files
        }  # fmt: skip

    @cached_property
    def tests(self) -> list[str]:
        """All files of tests."""
        return [
            path
            for path in self.imports
            if path.startswith("tests/") and Path(path).name.startswith("test_")
        ]

    @cached_property
    def reach(self) -> dict[str, set[str]]:
        """For each test, every file that it runs into through imports."""
        return {test: self._reached(test) for test in self.tests}

    @cached_property
    def direct(self) -> dict[str, set[str]]:
        """For each test, what it imports itself or by the helpers beside it."""
        return {test: self._direct(test) for test in self.tests}

    def of(self, source: str) -> list[str]:
        """The tests that hold ``source``, nearest first.

        Args:
            source: A Python file below ``srdeploy/``, ``tests/`` or ``benchmarks/``, relative
                to the root.
        """
        if source.startswith("tests/"):
            return self._of_test_file(source)
        path = Path(source)
        folder = Path("tests", *path.parts[1:-1]) if path.parts[0] == "srdeploy" else Path("tests")
        named = [t for t in self.tests if Path(t).parent == folder and _named_after(t, path.stem)]
        direct = [t for t in self.tests if source in self.direct[t]]
        near = [t for t in self.tests if Path(t).parent == folder and source in self.reach[t]]
        found = list(dict.fromkeys([*named, *direct, *near]))
        return (
            found
            or [t for t in self.tests if source in self.reach[t]]
            or [t for t in self.tests if Path(t).parent == folder]
            or [t for t in self.tests if Path(t).parent == folder.parent]
        )

    def of_change(self, changed: Iterable[str]) -> list[str]:
        """The tests of files that changed, of any kind, the nearest of each first.

        Args:
            changed: Paths relative to the root; those that are gone hold nothing.
        """
        found = []
        for path in changed:
            if path.endswith(".py") and path in self.imports:
                house = [HOUSE] if path.startswith("srdeploy/") else []
                found.append([*self.of(path), *house])
            elif path.endswith(".md") and (path.startswith("docs/") or path == "README.md"):
                found.append([DOCS])
            else:
                found.append(self._naming(Path(path)))
        in_turn = chain.from_iterable(zip_longest(*found))
        return list(dict.fromkeys(test for test in in_turn if test is not None))

    def _of_test_file(self, source: str) -> list[str]:
        if source in self.tests:
            return [source]
        if Path(source).name in ("conftest.py", "__init__.py"):
            return [t for t in self.tests if Path(t).parent == Path(source).parent]
        return [t for t in self.tests if source in self.reach[t]]

    def _naming(self, path: Path) -> list[str]:
        """Tests that name a file that is no code: a recipe, a picture, a shipped table."""
        text = {t: (self.root / t).read_text(encoding="utf-8") for t in self.tests}
        return [t for t in self.tests if path.name in text[t]]

    def _direct(self, test: str) -> set[str]:
        """What a test imports itself or by the helpers beside it."""
        found, open_ = set(), [test]
        while open_:
            for name in self.imports[open_.pop()] - found:
                found.add(name)
                if name.startswith("tests/"):
                    open_.append(name)
        return found

    def _reached(self, test: str) -> set[str]:
        found: set[str] = set()
        open_ = [test]
        while open_:
            new = self.imports[open_.pop()] - found
            found |= new
            open_ += new
        return found

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _dotted(self, path: Path) -> str:
        return ".".join(path.relative_to(self.root).with_suffix("").parts).removesuffix(".__init__")


def _named_after(test: str, module: str) -> bool:
    stem = Path(test).stem.removeprefix("test_")
    return stem == module or stem.startswith(f"{module}_")


def _imported(path: Path) -> Iterator[str]:
    """Every module that a file names: in an import, or in a text such as ``package.module:name``.

    Tables of what is imported late, and patches in tests, name modules by texts.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and str(node.value).startswith("srdeploy."):
            words = str(node.value).partition(":")[0].split(".")
            yield from (".".join(words[:end]) for end in range(2, len(words) + 1))


def changed_since(base: str, root: Path = ROOT) -> list[str]:
    """Paths that differ from where ``base`` was left, committed or not, new ones included.

    Args:
        base: A commit or branch; where there is none of that name, the last commit counts.
        root: The checkout.
    """

    def git(*words: str) -> list[str]:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
        return done.stdout.splitlines() if done.returncode == 0 else []

    left = (git("merge-base", base, "HEAD") or ["HEAD"])[0]
    if left == (git("rev-parse", "HEAD") or [""])[0]:
        left = "HEAD"
    new = git("ls-files", "--others", "--exclude-standard")
    return sorted({*git("diff", "--name-only", left), *new})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--changed", action="store_true", help="what differs from --base")
    parser.add_argument("--base", default="main")
    options = parser.parse_args()
    files = [*options.files, *(changed_since(options.base) if options.changed else [])]
    print("\n".join(Sources().of_change(files)))


if __name__ == "__main__":
    main()
