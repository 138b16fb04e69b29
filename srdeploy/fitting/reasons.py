"""Why each width was chosen, in words: what the next one would have cost."""

from __future__ import annotations

from collections.abc import Mapping

from srdeploy.fitting.choose import Chooser
from srdeploy.fitting.samples import kept_counts
from srdeploy.pruning.tracing.groups import Group
from srdeploy.pruning.tracing.residual_blocks import ResidualBlock


def reasons(chooser: Chooser, removed: Mapping[str, int]) -> dict[str, str]:
    """A sentence for each group that could have lost channels, by its first layer, and each block.

    Args:
        chooser: What chose.
        removed: What was chosen.
    """
    lost = {
        layer
        for block in chooser.subject.blocks if removed.get(block.name)
        for layer in block.layers
    }  # fmt: skip
    told = {block.name: _of_block(chooser, block, removed) for block in chooser.subject.blocks}
    return told | {
        group.layers[0]: "gone with its block"
        if lost.issuperset(group.layers)
        else _reason(chooser, group, removed)
        for group in chooser.subject.groups
    }


def _of_block(chooser: Chooser, block: ResidualBlock, removed: Mapping[str, int]) -> str:
    outer = [b.name for b in chooser.subject.blocks if block.name in b.inside]
    if any(removed.get(name) for name in outer):
        return "gone with what is around it"
    if removed.get(block.name):
        other = {**removed, block.name: 0}
        return f"the whole block is gone; with it one would {_change(chooser, removed, other)}"
    other = {**removed, **dict.fromkeys(block.inside, 0), block.name: 1}
    return f"the block stays; without it one would {_change(chooser, removed, other)}"


def _reason(chooser: Chooser, group: Group, removed: Mapping[str, int]) -> str:
    total = len(group.atoms)
    kept = total - removed.get(group.name, 0)
    told = f"{kept * group.block} of {total * group.block} channels"
    if group.name not in chooser.worth.removals:
        return f"{told}: no layer of known form reads them, so they go by the common ratio"
    widths = kept_counts(group, chooser.block)
    wider = next((w for w in widths if w > kept), None)
    narrower = next((w for w in reversed(widths) if w < kept), None)
    parts = []
    if wider is not None:
        parts.append(f"{wider * group.block} would {_step(chooser, group, removed, wider)}")
    if narrower is not None:
        parts.append(f"{narrower * group.block} would {_step(chooser, group, removed, narrower)}")
    return f"{told}: {'; '.join(parts)}" if parts else f"{told}: the device's block, and the least"


def _step(chooser: Chooser, group: Group, removed: Mapping[str, int], kept: int) -> str:
    return _change(chooser, removed, {**removed, group.name: len(group.atoms) - kept})


def _change(chooser: Chooser, removed: Mapping[str, int], other: Mapping[str, int]) -> str:
    """What another choice would take or save, and for which error."""
    ms = chooser.predict(other) - chooser.predict(removed)
    now, then = chooser.error(removed), chooser.error(other)
    takes = f"take {ms:.3g} ms more" if ms >= 0 else f"save {-ms:.3g} ms"
    if now <= 0:
        return f"{takes} and bring an error"
    return f"{takes}, for {abs(then / now - 1):.0%} {'more' if then >= now else 'less'} error"
