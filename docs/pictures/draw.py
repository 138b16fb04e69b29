"""Draws the pictures of docs/groups.md.

    python docs/pictures/draw.py [FOLDER]

Channels are small squares. An atom's channels are crossed out wherever they occur; the others stay.
Colours follow the reader's light or dark mode.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from pathlib import Path

STYLE = """
.paper { fill: #fbfaf7; stroke: #dcd8cf }
text { fill: #24292f; font: 14px system-ui, sans-serif }
.small { font-size: 12px; fill: #6a6f76 }
.middle { text-anchor: middle }
.layer { fill: #eef2f7; stroke: #8a94a3 }
.stays { fill: #4c83c3 }
.goes { fill: #f3d9d3; stroke: #c8452f; stroke-dasharray: 3 2 }
.cross { stroke: #c8452f; stroke-width: 1.6 }
.flow { stroke: #6a6f76; stroke-width: 1.5; fill: none; marker-end: url(#tip) }
.tip { fill: #6a6f76 }
.r { fill: #cf5c4e } .g { fill: #4d9a5b } .b { fill: #4c83c3 }
@media (prefers-color-scheme: dark) {
.paper { fill: #1d2127; stroke: #363c45 }
text { fill: #e6e8eb }
.small { fill: #a0a6ae }
.layer { fill: #2a313b; stroke: #6f7a89 }
.stays { fill: #6aa2e0 }
.goes { fill: #4a2a25; stroke: #f0806c }
.cross { stroke: #f0806c }
.flow { stroke: #a0a6ae } .tip { fill: #a0a6ae }
}
"""
SIDE, STEP = 14, 18  # of a channel's square, and from one to the next


class Drawing:
    """SVG elements on one sheet."""

    def __init__(self, width: int, height: int, about: str) -> None:
        self.elements = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-label="{about}">',
            f"<style>{STYLE}</style>",
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker>',
            f'<rect class="paper" x=".5" y=".5" width="{width - 1}" height="{height - 1}" '
            'rx="10"/>',
        ]

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Words, the baseline's start (or middle) at x, y."""
        self.elements.append(f'<text x="{x}" y="{y}" class="{kind}">{words}</text>')

    def layer(self, x: int, y: int, width: int, name: str, height: int = 30) -> None:
        """A layer's box with its name."""
        self.elements.append(
            f'<rect class="layer" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>'
        )
        self.text(x + width / 2, y + height / 2 + 5, name, "middle")

    def flow(self, *points: tuple[int, int]) -> None:
        """An arrow through points."""
        path = " ".join(f"{x} {y}" for x, y in points)
        self.elements.append(f'<path class="flow" d="M{path}"/>')

    def square(self, x: int, y: int, kind: str, side: int = SIDE) -> None:
        """One channel, crossed out where it goes."""
        self.elements.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{side}" height="{side}" rx="2"/>'
        )
        if kind == "goes":
            a, b = 3, side - 3
            self.elements.append(
                f'<path class="cross" d="M{x + a} {y + a} {x + b} {y + b}'
                f'M{x + b} {y + a} {x + a} {y + b}"/>'
            )

    def row(self, x: int, y: int, count: int, gone: Collection[int] = ()) -> None:
        """Channels side by side."""
        for n in range(count):
            self.square(x + n * STEP, y, "goes" if n in gone else "stays")

    def matrix(
        self, x: int, y: int, size: tuple[int, int], rows: Iterable[int], columns: Iterable[int]
    ) -> None:
        """A layer's weights: a row for each output channel, a column for each input channel."""
        rows, columns = set(rows), set(columns)
        for i in range(size[0]):
            for j in range(size[1]):
                gone = i in rows or j in columns
                self.square(x + j * STEP, y + i * STEP, "goes" if gone else "stays")

    def __str__(self) -> str:
        return "\n".join([*self.elements, "</svg>"]) + "\n"


def atom() -> Drawing:
    """One channel of a free layer: a row here is a column there."""
    d = Drawing(
        640, 210, "Removing one channel removes a row of one layer and a column of the next"
    )
    d.text(24, 34, "body.0.body.0")
    d.text(24, 52, "6 outputs from 4 inputs", "small")
    d.matrix(24, 66, (6, 4), {2}, ())
    d.flow((112, 118), (246, 118))
    d.text(179, 108, "ReLU", "small middle")
    d.row(126, 126, 6, {2})
    d.text(179, 160, "its 6 channels", "small middle")
    d.text(262, 34, "body.0.body.2")
    d.text(262, 52, "4 outputs from 6 inputs", "small")
    d.matrix(262, 66, (4, 6), (), {2})
    d.text(400, 92, "Row 2 of the one layer (and its bias)")
    d.text(400, 112, "and column 2 of the other")
    d.text(400, 132, "go together: one atom.")
    d.text(400, 160, "Six atoms, one group, nothing else", "small")
    d.text(400, 177, "reads them: the group is free.", "small")
    return d


def residual() -> Drawing:
    """What is added together keeps the same channels."""
    d = Drawing(720, 240, "Layers whose outputs are added together lose the same channels")
    d.text(24, 32, "head")
    d.layer(24, 44, 70, "conv")
    d.row(16, 86, 5, {1, 3})
    d.flow((94, 59), (190, 59))
    d.flow((130, 59), (130, 170), (520, 170), (520, 72))
    d.text(320, 162, "skip", "small middle")
    d.text(190, 32, "body.0.body.0")
    d.layer(190, 44, 70, "conv")
    d.row(180, 86, 6, {0, 1, 4})
    d.text(234, 124, "free: its own choice", "small middle")
    d.flow((260, 59), (350, 59))
    d.text(305, 50, "ReLU", "small middle")
    d.text(350, 32, "body.0.body.2")
    d.layer(350, 44, 70, "conv")
    d.row(342, 86, 5, {1, 3})
    d.flow((420, 59), (508, 59))
    d.elements.append('<circle class="layer" cx="520" cy="59" r="12"/>')
    d.text(520, 64, "+", "middle")
    d.flow((532, 59), (600, 59))
    d.layer(600, 44, 90, "next block")
    d.row(604, 86, 5, {1, 3})
    d.text(24, 202, "Channel 1 of the sum is channel 1 of head plus channel 1 of body.0.body.2:")
    d.text(24, 222, "it is gone only if both are. One group, coupled by the addition.", "small")
    return d


def concatenation() -> Drawing:
    """Concatenation moves channels; it couples nothing."""
    d = Drawing(720, 190, "After a concatenation, the second layer's channels have other numbers")
    d.layer(24, 30, 70, "a")
    d.row(120, 38, 4, {1})
    d.layer(24, 92, 70, "b")
    d.row(120, 100, 3, {2})
    d.flow((200, 45), (262, 66))
    d.flow((182, 107), (262, 82))
    d.layer(266, 58, 60, "cat")
    d.flow((326, 74), (350, 74))
    d.row(358, 67, 7, {1, 6})
    d.flow((490, 74), (530, 74))
    d.layer(534, 58, 70, "conv")
    for n in range(7):
        d.text(365 + n * STEP, 100, str(n), "small middle")
    d.text(24, 152, "Channel 2 of b is channel 6 of what conv reads: two groups, each free,")
    d.text(24, 172, "although one layer reads both.")
    return d


def shuffle() -> Drawing:
    """PixelShuffle ties channels in blocks."""
    d = Drawing(720, 200, "PixelShuffle makes one channel of every four")
    d.text(24, 32, "conv, 12 channels")
    d.row(24, 46, 12, {4, 5, 6, 7})
    for n in range(12):
        d.text(31 + n * STEP, 78, str(n), "small middle")
    d.flow((252, 53), (330, 53))
    d.text(291, 44, "PixelShuffle(2)", "small middle")
    for channel, gone in enumerate((False, True, False)):
        for n in range(4):
            x = 350 + channel * 84 + n % 2 * STEP
            d.square(x, 34 + n // 2 * STEP, "goes" if gone else "stays")
        d.text(366 + channel * 84, 90, f"channel {channel}", "small middle")
    d.text(24, 128, "Channels 4 to 7 are the four pixels of channel 1 after the shuffle.")
    d.text(24, 150, "They go together or not at all: an atom of four, a group in blocks of 4.")
    d.text(24, 178, "Where the shuffled image is the output, all of them stay.", "small")
    return d


DRAWINGS = {"atom": atom, "residual": residual, "concatenation": concatenation, "shuffle": shuffle}


def main(folder: Path) -> None:
    """Write all drawings."""
    for name, draw in DRAWINGS.items():
        (folder / f"groups-{name}.svg").write_text(str(draw()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
