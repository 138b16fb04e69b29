"""CoreML packages as sessions: what all share, and Apple's own runtime (macOS).

torch is never imported here, so that a measured process holds the runtime and little else.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError, UserError
from srdeploy.runtime.coreml.package import Package, read_package
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.util.quiet import quiet

ComputeUnits = Literal["ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"]


class PackageSession(Session):
    """A package with its ends adapted to ours: images to tensors, batches one by one.

    A package with image ends takes and gives 8-bit pixels, so what enters is rounded to them.

    Attributes:
        package: What was read.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self.package = read_package(path)
        super().__init__(self.package.card, threads)

    @property
    def sizes(self) -> InputSizes | None:
        """See :class:`Session`."""
        return self.package.input.sizes

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        self._check_size(*x.shape[2:])
        return np.concatenate([self._one(x[i : i + 1]) for i in range(len(x))])

    def _one(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        per_level = np.float32(self.card.value_range / 255)
        if self.package.input.image:
            x = np.clip(np.rint(x / per_level), 0, 255)
        y = self._predict(np.ascontiguousarray(x))
        if self.package.output.image:
            y = np.clip(np.rint(y), 0, 255) * per_level
        return y.astype(np.float32, copy=False)

    @abstractmethod
    def _predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """One input to one output; of images, the pixels 0..255 as numbers."""

    def _check_size(self, height: int, width: int) -> None:
        sizes = self.package.input.sizes
        if sizes is not None and not sizes.allows(height, width):
            raise UserError(
                f"'{self.package.path.name}' takes {sizes} only, not {width}x{height}; export it "
                "with an --input that includes this."
            )


class CoremlSession(PackageSession):
    """A package in Core ML."""

    runtime: ClassVar[str] = "coreml"

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        compute_units: ComputeUnits = "ALL",
    ) -> None:
        """Compile and load a package.

        Args:
            path: The package.
            threads: Recorded; Core ML decides for itself.
            compute_units: What Core ML may use.

        Raises:
            UserError: as :func:`read_package`, this is no Mac, or Core ML refuses the package.
        """
        super().__init__(path, threads)
        if sys.platform != "darwin":
            raise UserError(
                "Core ML runs on macOS only; leave the runtime out to let srdeploy's interpreter "
                "compute the results."
            )
        with quiet():
            import coremltools as ct

            units = ct.ComputeUnit[compute_units]
            try:
                self._model: Any = ct.models.MLModel(str(path), compute_units=units)
            except Exception as error:
                detail = " ".join(str(error).split())[:200]
                raise UserError(f"Core ML cannot load '{path}' ({detail}).") from error

    def close(self) -> None:
        """Let the model go."""
        self._model = None

    def _predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        package = self.package
        try:
            given = _to_image(x) if package.input.image else x
            found = self._model.predict({package.input.name: given})[package.output.name]
        except Exception as error:
            detail = " ".join(str(error).split())[:200]
            raise SrdeployError(f"Core ML fails on '{package.path.name}' ({detail}).") from error
        return _from_image(found, package) if package.output.image else np.asarray(found)


def _to_image(x: NDArray[np.float32]) -> Any:
    from PIL import Image

    pixels = x[0].transpose(1, 2, 0).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _from_image(image: Any, package: Package) -> NDArray[np.float32]:
    grey = package.output.channels == 1
    pixels = np.asarray(image.convert("L" if grey else "RGB"), np.float32)
    return pixels[None, None] if grey else pixels.transpose(2, 0, 1)[None]
