"""The quality of a network on a benchmark set, as plain data: figures under a stated protocol."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, get_args

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from srdeploy.quality.metrics import METRICS, Colour, Metric, lost
from srdeploy.util.figures_json import figure
from srdeploy.util.strict import Strict

COLOURS: tuple[Colour, ...] = get_args(Colour)

ALWAYS = frozenset({"psnr", "ssim"})
"""Metrics that no result is without, in whatever version it was measured."""


def key_of(metric: str, colour: str) -> str:
    """What a figure is called where planes of both kinds may stand: ``psnr_y``, ``ssim_rgb``."""
    return f"{metric}_{colour}"


def is_key(key: str) -> bool:
    """Whether :func:`key_of` can have made it, of any metric, also of one unknown here."""
    return re.fullmatch(f"[a-z][a-z0-9]*_({'|'.join(COLOURS)})", key) is not None


class Quality(Strict):
    """Mean figures over a set, and those of each image.

    The figures are attributes, too: ``quality.psnr``, ``quality.ssim``; and with the planes named,
    ``quality.psnr_y``, which raises ValueError under a protocol that compares others.

    In JSON the figures stand beside the other keys: ``{"psnr": 37.65, "ssim": 0.959, "colour": ...,
    "per_image": [{"name": "bird", "psnr_y": 40.1, ...}]}``. PSNR is infinite where outputs equal
    the originals. Of older files, which have null in its place, it is known again: SSIM is a number
    there, and is none where an output was none.

    Attributes:
        figures: By metric, the mean over the images; :data:`ALWAYS` are always among them.
        colour: ``y`` or ``rgb``: the planes compared.
        protocol: The label that belongs beside the figures: ``psnr[y, crop=2, u8, matlab]``.
        n_images: How many.
        data: Name of the set; empty where it has none.
        bicubic: The PSNR that bicubic upscaling has on the same set under the same protocol: what a
            network has to beat. None where it was not measured.
        per_image: One dict per image: ``name``, and the figures under :func:`key_of`.
    """

    figures: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9]*$")], float]
    colour: Colour
    protocol: str
    n_images: int
    data: str = ""
    bicubic: float | None = None
    per_image: list[dict[str, Any]] = []

    @property
    def psnr(self) -> float:
        """Mean PSNR in dB."""
        return self.figures["psnr"]

    if TYPE_CHECKING:  # of :data:`ALWAYS`, for type checkers

        @property
        def ssim(self) -> float:
            """Mean SSIM."""

        @property
        def psnr_y(self) -> float:
            """Mean PSNR; ValueError where no luma is compared."""

        @property
        def ssim_y(self) -> float:
            """Mean SSIM; ValueError where no luma is compared."""

    else:  # a misspelt attribute stays an error of the type checker

        def __getattr__(self, name: str) -> Any:
            figures = self.__dict__.get("figures", {})
            if name in figures:
                return figures[name]
            metric, _, colour = name.rpartition("_")
            if metric not in figures or colour not in COLOURS:
                return super().__getattr__(name)
            if colour != self.colour:
                planes = "luma" if colour == "y" else "colours"
                raise ValueError(f"{self.protocol} does not compare {planes}")
            return figures[metric]

    def __repr__(self) -> str:
        """The means alone."""
        means = "".join(f"{metric.name}={metric.exact(mean)}, " for metric, mean in self._means())
        return f"Quality({means}n_images={self.n_images}, protocol='{self.protocol}')"

    __str__ = __repr__

    def told(self, titles: bool = True) -> str:
        """The means in words: ``37.650 dB, SSIM 0.9592``; without titles ``37.650 dB, 0.9592``."""
        return ", ".join(metric.told(mean, titles) for metric, mean in self._means())

    def cells(self, image: dict[str, Any]) -> list[str]:
        """The figures of one of :attr:`per_image` with their units, in columns."""
        told = [(metric, image.get(key_of(name, self.colour))) for name, metric in METRICS.items()]
        return [metric.cell(value) for metric, value in told if value is not None]

    def as_dict(self) -> dict[str, Any]:
        """For JSON about one network; the figures' keys name the planes: ``psnr_y``, ``ssim_y``."""
        return {
            **{key_of(name, self.colour): mean for name, mean in self.figures.items()},
            "n_images": self.n_images,
            "protocol": self.protocol,
            "per_image": self.per_image,
        }

    def _means(self) -> list[tuple[Metric, float]]:
        """Those of metrics that are known here."""
        return [(METRICS[name], mean) for name, mean in self.figures.items() if name in METRICS]

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        return {**values.pop("figures", {}), **values}

    @model_validator(mode="before")
    @classmethod
    def _of_flat(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        if "figures" not in values:
            own["figures"] = _numbers({k: v for k, v in values.items() if k not in own})
        if isinstance(images := own.get("per_image"), list):
            own["per_image"] = [_numbers(one) for one in images]
        return {**values, **own} if "figures" in values else own

    @model_validator(mode="after")
    def _is_whole(self) -> Quality:
        if missing := ALWAYS - self.figures.keys():
            raise ValueError(f"there is no {' and no '.join(sorted(missing))}")
        return self


def with_infinity(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures of earlier files, which have null for an infinite PSNR: SSIM is a number there."""
    found = dict(figures)
    for key in figures:
        if key.startswith("psnr") and figures[key] is None:
            ssim = figure(figures.get(key.replace("psnr", "ssim")))
            found[key] = None if ssim is None or math.isnan(ssim) else math.inf
    return found


def _numbers(figures: Any) -> Any:
    """Figures of a set or an image as numbers, for what stands in JSON in their place."""
    if not isinstance(figures, dict):
        return figures
    found = with_infinity(figures)
    for key in found.keys() - {"name"}:
        if found[key] is None:
            found[key] = math.nan
        elif (number := figure(found[key])) is not None:
            found[key] = number
    return found


def psnr_lost(before: Quality, after: Quality) -> float:
    """Mean PSNR that is lost from one to the other on the same images, dB; a gain is negative.

    A picture that equals its original has infinite PSNR and would hide all others in a mean: such
    a set's loss is the mean of the images' own. NaN where that cannot be told.

    Args:
        before: Figures on a set;
        after: others on the same set.
    """
    if math.isfinite(before.psnr) and math.isfinite(after.psnr):
        return before.psnr - after.psnr
    key = key_of("psnr", before.colour)
    pairs = [
        (one.get(key, math.nan), other.get(key, math.nan))
        for one, other in zip(before.per_image, after.per_image, strict=False)
    ]
    if not pairs or len(before.per_image) != len(after.per_image):
        return lost(before.psnr, after.psnr)
    return float(np.mean([lost(*pair) for pair in pairs]))
