"""A network fitted to a device, as an axis of a recipe in place of pruning by a ratio."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, WithJsonSchema

from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import UserError
from srdeploy.fitting.budgets import budgets_ms
from srdeploy.fitting.result import FILE, FitOptions
from srdeploy.line.digest import benchmark_folder, training_folder
from srdeploy.line.stage import Stage
from srdeploy.reporting.run_folder import NETWORKS, file_name
from srdeploy.runtime.sizes import parse_size
from srdeploy.util.files import atomic_path, discard
from srdeploy.util.strict import Strict, expand, expand_variables

if TYPE_CHECKING:
    from srdeploy.line.networks import Networks

ARTIFACT = "fitted.onnx"
"""What was measured on the device, in the fit's folder and afterwards in the stage's."""

FOLDER = "fit"
"""Where the fit itself lies in the stage's folder: the same run goes on from there."""


def _size(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except ValueError as error:
        raise ValueError("it is no size; write WIDTHxHEIGHT, e.g. 480x270") from error


class Fit(Strict):
    """A fit to a device; `srdeploy fit` has the same options.

    Attributes:
        device: What `srdeploy fit --device` takes, one; ``$VARIABLES`` are expanded.
        input: LR size that the budget is for, ``480x270``.
        budget: What one image may take: ``33ms``.
        fps: The same in images per second, in its place.
        precision: What may be computed in; default: what the device's runtimes are good at.
        runtime: What may run it; default: what is there.
        pixel_shuffle: How PixelShuffle may be written; ``auto``: as it is fastest.
        min_psnr: PSNR that the artifact must have, dB.
        max_mb: Peak memory that it may need, MB.
        max_mj: Energy that an image may take, mJ.
        threads: CPU threads; default: all.
        tile: Images are cut into tiles of so many LR pixels.
        calibration: Images that pruning is fitted to.
        network_wise: Steps of Adam towards the dense network's output.
        recover: Minutes of fine-tuning, or a training recipe's file; a `train` of the recipe comes
            after it.
        train_data: Images for that.
        exclude: Patterns of layers whose channels stay.
    """

    device: str = "local"
    input: Annotated[tuple[int, int], BeforeValidator(_size), WithJsonSchema({"type": "string"})]
    budget: str | None = None
    fps: PositiveFloat | None = None
    precision: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()
    pixel_shuffle: tuple[str, ...] = ("auto",)
    min_psnr: float | None = None
    max_mb: PositiveFloat | None = None
    max_mj: PositiveFloat | None = None
    threads: PositiveInt | None = None
    tile: PositiveInt | None = None
    calibration: str = BUILTIN
    network_wise: Annotated[int, Field(ge=0)] | None = None
    recover: str | float = 0
    train_data: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def recipe(self) -> str | None:
        """The file of the training recipe of ``recover``, if it names one."""
        from srdeploy.fitting.recover import minutes_of

        return None if minutes_of(self._recovery) is not None else self._recovery

    @property
    def _recovery(self) -> str:
        return self.recover if isinstance(self.recover, str) else f"{self.recover:g}"

    def options(self, data: str) -> FitOptions:
        """What the fit is asked.

        Args:
            data: Benchmark set.

        Raises:
            UserError: no budget, or none that is one.
        """
        names = {
            "runtime": "runtimes", "precision": "precisions", "pixel_shuffle": "pixel_shuffles",
        }  # fmt: skip
        own = {"device", "input", "budget", "calibration", "train_data", "recover"}
        same = {names.get(k, k): v for k, v in self.model_dump(exclude=own).items()}
        return FitOptions(
            device=expand_variables(self.device),
            size=self.input,
            budgets_ms=budgets_ms([self.budget] if self.budget else [], self.fps),
            data=data if data == BUILTIN else str(benchmark_folder(data)),
            calibration=_images(self.calibration),
            train_data=tuple(map(_images, self.train_data)),
            recover=str(expand(self._recovery)) if self.recipe else self._recovery,
            **same,
        )


def _images(text: str) -> str:
    return text if text == BUILTIN else str(training_folder(text))


def fit_stage(networks: Networks, asked: Fit) -> Stage:
    """The stage that fits the network, in place of the one that prunes it.

    Args:
        networks: Of the run.
        asked: What the recipe says.

    Raises:
        UserError: no budget, or none that is one.
    """
    line = networks.line
    options = asked.options(line.data)

    def check() -> None:
        from srdeploy.devices.open import open_device
        from srdeploy.fitting.recover import check_recovery
        from srdeploy.line.code import require_device

        require_device("fit", options.device, networks.allow_code)
        open_device(options.device)
        check_recovery(options.recover)

    def work(folder: Path) -> dict[str, Any]:
        from srdeploy.fitting.places import latency_store
        from srdeploy.fitting.run import fit

        dense = networks.load("dense")
        name = Path(line.model.file).name
        (found,) = fit(dense, name, options, folder / FOLDER, latency_store())
        moved = {"artifact": ARTIFACT, "weights": file_name("pruned")}
        for key, file in moved.items():  # copied: a run that stops here goes on from the fit
            with atomic_path(folder / file) as temporary:
                shutil.copyfile(folder / FOLDER / getattr(found, key), temporary)
        found.model_copy(update=moved).write(folder)
        discard(folder / FOLDER, folder)
        told = found.model_dump(
            mode="json",
            include={
                "budget_ms", "p50_ms", "met", "shortfall", "psnr", "precision", "runtime", "blocks",
            },
        )  # fmt: skip
        return {"fit": told}

    height, width = options.size
    (budget,) = options.budgets_ms
    files = {"calibration", "train_data"}
    return Stage(
        name=NETWORKS["pruned"],
        what=f"fit to {budget:g} ms at {width}x{height} on {asked.device}",
        how={
            "fit": asked.model_dump(mode="json", exclude=files, exclude_defaults=True),
            "data": Path(line.data).name,
        },
        inputs=_inputs(asked, line.data),
        parents=(NETWORKS["dense"],),
        outputs=(FILE, ARTIFACT, file_name("pruned")),
        work=work,
        check=check,
    )


def _inputs(asked: Fit, data: str) -> Mapping[str, Callable[[], Path]]:
    found: dict[str, Callable[[], Path]] = {"benchmark": partial(benchmark_folder, data)}
    for folder in (asked.calibration, *asked.train_data):
        found[f"images {folder}"] = partial(training_folder, folder)
    if asked.recipe is not None:
        found["recovery"] = partial(expand, asked.recipe)
    return found


def check_fit(asked: Fit, where: str) -> None:
    """See that a recipe's fit says what it must.

    Raises:
        UserError: neither ``budget`` nor ``fps``, or both.
    """
    try:
        budgets_ms([asked.budget] if asked.budget else [], asked.fps)
    except UserError as error:
        told = str(error).replace("--budget 33ms", "budget: 33ms").replace("--fps 30", "fps: 30")
        raise UserError(f"{where}: {told}") from error
