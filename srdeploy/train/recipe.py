"""The recipe of a training run: everything that decides its result, in one YAML file."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from srdeploy.models.calibration import DEFAULT_CALIBRATION
from srdeploy.models.quantised import Activations, Method
from srdeploy.util.strict import Strict, read_yaml

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class NetworkSpec(Strict):
    """A new network to train: an architecture's name and its options.

    ``start`` names a network (a file, or one that is shipped) whose tensors are taken over where
    name and shape agree; the rest begins at random. EDSR (CVPRW 2017, section 3.3) trains x3 and
    x4 so, from x2.
    """

    arch: str
    config: dict[str, Any] = {}
    start: str | None = None


class Folder(Strict):
    """A folder of images; written as a bare path when the weight is 1.

    ``path`` may hold ``~`` and ``$VARIABLES``; ``builtin`` names the images shipped with srdeploy.
    A pixel of a folder of weight 2 is drawn twice as often as one of a folder of weight 1.
    """

    path: str
    weight: Positive = 1.0

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class Data(Strict):
    """Where patches come from: image folders, or one HDF5 file of ready patches."""

    folders: tuple[Folder, ...] = ()
    hdf5: str | None = None
    augment: bool = True

    @model_validator(mode="after")
    def _one_source(self) -> "Data":
        if bool(self.folders) == bool(self.hdf5):
            raise ValueError("give either folders or hdf5")
        return self


class Adam(Strict):
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient, as torch's Adam does."""

    kind: Literal["adam"] = "adam"
    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Sgd(Strict):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    lr: Positive
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Constant(Strict):
    """The same learning rate throughout, after ``warmup`` iterations of linear growth."""

    kind: Literal["constant"] = "constant"
    warmup: Annotated[int, Field(ge=0)] = 0


class Step(Strict):
    """The learning rate times ``factor`` every ``every`` iterations, or at each milestone."""

    kind: Literal["step"]
    every: PositiveInt | None = None
    milestones: tuple[PositiveInt, ...] = ()
    factor: Positive = 0.5
    warmup: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_rule(self) -> "Step":
        if (self.every is None) == (not self.milestones):
            raise ValueError("give either every or milestones")
        return self


class Cosine(Strict):
    """Half a cosine from the end of the warm-up down to ``final`` times the learning rate."""

    kind: Literal["cosine"]
    final: Fraction = 0.0
    warmup: Annotated[int, Field(ge=0)] = 0


class Clip(Strict):
    """Gradient clipping: each ``value``, the total ``norm``, or VDSR's ``adjustable`` rule.

    The adjustable rule (VDSR, section 3.2) clips each value to ``limit / learning rate``, so that
    the largest *step* stays the same while the learning rate falls.
    """

    kind: Literal["none", "value", "norm", "adjustable"] = "none"
    limit: Positive | None = None

    @model_validator(mode="after")
    def _limited(self) -> "Clip":
        if (self.kind == "none") != (self.limit is None):
            raise ValueError("a limit belongs to every kind but 'none'")
        return self


HELD_OUT = "held-out"
"""As a set to measure: images of the training folders that are not trained on."""


class Validation(Strict):
    """Measure a benchmark set every so many iterations and at the end.

    ``data`` is a folder, ``builtin``, or ``held-out``: one image in ten of the training folders, 8
    at most, which are not trained on. Of these the middle is measured. ``keep: best`` makes the
    network of the highest PSNR the result, in fine-tuning the one to begin with among them, and
    ``last`` the one of the last iteration. What is chosen by a set is flattered by it: report on
    another one, or keep the last.
    """

    data: str
    every: PositiveInt
    scale: PositiveInt | None = None
    protocol: str | None = None
    keep: Literal["best", "last"] = "best"

    @property
    def what(self) -> str:
        """What is measured: two figures of one name can be compared."""
        scale = f"x{self.scale}" if self.scale else None
        return ", ".join(part for part in (self.data, scale, self.protocol) if part)


class Distillation(Strict):
    """Learning from a teacher, usually the network before pruning.

    The loss becomes ``(1 - output) * loss(target) + output * loss(teacher)``, plus ``features``
    times the mean distance of the attention maps of the layers that ``layers`` names in both.
    ``teacher`` is a network's file or name; without it, the network that was pruned, which only
    `srdeploy prune` knows.
    """

    teacher: str | None = None
    output: Fraction = 0.5
    features: Annotated[float, Field(ge=0)] = 0.0
    layers: tuple[str, ...] = ("body.*",)


class Quantise(Strict):
    """Learning under the rounding of 8 bits, so that `srdeploy export --precision int8` loses less.

    The intervals of the activations begin where ``method`` finds them on the images of
    ``calibration`` (default: the training images that come with srdeploy). Their ends are learned
    for the first ``learn`` of the run (0: never), with Adam at the rate ``lr``: about that share of
    themselves per iteration. ``activations: int8`` is the symmetric grid that TensorRT reads.
    """

    precision: Literal["int8"] = "int8"
    method: Method = DEFAULT_CALIBRATION
    calibration: str | None = None
    activations: Activations = "uint8"
    learn: Fraction = 0.5
    lr: Positive = 1e-3


class Sparsity(Strict):
    """How the masks of SMSR train (Wang et al., CVPR 2021, sections 3.1 and 3.3).

    ``weight`` times the computed fraction of the masked layers joins the loss (in units of 255 grey
    levels), growing from 0 over the first ``warmup`` iterations. Masks are Gumbel softmax samples
    whose temperature falls in a line from ``start`` to ``end`` over ``anneal`` iterations. Without
    this section masks are binary as in inference and have no gradient.
    """

    weight: Annotated[float, Field(ge=0)] = 0.1
    warmup: Annotated[int, Field(ge=0)] = 0
    start: Positive = 1.0
    end: Positive = 0.4
    anneal: Annotated[int, Field(ge=0)] = 0


class Checkpoints(Strict):
    """How often the run's state is saved; whichever comes first."""

    minutes: Positive | None = 5.0
    iterations: PositiveInt | None = None


class TrainRecipe(Strict):
    """A training or fine-tuning run.

    ``patch`` is the input's size for networks that upscale, so their output patch is ``scale``
    times larger; for networks fed with upscaled images (VDSR) it is the size of both. Several
    ``scales`` are for the latter only: each patch of a batch draws its own. ``batch`` is shared by
    all processes of a run; ``threads`` and ``workers`` are each process's own.

    ``reduction: sum`` adds the loss up over each patch instead of averaging (losses.py).
    ``compile`` has torch.compile make one program of the network: faster after a first minute, and
    equal to rounding, so it may be switched when a run is resumed.
    """

    network: NetworkSpec | None = None
    data: Data
    scales: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    patch: PositiveInt = 48
    batch: PositiveInt = 16
    iterations: PositiveInt
    loss: Literal["l1", "l2"] = "l1"
    reduction: Literal["mean", "sum"] | None = None
    optimiser: Annotated[Adam | Sgd, Field(discriminator="kind")] = Adam()
    schedule: Annotated[Constant | Step | Cosine, Field(discriminator="kind")] = Constant()
    clip: Clip = Clip()
    distill: Distillation | None = None
    sparsity: Sparsity | None = None
    quantise: Quantise | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt | None = None
    workers: Annotated[int, Field(ge=0)] = 1
    compile: bool = False
    log_every: PositiveInt = 100
    validation: Validation | None = None
    checkpoint: Checkpoints = Checkpoints()
    tensorboard: bool = False

    @model_validator(mode="after")
    def _can_hold_out(self) -> "TrainRecipe":
        if self.validation is not None and self.validation.data == HELD_OUT and self.data.hdf5:
            raise ValueError(
                "an HDF5 file has no images to hold out; name a set as validation.data"
            )
        return self

    @model_validator(mode="after")
    def _can_round(self) -> "TrainRecipe":
        if self.quantise is not None and (self.compile or self.precision == "fp16"):
            raise ValueError("quantise goes with precision fp32 or bf16, and without compile")
        return self

    def decisive(self) -> dict[str, Any]:
        """The settings that decide the weights, flattened to ``{"optimiser.lr": 1e-4, ...}``.

        How a run is watched, saved and spread over the machine is left out: those may change when
        it is resumed. What a validation keeps is told by the network's history.
        """
        machine = {"device", "threads", "workers", "compile"}
        watching = {"log_every", "validation", "checkpoint", "tensorboard"}
        # What is not set is left out, so that a new optional setting changes no old digest.
        values = self.model_dump(mode="json", exclude=machine | watching, exclude_none=True)
        return _flatten(values)

    def digest(self) -> str:
        """Hex SHA-256 of the decisive settings."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()


def read_recipe(path: str | Path, changes: Sequence[str] = ()) -> TrainRecipe:
    """Read a recipe from YAML; ``changes`` replace settings (``optimiser.lr=1e-3``).

    Raises:
        UserError: no such file, no YAML, an unknown key (the nearest match is named) or a value
            out of its range.
    """
    return read_yaml(TrainRecipe, path, changes)


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
