"""Why each width was chosen, in words: what the next one would have cost."""

from __future__ import annotations

from collections.abc import Mapping

from srdeploy.fitting.choose import Chooser
from srdeploy.fitting.samples import kept_counts
from srdeploy.pruning.tracing.groups import Group


def reasons(chooser: Chooser, removed: Mapping[str, int]) -> dict[str, str]:
    """A sentence for each group that could have lost channels, by its first layer.

    Args:
        chooser: What chose.
        removed: What was chosen.
    """
    return {group.layers[0]: _reason(chooser, group, removed) for group in chooser.subject.groups}


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
    other = {**removed, group.name: len(group.atoms) - kept}
    ms = chooser.predict(other) - chooser.predict(removed)
    now, then = chooser.error(removed), chooser.error(other)
    takes = f"take {ms:.3g} ms more" if ms >= 0 else f"save {-ms:.3g} ms"
    if now <= 0:
        return f"{takes} and bring an error"
    return f"{takes}, for {abs(then / now - 1):.0%} {'more' if then >= now else 'less'} error"
