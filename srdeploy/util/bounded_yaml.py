"""YAML from anywhere, read within bounds: of size, depth, and what its aliases unfold to."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml

from srdeploy.errors import UserError

MAX_BYTES = 256 << 10
MAX_DEPTH = 32
MAX_NODES = 20_000
"""Keys, values and lists of a file, each counted as often as aliases and merges repeat it."""

MAX_SCALAR = 64
"""Characters of anything but text: numbers and dates are no longer, and cost more than they say."""

_TEXT = "tag:yaml.org,2002:str"


def read_file(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        UserError: there is none, it is not a regular file, cannot be read, is no YAML, or is beyond
            the bounds.
    """
    try:
        # Asked first: opening a pipe waits for whoever writes to it, and a device never ends.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"'{path}' is no regular file; write the settings into one.")
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"There is no file '{path}'.") from error
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}).") from error
    except ValueError as error:  # a NUL in the name
        raise UserError(f"There is no file {str(path)!r}.") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"'{path}' is larger than {MAX_BYTES >> 10} KB; settings are shorter.")
    try:
        return parsed(content.decode("utf-8"))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"'{path}' is not valid YAML ({reason}).") from error


def parsed(text: str) -> Any:
    """What a YAML text holds.

    Raises:
        ValueError: it is no YAML, or is beyond the bounds.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES >> 10} KB")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except (LookupError, AttributeError, TypeError, ArithmeticError) as error:
        # PyYAML on a tag that its value does not fit, such as `!!bool x`
        raise ValueError("a value that is not what its tag says") from error


class _Loader(yaml.SafeLoader):
    """Plain data only, and within the bounds while it is still being read."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._nodes += 1
        _within(self._nodes, self._depth + 1)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _count(node: yaml.Node, known: dict[yaml.Node, tuple[int, int]]) -> tuple[int, int]:
    """Nodes and levels of what a node unfolds to; each is looked at once, however often used."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag != _TEXT and len(node.value) > MAX_SCALAR:
            raise ValueError(f"a value of {len(node.value)} characters that is no text")
        return 1, 1
    if node in known:
        size, depth = known[node]
        if size == 0:
            raise ValueError("an alias of what it lies in")
        return size, depth
    known[node] = 0, 0
    inner = [_count(one, known) for one in _inside(node)]
    size = 1 + sum(n for n, _ in inner)
    depth = 1 + max((levels for _, levels in inner), default=0)
    _within(size, depth)
    known[node] = size, depth
    return size, depth


def _within(size: int, depth: int) -> None:
    if size > MAX_NODES:
        raise ValueError(f"it unfolds to more than {MAX_NODES} values")
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value)
