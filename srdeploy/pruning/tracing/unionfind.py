"""Disjoint sets over integers, with the reasons for which sets were joined or frozen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Nodes = NDArray[np.int64]


class UnionFind:
    """Disjoint sets of nodes 1..n; node 0 means "no channel" and is never joined.

    Attributes:
        changes: How often something was joined that was apart, or frozen.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._parent = np.zeros(1, dtype=np.int64)
        self._size = 1
        self._joins: list[tuple[Nodes, str]] = []
        self._frozen: list[tuple[Nodes, str]] = []

    def new(self, count: int) -> Nodes:
        """``count`` fresh nodes, each its own set."""
        if self._size + count > len(self._parent):
            grown = np.arange(max(2 * len(self._parent), self._size + count), dtype=np.int64)
            grown[: self._size] = self._parent[: self._size]
            self._parent = grown
        nodes = np.arange(self._size, self._size + count, dtype=np.int64)
        self._parent[nodes] = nodes
        self._size += count
        return nodes

    def find(self, nodes: Nodes) -> Nodes:
        """The representative of each node's set (any shape; 0 stays 0)."""
        roots = self._parent[nodes]
        while not np.array_equal(above := self._parent[roots], roots):
            roots = above
        self._parent[nodes.ravel()] = roots.ravel()
        return roots

    def join(self, a: Nodes, b: Nodes, why: str | None = None) -> None:
        """Join the sets of ``a[i]`` and ``b[i]`` for every i where neither is 0."""
        a, b = np.broadcast_arrays(a, b)
        used = (a != 0) & (b != 0)
        if not used.any():
            return
        pairs = np.unique(self.find(a[used]) * self._size + self.find(b[used]))
        lefts, rights = np.divmod(pairs, self._size)
        self.changes += bool((lefts != rights).any())
        for left, right in zip(lefts.tolist(), rights.tolist(), strict=True):
            low, high = sorted((self._root(left), self._root(right)))
            self._parent[high] = low
        if why is not None:
            self._joins.append((lefts, why))

    def join_all(self, nodes: Nodes, why: str | None = None) -> None:
        """Join all (non-zero) nodes into one set."""
        unique = np.unique(nodes[nodes != 0])
        if len(unique) > 1:
            self.join(unique[:1], unique[1:], why)

    def freeze(self, nodes: Nodes, why: str) -> None:
        """Declare that the sets of these nodes can never be removed."""
        roots = np.unique(self.find(nodes[nodes != 0]))
        if len(roots):
            self.changes += 1
            self._frozen.append((roots, why))

    def frozen(self) -> dict[int, str]:
        """Representative to first reason, for every frozen set."""
        reasons: dict[int, str] = {}
        for nodes, why in self._frozen:
            for root in self.find(nodes).tolist():
                reasons.setdefault(root, why)
        return reasons

    def joins(self) -> dict[int, list[str]]:
        """Representative to the distinct reasons its members were joined, in order."""
        reasons: dict[int, dict[str, None]] = {}
        for nodes, why in self._joins:
            for root in set(self.find(nodes).tolist()):
                reasons.setdefault(root, {})[why] = None
        return {root: list(found) for root, found in reasons.items()}

    def _root(self, node: int) -> int:
        while (above := int(self._parent[node])) != node:
            node = above
        return node
