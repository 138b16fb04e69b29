"""Where in a network's code a call is made: the function, and the number of the statement in it.

Unlike a line, that is the same for other releases of Python, and for code that was formatted anew.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from functools import lru_cache
from types import CodeType

_NOT_THE_NETWORKS = (
    "torch.", "einops.", "srdeploy.models.code_", "srdeploy.models.watch.",
    "srdeploy.pruning.tracing.",
)  # fmt: skip
"""Beginnings of modules that stand between a network's code and the call that it makes."""


def calling_place() -> str:
    """``forward 12``; ``forward 0`` where there is no source, the empty text without a caller.

    Comprehensions belong to the function around them.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        inner = code.co_name.startswith("<") and code.co_name != "<lambda>"
        if not inner and not f"{module}.".startswith(_NOT_THE_NETWORKS):
            name = "lambda" if code.co_name == "<lambda>" else code.co_name
            return f"{name} {_statement(code, frame.f_lineno)}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def _statement(code: CodeType, line: int) -> int:
    spans = _statements(code)
    own = line - code.co_firstlineno + 1
    holding = [(last - first, -number) for number, (first, last) in enumerate(spans, 1)
               if first <= own <= last]  # fmt: skip
    return -min(holding)[1] if holding else 0


@lru_cache(maxsize=4096)
def _statements(code: CodeType) -> list[tuple[int, int]]:
    """First and last line of every statement of a function, in the order of the source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset))
    return [(node.lineno, node.end_lineno or node.lineno) for node in nodes]
