"""The dispatch file (``.dispatch``): what is fastest for an image of some size and busyness.

``srdeploy bench sparse --dispatch`` measures it. It names artifacts beside it, sparse and dense
ones, and what they cost here: milliseconds as straight lines over pixels, one for masks that are
empty and one for full ones (of dense artifacts they are the same line). The density of an image's
masks is told by how busy the image is, before anything is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from srdeploy.errors import UserError
from srdeploy.models.card import Card, first_problem
from srdeploy.util.files import require_file
from srdeploy.util.strict import Name, Strict

SUFFIX = ".dispatch"
_MOST_BYTES = 1 << 16
_Ms = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
_EDGE = 16.0
"""Levels of 255 between neighbours from which on a pixel is as busy as any."""


class Line(Strict):
    """Milliseconds: ``fixed + slope * pixels``."""

    fixed: _Ms
    slope: _Ms

    def at(self, pixels: int) -> float:
        """For so many pixels of input."""
        return self.fixed + self.slope * pixels


class Choice(Strict):
    """One artifact.

    Attributes:
        form: What people call it: ``openvino bf16``.
        file: Beside the dispatch file.
        runtime: What runs it.
        empty: Cost with no pixel inside the masks,
        full: and with all.
    """

    form: Annotated[str, Field(max_length=60, pattern=r"^[\w ,-]+$")]
    file: Name
    runtime: Name
    empty: Line
    full: Line

    def cost(self, pixels: int, density: float) -> float:
        """Milliseconds that are expected."""
        return (1 - density) * self.empty.at(pixels) + density * self.full.at(pixels)


class Plan(Strict):
    """The file.

    Attributes:
        format: Version of this description.
        cpu: What it was measured on,
        threads: and with how many threads.
        base: Density of a smooth image's masks,
        rise: and what busyness adds to it.
        choices: The artifacts; those that skip pixels first.
    """

    format: Annotated[int, Field(ge=1, le=1)] = 1
    cpu: Annotated[str, Field(max_length=200)]
    threads: Annotated[int, Field(ge=1, le=1024)]
    base: Annotated[float, Field(allow_inf_nan=False)]
    rise: Annotated[float, Field(allow_inf_nan=False)]
    choices: Annotated[tuple[Choice, ...], Field(min_length=1, max_length=32)]

    def density(self, x: NDArray[np.float32], value_range: float) -> float:
        """What share of pixels will be inside the masks, about: 0..1."""
        return min(max(self.base + self.rise * busyness(x, value_range), 0.0), 1.0)

    def choose(self, pixels: int, density: float) -> Choice:
        """The artifact that takes the least time."""
        return min(self.choices, key=lambda one: one.cost(pixels, density))


def busyness(x: NDArray[np.float32], value_range: float) -> float:
    """How much neighbouring pixels differ, 0 (not at all) to 1.

    Args:
        x: ``float32 [N, C, H, W]`` in 0..value_range.
        value_range: Of pixel values.
    """
    grey = x.mean(1) * (255.0 / value_range)
    steps = [np.abs(np.diff(grey, axis=axis)) for axis in (1, 2)]
    return float(np.mean([np.minimum(s, _EDGE).mean() if s.size else 0.0 for s in steps])) / _EDGE


def read_plan(path: Path) -> Plan:
    """Read a dispatch file, and see that its artifacts are there.

    Raises:
        UserError: no such file, no dispatch file, or an artifact is missing.
    """
    require_file(path)
    with open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    try:
        if len(content) > _MOST_BYTES:
            raise ValueError("it is too long")
        plan = Plan.model_validate_json(content)
    except ValidationError as error:
        raise _none(path, first_problem(error)) from None
    except ValueError as error:
        raise _none(path, str(error)) from None
    for one in plan.choices:
        if Path(one.file).suffix == SUFFIX:
            raise _none(path, "it names another one")
        if not (path.parent / one.file).is_file():
            raise UserError(f"'{path}' needs '{one.file}' beside it, which is not there.")
    return plan


def _none(path: Path, reason: str) -> UserError:
    return UserError(
        f"'{path}' is no dispatch file ({reason}); write one with `srdeploy bench sparse FILE "
        "--dispatch`."
    )


def card_of_dispatch(path: Path) -> Card:
    """That of its artifacts."""
    from srdeploy.runtime.card_of import read_card_of

    return read_card_of(path.parent / read_plan(path).choices[0].file)
