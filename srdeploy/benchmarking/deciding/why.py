"""Why is B not as much faster than A as its arithmetic promises? Layer by layer, with reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import ceil, floor
from typing import Any

from srdeploy.benchmarking.measuring.profile import LayerTime, Profile

KINDS = ("pays", "blocks", "memory", "unchanged", "float", "overhead")
"""What a layer's time follows, see :func:`judge`."""

_SHORT_MS = 0.05
"""Below this a layer's time is mostly that of starting it on all threads."""


@dataclass(frozen=True)
class LayerPair:
    """One layer in both files.

    Attributes:
        before: In the first file.
        after: In the second.
        kind: One of :data:`KINDS`.
        lost_ms: Time beyond what the MACs promise: the first's time over the ratio of MACs.
    """

    before: LayerTime
    after: LayerTime
    kind: str
    lost_ms: float

    @property
    def macs_ratio(self) -> float:
        """MACs of the first over those of the second."""
        return self.before.macs / self.after.macs

    @property
    def time_ratio(self) -> float:
        """Times faster."""
        return self.before.ms / max(self.after.ms, 1e-6)

    @property
    def bytes_ratio(self) -> float:
        """Bytes moved by the first over those moved by the second."""
        return self.before.bytes / max(self.after.bytes, 1)


@dataclass(frozen=True)
class Why:
    """The verdict.

    Attributes:
        speedup: Total time of the first over that of the second, in the profiler.
        macs_ratio: MACs of the first over those of the second.
        block: Channels that the runtime computes at a time.
        pairs: Layers that both have.
        others: Milliseconds in both of all that is no convolution, by operator.
        verdicts: One sentence per reason, the costliest first.
        advice: Widths that would pay, and what to ask `prune` for.
        round_to: For ``--round-to``; None where widths are not the matter.
    """

    speedup: float
    macs_ratio: float
    block: int
    pairs: list[LayerPair]
    others: dict[str, tuple[float, float]]
    verdicts: list[str]
    advice: list[str]
    round_to: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON, ratios included."""
        document = asdict(self)
        for row, pair in zip(document["pairs"], self.pairs, strict=True):
            row |= {
                "macs_ratio": pair.macs_ratio,
                "time_ratio": pair.time_ratio,
                "bytes_ratio": pair.bytes_ratio,
                "aligned": aligned(pair.after, self.block),
            }
        return document


def aligned(layer: LayerTime, block: int) -> bool:
    """Whether a layer's widths fill the runtime's blocks (an image's 1 or 3 channels aside)."""
    return all(width % block == 0 or width <= 4 for width in (layer.inputs, layer.outputs))


def padded_macs(layer: LayerTime, block: int) -> float:
    """MACs with both widths filled up to blocks, as a blocked runtime computes them."""
    inputs, outputs = (
        width if width <= 4 else ceil(width / block) * block
        for width in (layer.inputs, layer.outputs)
    )
    return layer.macs * inputs * outputs / (layer.inputs * layer.outputs)


def judge(before: LayerTime, after: LayerTime, block: int, peak: tuple[float, float]) -> str:
    """What a layer's time follows.

    * ``unchanged``: it has the widths and operator it had.
    * ``float``: the second file computes in 8 bits elsewhere, but not here.
    * ``pays``: at least 0.85 of the ratio of MACs arrived.
    * ``blocks``: filled up to blocks, the MACs shrank by less: padding is computed.
    * ``memory``: it moves bytes at half the best rate seen or more, and computes at less than
      half the best rate: the tensors, not the arithmetic, take the time.
    * ``overhead``: none of these; short layers mostly.

    Args:
        before: The layer in the first file.
        after: In the second.
        block: Channels computed at a time.
        peak: Best rates seen in either file: MACs and bytes per ms.
    """
    promised, came = before.macs / after.macs, before.ms / max(after.ms, 1e-6)
    if promised < 1.02 and before.operator == after.operator:
        return "unchanged"
    if promised >= 1.02 and came >= 0.85 * promised:
        return "pays"
    if promised < 1.02:
        return "pays" if came >= 1.1 else "overhead"
    with_padding = padded_macs(before, block) / padded_macs(after, block)
    if promised / with_padding > 1.05:
        return "blocks"
    computing, moving = after.macs / max(after.ms, 1e-6), after.bytes / max(after.ms, 1e-6)
    if after.ms > _SHORT_MS and moving >= 0.5 * peak[1] and computing < 0.5 * peak[0]:
        return "memory"
    return "overhead"


def explain(first: Profile, second: Profile, block: int) -> Why:
    """Compare two profiles taken in turns.

    Args:
        first: The dense (or fp32) network's.
        second: The pruned (or int8) network's.
        block: Channels the runtime computes at a time.
    """
    by_name = {layer.layer: layer for layer in first.layers}
    both = [(by_name[layer.layer], layer) for layer in second.layers if layer.layer in by_name]
    seen = [layer for pair in both for layer in pair if layer.ms > 0]
    peak = (
        max((layer.macs / layer.ms for layer in seen), default=0.0),
        max((layer.bytes / layer.ms for layer in seen), default=0.0),
    )
    in_bits = any(layer.operator == "QLinearConv" for layer in second.layers)
    pairs = []
    for before, after in both:
        kind = judge(before, after, block, peak)
        if in_bits and after.operator != "QLinearConv":
            kind = "float"
        lost = max(0.0, after.ms - before.ms * after.macs / before.macs)
        pairs.append(LayerPair(before, after, kind, lost))
    others = {
        name: (first.others.get(name, 0.0), second.others.get(name, 0.0))
        for name in dict.fromkeys((*first.others, *second.others))
    }
    padded = [pair for pair in pairs if pair.kind == "blocks"]
    return Why(
        speedup=first.ms / max(second.ms, 1e-6),
        macs_ratio=first.macs / max(second.macs, 1),
        block=block,
        pairs=pairs,
        others=others,
        verdicts=_verdicts(pairs, others, second, block),
        advice=_advice(padded, block),
        round_to=block if padded else None,
    )


def _verdicts(
    pairs: list[LayerPair], others: dict[str, tuple[float, float]], second: Profile, block: int
) -> list[str]:
    total = max(second.ms, 1e-6)
    ranked: list[tuple[float, str]] = []

    def add(kind: str, sentence: str, whole: bool = False) -> None:
        concerned = [pair for pair in pairs if pair.kind == kind]
        if concerned:
            ms = sum(pair.after.ms if whole else pair.lost_ms for pair in concerned)
            told = f"{ms:.2f} ms ({ms / total:.0%}): {sentence} ({_names(concerned)})"
            ranked.append((ms, told))

    add("blocks", f"the runtime computes blocks of {block} channels, and these widths fill none")
    add("memory", "reading and writing the tensors takes the time, not the arithmetic")
    add("overhead", "too little work per run, starting it on all threads costs as much")
    add("unchanged", "layers that are as they were", whole=True)
    add("float", "layers still computed in floats", whole=True)
    between = sum(after for _, after in others.values())
    before = sum(before for before, _ in others.values())
    if between > 0.05 * total:
        named = ", ".join(sorted(others, key=lambda name: -others[name][1])[:4])
        ranked.append(
            (between, f"{between:.2f} ms ({between / total:.0%}): between the convolutions "
             f"({named}); it was {before:.2f} ms")
        )  # fmt: skip
    told = [sentence for _, sentence in sorted(ranked, key=lambda row: -row[0])]
    return told or ["the time follows the MACs in every layer"]


def _advice(padded: list[LayerPair], block: int) -> list[str]:
    """For every width that fills no block: the free one above, the paying one below."""
    told = []
    pruned = {p.after.outputs for p in padded if p.after.outputs != p.before.outputs}
    for width in sorted(width for width in pruned if width % block):
        above, below = ceil(width / block) * block, floor(width / block) * block
        less = f"; {below} would take {(above / below) ** 2:.2f} times less" if below else ""
        told.append(f"{width} channels cost what {above} cost{less}")
    if told:
        told.append(f"prune with --round-to {block} (or --round-to auto)")
    return told


def _names(pairs: Iterable[LayerPair]) -> str:
    names = [pair.after.layer for pair in pairs]
    return (
        ", ".join(names) if len(names) <= 3 else f"{names[0]} ... {names[-1]}, {len(names)} layers"
    )
