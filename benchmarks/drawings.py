"""Drawings that anybody may have: outlined shapes, flat colours, shades, strands and hatching.

Networks for animation are judged on pictures such as they were trained on, and there are none of
those under a licence that lets them be shipped. These are made by chance, the same for a seed.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FINER = 3
"""They are drawn so many times larger and averaged, for edges without steps."""

_Colour = tuple[int, int, int]
_Point = tuple[float, float]


def write_drawings(folder: Path, seeds: range, side: int = 512) -> None:
    """Write a square PNG for each seed that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = folder / f"drawing{seed:03}.png"
        if not path.exists():
            drawing(seed, side).save(path)


def drawing(seed: int, side: int) -> Image.Image:
    """One drawing, RGB, ``side`` pixels in both directions."""
    chance = random.Random(seed)
    large = side * FINER
    picture = _shade(_colour(chance), _colour(chance), large, chance)
    for _ in range(chance.randint(10, 18)):
        outline = _blob(chance, large)
        mask = Image.new("L", (large, large))
        ImageDraw.Draw(mask).polygon(outline, fill=255)
        fill = _colour(chance)
        other = fill if chance.random() < 0.6 else _colour(chance)
        picture.paste(_shade(fill, other, large, chance), (0, 0), mask)
        pen = ImageDraw.Draw(picture)
        ink = (*(chance.randint(0, 60) for _ in range(3)),)
        width = chance.randint(2, 8) * FINER // 2
        pen.line([*outline, outline[0]], fill=ink, width=width, joint="curve")
        if chance.random() < 0.5:
            _strands(pen, chance, large, ink)
    return picture.resize((side, side), Image.Resampling.BOX)


def _colour(chance: random.Random) -> _Colour:
    return chance.randint(20, 255), chance.randint(20, 255), chance.randint(20, 255)


def _shade(one: _Colour, other: _Colour, side: int, chance: random.Random) -> Image.Image:
    """From one colour to another along some direction; in two steps where chance wants it."""
    angle = chance.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:side, 0:side] / side
    share = np.clip(0.5 + (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle), 0, 1)
    if chance.random() < 0.5:  # as cels are shaded
        share = (share > chance.uniform(0.3, 0.7)).astype(float)
    mixed = share[..., None] * np.array(other) + (1 - share[..., None]) * np.array(one)
    return Image.fromarray(mixed.astype(np.uint8))


def _blob(chance: random.Random, side: int) -> list[_Point]:
    """A closed outline: an ellipse with waves, or with corners."""
    middle = chance.uniform(0, side), chance.uniform(0, side)
    reach = [chance.uniform(0.05, 0.3) * side for _ in range(2)]
    waves, depth, turn = chance.randint(2, 7), chance.uniform(0, 0.35), chance.uniform(0, 6.3)
    count = chance.choice([3, 4, 5, 120, 120, 120])
    points = []
    for step in range(count):
        angle = 2 * math.pi * step / count
        far = 1 + depth * math.sin(waves * angle + turn)
        points.append(
            (
                middle[0] + far * reach[0] * math.cos(angle + turn),
                middle[1] + far * reach[1] * math.sin(angle + turn),
            )
        )
    return points


def _strands(pen: ImageDraw.ImageDraw, chance: random.Random, side: int, ink: _Colour) -> None:
    """Thin lines beside each other, bent or straight."""
    start = np.array([chance.uniform(0, side), chance.uniform(0, side)])
    way = np.array([chance.uniform(-0.3, 0.3), chance.uniform(-0.3, 0.3)]) * side
    bend = np.array([chance.uniform(-0.2, 0.2), chance.uniform(-0.2, 0.2)]) * side
    gap = np.array([-way[1], way[0]]) / (np.hypot(*way) + 1) * chance.uniform(4, 14) * FINER
    t = np.linspace(0, 1, 30)[:, None]
    for number in range(chance.randint(4, 14)):
        curve = start + number * gap + t * way + t * (1 - t) * bend
        pen.line([tuple(p) for p in curve], fill=ink, width=chance.randint(1, 3) * FINER // 2)
