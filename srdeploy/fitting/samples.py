"""Networks of other widths, to measure as wholes: what corrects a sum, and what tries it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from srdeploy.fitting.grid import half_of
from srdeploy.pruning.tracing.groups import Group


def kept_counts(group: Group, block: int) -> list[int]:
    """Numbers of atoms of a group that fill blocks of channels, ascending; all of them is one."""
    half, unit = (max(n // math.gcd(n, group.block), 1) for n in (half_of(block) or block, block))
    total = len(group.atoms)
    return [*range(half, min(unit, total), unit), *range(unit, total, unit), total]


def sample_removals(
    groups: Sequence[Group], block: int, count: int, seed: int = 0
) -> list[dict[str, int]]:
    """How many atoms each group loses, in several networks.

    The first two are the whole network and the one of half the widths; of the others every group
    has a width of its own, drawn at random.

    Args:
        groups: Those that may lose channels.
        block: Channels that the device computes at a time.
        count: How many networks; fewer where there are not so many.
        seed: Other seeds give others, the first two aside.
    """
    drawn = random.Random(seed)
    found: list[dict[str, int]] = [{}]
    halves = {g.name: len(g.atoms) - kept_counts(g, block)[_middle(g, block)] for g in groups}
    for attempt in range(20 * count):
        if len(found) >= count:
            break
        lost = halves
        if attempt:
            lost = {g.name: len(g.atoms) - drawn.choice(kept_counts(g, block)) for g in groups}
        lost = {name: number for name, number in lost.items() if number}
        if lost not in found:
            found.append(lost)
    return found


def _middle(group: Group, block: int) -> int:
    return (len(kept_counts(group, block)) - 1) // 2
