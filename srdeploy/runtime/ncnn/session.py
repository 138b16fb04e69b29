"""ncnn networks on the CPU and, through Vulkan, on any GPU. torch is never imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime.fitting import nearest
from srdeploy.runtime.ncnn.gpus import KINDS, NO_DEVICE, gpu_told
from srdeploy.runtime.ncnn.pair import Pair, read_pair
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.table import RUNTIMES
from srdeploy.util.quiet import hushed

FOREIGN_ARCH = "ncnn"
"""Architecture on the card of files that brought none."""

RANGE = 1.0
"""What pixels run to in the applications that these files are made for."""

_PROBE = (24, 40)  # height and width
_SCALES = range(1, 17)
_AS_IT_IS = 1  # of ``extract``: the tensor in the precision in which it was computed


class NcnnSession(Session):
    """One pair of files on the CPU, loaded and ready; any input size."""

    runtime: ClassVar[str] = "ncnn"
    vulkan: ClassVar[bool] = False

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        value_range: float | None = None,
        scale: int | None = None,
    ) -> None:
        """Load a network.

        Args:
            path: The ``.param`` file; the ``.bin`` file lies beside it.
            threads: CPU threads; default as in :func:`default_threads`.
            value_range: 1 or 255, for files without a card; default: :data:`RANGE`.
            scale: For files without a card whose output is as large as their input.

        Raises:
            UserError: ncnn is missing, or has no Vulkan device; or the files are missing, damaged,
                or of a network that ncnn cannot run.
        """
        self.path = Path(path)
        if not (found := RUNTIMES[self.runtime].availability()):
            raise UserError(f"Running '{path}' needs {self.runtime}: {found.reason}.")
        pair = read_pair(self.path)
        self._pair = pair
        stand_in = pair.card or _unknown(pair, value_range)
        super().__init__(stand_in, threads)
        self._net: Any = self._load(pair)
        if self.vulkan:
            told = gpu_told(self._device.device_name(), KINDS[self._device.type()])
            self.notes += (f"Vulkan device: {told}",)
        if pair.card is None:
            self.card = self._found_out(stand_in, scale)
            if value_range is None:
                self.notes += (
                    f"'{self.path.name}' has no card: it is fed pixels in 0..{RANGE:g}, as ncnn's "
                    "applications do; else give --value-range 255",
                )
        self.precision = self._read_back()

    @property
    def sizes(self) -> InputSizes | None:
        """See :class:`Session`."""
        return self._pair.sizes

    def close(self) -> None:
        """Give the memory back."""
        self._net = None

    def _load(self, pair: Pair) -> Any:
        with hushed():
            import ncnn

            net = ncnn.Net()
            net.opt.num_threads = self.threads
            net.opt.use_vulkan_compute = self.vulkan
            half = pair.precision != "fp32"
            net.opt.use_fp16_packed = net.opt.use_fp16_storage = half
            net.opt.use_fp16_arithmetic = half
            net.opt.use_bf16_storage = False
            if self.vulkan:
                if not ncnn.get_gpu_count():
                    raise UserError(NO_DEVICE)
                net.set_vulkan_device(number := ncnn.get_default_gpu_index())
                self._device = ncnn.get_gpu_info(number)
            if net.load_param(str(pair.param)) or net.load_model(str(pair.weights)):
                raise UserError(
                    f"ncnn cannot load '{pair.param}': it has a layer that this version does not "
                    "know, or its weights do not fit; convert the network again."
                )
        return net

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = x.shape[2:]
        if self.sizes is not None and not self.sizes.allows(height, width):
            raise UserError(
                f"'{self.path.name}' takes {self.sizes} only, not {width}x{height}; give an image "
                "of that size, or upscale with srdeploy, which cuts images to it."
            )
        return np.stack([self._one(image) for image in x])

    def _one(self, image: NDArray[np.float32], tensor: str = "", kind: int = 0) -> Any:
        import ncnn

        extractor = self._net.create_extractor()
        extractor.set_light_mode(not kind)  # else tensors are freed as soon as they were read
        failed = extractor.input(self._pair.input, ncnn.Mat(image).clone())
        code, found = extractor.extract(tensor or self._pair.output, kind)
        if failed or code or found.empty():
            raise UserError(
                f"'{self.path.name}' failed on an input of shape {list(image.shape)}: ncnn ran out "
                "of memory, or the network cannot take this size; try another size."
            )
        if kind:
            return found.elembits()
        made = np.array(found, np.float32)  # a copy: ncnn's own must be gone before the network is
        return made.reshape(-1, *made.shape[-2:])

    def _found_out(self, card: Card, scale: int | None) -> Card:
        """The card of a stranger's network, with the scale that a run shows."""
        height, width = _PROBE
        made = self._one(np.zeros((card.channels, height, width), np.float32))
        factor = made.shape[1] // height
        if made.shape != (card.channels, height * factor, width * factor) or (
            factor not in _SCALES
        ):
            raise UserError(
                f"'{self.path}' makes {list(made.shape)} of {[card.channels, height, width]}, "
                "which is no upscaled image."
            )
        if factor == 1 and scale is not None:
            change = {"scale": scale, "pre_upscaled": True}
        else:
            change = {"scale": factor}
        return Card(**{**card.model_dump(), **change, "scales": (change["scale"],)})

    def _read_back(self) -> str | None:
        """What the first convolution really put out."""
        first = next((n for n in self._pair.structure.layers if n.kind.startswith("Conv")), None)
        if first is None:
            return None
        multiple = self.card.size_multiple
        side = -(-16 // multiple) * multiple
        size = (side, side) if self.sizes is None else nearest(self.sizes, side, side)
        image = np.zeros((self.card.channels, *size), np.float32)
        bits = self._one(image, first.outputs[0], _AS_IT_IS)
        if self._pair.structure.in_8_bits:
            return "int8"
        if self.vulkan and self._pair.precision != "fp32":
            return None  # on its way from the GPU it became float32
        return {32: "fp32", 16: "fp16"}.get(bits)


class NcnnVulkanSession(NcnnSession):
    """The same on a GPU, or on a software device; a run returns when its result is here."""

    runtime: ClassVar[str] = "ncnn-vulkan"
    vulkan: ClassVar[bool] = True


def _unknown(pair: Pair, value_range: float | None) -> Card:
    channels = pair.structure.channels
    if channels not in (1, 3):
        raise UserError(
            f"'{pair.param}' has no card, and its first convolution does not tell how many "
            "channels its image has; only networks of 1 and of 3 are run."
        )
    return Card(
        arch=FOREIGN_ARCH,
        scale=1,
        scales=(1,),
        channels=channels,
        value_range=value_range or RANGE,
        luma_only=channels == 1,
    )
