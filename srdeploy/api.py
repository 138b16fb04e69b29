"""The line as functions: what ``import srdeploy as sr`` offers.

>>> import srdeploy as sr
>>> dense = sr.load("edsr-s-x2")
>>> small = sr.prune(dense, 0.5)
>>> small = sr.finetune(small, data="DIV2K/HR", iterations=20000, run_dir="runs/small")
>>> sr.export(small, "small.onnx")
>>> rows = sr.bench("edsr-s-x2", "small.onnx", data="Set5")
>>> sr.report(*rows, output="report.html")
>>> sr.upscale("small.onnx", "photo.jpg", "photo_x2.png")

A network is a :class:`Network`: a torch module and its card. Everything that takes an artifact
takes one, a file (ours, a foreign checkpoint, an exported artifact), or a shipped network's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from srdeploy.bench.row import Row
from srdeploy.bench.run import bench as _bench
from srdeploy.compact.run import PruneReport, prune_oneshot
from srdeploy.compact.surgery import compact
from srdeploy.data.picture import read_picture
from srdeploy.data.picture_write import write_picture
from srdeploy.errors import UserError
from srdeploy.export.report import ExportReport
from srdeploy.export.run import export as _export
from srdeploy.export.targets import TARGETS
from srdeploy.measure.scenario import Scenario
from srdeploy.models.load import load_network as load
from srdeploy.models.network import Network
from srdeploy.models.store import save_network as save
from srdeploy.prune.oneshot import default_exclude, plan_oneshot
from srdeploy.prune.options import PruneOptions
from srdeploy.prune.plan import Plan
from srdeploy.quality import Quality
from srdeploy.quality import evaluate as _evaluate
from srdeploy.report.page import ReportSummary, write_report
from srdeploy.runtime.open import open_session, scale_of
from srdeploy.train.defaults import finetune_recipe
from srdeploy.train.loop import train as _train
from srdeploy.train.method import prune_trained
from srdeploy.train.prune_defaults import prune_recipe
from srdeploy.upscaling.image import picture_of, upscale_picture

Artifact = Network | str | Path

__all__ = [
    "ExportReport",
    "Network",
    "Plan",
    "PruneReport",
    "Quality",
    "ReportSummary",
    "Row",
    "Scenario",
    "bench",
    "compact",
    "evaluate",
    "export",
    "finetune",
    "load",
    "plan",
    "prune",
    "report",
    "save",
    "upscale",
]


def plan(network: Artifact, ratio: float = 0.5, **options: Any) -> Plan:
    """Choose by one-shot scores which channels stay; :func:`compact` then removes the others.

    Args:
        network: What to prune.
        ratio: Fraction of channels to remove from each group, 0 <= ratio < 1.
        options: Of :class:`~srdeploy.prune.options.PruneOptions`: ``criterion``, ``layer_ratios``,
            ``exclude``, ``round_to``, ``seed``.

    Raises:
        UserError: options that fit no layer, or nothing to prune.
    """
    dense = _network(network)
    return plan_oneshot(dense, _oneshot_options(dense, ratio, options))


def prune(
    network: Artifact,
    ratio: float | None = None,
    *,
    method: str | None = None,
    recipe: str | Path | None = None,
    changes: Sequence[str] = (),
    data: str | Path | Sequence[str | Path] | None = None,
    iterations: int | None = None,
    run_dir: str | Path | None = None,
    **options: Any,
) -> Network:
    """Remove channels exactly; the methods that train also fine-tune.

    Args:
        network: Left as it is.
        ratio: Fraction of channels to remove from each group; default: the recipe's, else 0.5.
        method: ``l1`` (the default without a recipe), ``srp``, ``assl``, ``gassl``, ``guided`` or
            ``fade``.
        recipe: A pruning recipe, for the methods that train.
        changes: Settings of the recipe to replace (``prune.penalty.limit=10``).
        data: Training images, for the methods that train; default: the recipe's, else the few that
            are shipped.
        iterations: Of the recovery, for the methods that train.
        run_dir: Where those keep checkpoints (the same call resumes) and curves; obligatory.
        options: Of the method: ``criterion`` (l1), ``common_set`` (the others), ``layer_ratios``,
            ``exclude``, ``round_to``, ``seed``.

    Returns:
        The small network; what was done and the proof of equality are on its card.

    Raises:
        UserError: options that fit no layer or method, nothing to prune, or no ``run_dir``.
        SrdeployError: compaction would change the network's output.
    """
    dense = _network(network)
    if method == "l1" or (method is None and recipe is None):
        if recipe or changes or data or iterations is not None or run_dir:
            raise UserError("Recipes, data and run folders belong to the methods that train.")
        ratio = 0.5 if ratio is None else ratio
        return prune_oneshot(dense, _oneshot_options(dense, ratio, options))[0]
    if run_dir is None:
        raise UserError("Name a run_dir: a method that trains keeps its checkpoints there.")
    settings = prune_recipe(
        dense,
        method,
        Path(recipe) if recipe else None,
        changes,
        prune={"ratio": ratio, **options},
        training={"data": {"folders": _folders(data)} if data else None},
        finetune={"iterations": iterations},
    )
    return prune_trained(dense, settings, Path(run_dir))[0]


def finetune(
    network: Artifact,
    *,
    run_dir: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    recipe: str | Path | None = None,
    changes: Sequence[str] = (),
    watch: str | None = None,
    **settings: Any,
) -> Network:
    """Fine-tune a network, pruned or not; the same call resumes.

    Args:
        network: Left as it is.
        run_dir: Where checkpoints and curves go.
        data: Training images or an HDF5 file; default: the recipe's, else the few that are shipped.
        recipe: A training recipe.
        changes: Settings of the recipe to replace.
        watch: Benchmark set to measure along the way.
        settings: ``iterations``, ``batch``, ``patch`` (input pixels), ``lr``, ``precision``,
            ``quantise``, ``seed``, ``threads``.

    Raises:
        UserError: settings that do not fit together, or data without images.
    """
    start = _network(network)
    overrides = settings | {"data": _folders(data) if data else None, "eval_data": watch or "none"}
    base = Path(recipe) if recipe else None
    fitted = finetune_recipe(start.card, base, overrides, changes)
    return _train(start, fitted, run_dir, step="finetune")


def export(
    network: Artifact, path: str | Path, *, target: str | None = None, **options: Any
) -> ExportReport:
    """Turn a network into an artifact and check it against the network.

    Args:
        network: A network; or an ONNX file, for targets that take one.
        path: Where to.
        target: A name that ``srdeploy targets`` lists; default: the first whose ending fits.
        options: The target's own (``precision``, ``sizes``, ``opset``, ``max_drop``...).

    Raises:
        UserError: unknown target or option, or a target that can't be built here.
        SrdeployError: the result is not the network; nothing is written.
    """
    ending = Path(path).suffix.lower()
    fitting = [row.name for row in TARGETS.values() if row.suffix == ending]
    if target is None and not fitting:
        endings = ", ".join(sorted({row.suffix for row in TARGETS.values()}))
        raise UserError(f"No target writes '{ending}' files; choose one of {endings}.")
    source = network if isinstance(network, Network) else Path(network)
    if isinstance(source, Network) or source.suffix.lower() != ".onnx":
        source = _network(network)
    return _export(source, target or fitting[0], path, **options)


def evaluate(
    artifact: Artifact,
    data: str | Path = "builtin",
    *,
    scale: int | None = None,
    protocol: str | None = None,
    **options: Any,
) -> Quality:
    """PSNR and SSIM on a benchmark set, of the artifact itself.

    Args:
        artifact: Anything that runs here.
        data: Benchmark folder, or ``builtin``.
        scale: Upscaling factor; default: the artifact's own.
        protocol: ``standard``, ``vdsr``, ``srcnn`` or ``rgb``; default: the network's customary.
        options: Of ``open_session``: ``runtime``, ``threads``, ``arch``, ``value_range``.

    Raises:
        UserError: no such artifact, set or protocol, or a runtime that does not fit.
    """
    with open_session(artifact, scale=scale, **options) as session:
        return _evaluate(session, data, scale or session.card.scale, protocol)


def bench(
    *artifacts: str | Path,
    data: str | Path = "builtin",
    scale: int | None = None,
    scenario: Scenario | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
    **options: Any,
) -> list[Row]:
    """Latency, memory and quality of artifacts that take turns; ratios refer to the first.

    Args:
        artifacts: Files or names of shipped networks, each measured in a process of its own.
        data: Benchmark folder, or ``builtin``.
        scale: Upscaling factor; default: the first artifact's.
        scenario: Conditions; default: ``Scenario()``.
        on_row: Called with each row as soon as it is complete.
        options: ``runtime``, ``threads``.

    Raises:
        UserError: nothing to measure, or a set that cannot be read.
    """
    if not artifacts:
        raise UserError("There is nothing to measure; name at least one network or artifact.")
    if scale is None:
        scale = scale_of(artifacts[0])
    names = [str(artifact) for artifact in artifacts]
    return _bench(names, data=data, scale=scale, scenario=scenario, on_row=on_row, **options)


def upscale(
    artifact: Artifact,
    picture: NDArray | str | Path,
    output: str | Path | None = None,
    *,
    scale: int | None = None,
    memory: int | None = None,
    **options: Any,
) -> NDArray:
    """Upscale one picture, in tiles that equal the whole where memory asks for them.

    Folders, and pictures whose result shall not be held in memory: ``srdeploy upscale``.

    Args:
        artifact: Anything that runs here.
        picture: A file, or ``[H, W]`` or ``[H, W, 1..4]`` of ``uint8`` or ``uint16``.
        output: Also write the result there, with the file's colour profile and EXIF.
        scale: Upscaling factor; default: the artifact's own.
        memory: Bytes that the process may hold; default: 2e9, or half of what is free.
        options: Of ``open_session``: ``runtime``, ``threads``, ``arch``, ``value_range``.

    Returns:
        As many channels and bits as the picture has (a grey file: ``[H, W, 1]``).

    Raises:
        UserError: no such artifact or picture, or a scale, path or memory that does not fit.
        ValueError: an array of another shape or type.
    """
    if isinstance(picture, (str, Path)):
        source, flat = read_picture(picture), False
    else:
        source, flat = picture_of(picture), picture.ndim == 2
    with open_session(artifact, scale=scale, **options) as session:
        result = upscale_picture(session, source, scale, memory=memory)
    if output is not None:
        write_picture(output, result)
    return result.pixels[..., 0] if flat else result.pixels


def report(
    *results: str | Path | Row,
    output: str | Path = "report.html",
    baseline: str | Path | Sequence[str | Path] | None = None,
    **options: Any,
) -> ReportSummary:
    """Write one self-contained page about results.

    Args:
        results: Stores, JSON of ``srdeploy bench``, folders of ``srdeploy run``; rows of
            :func:`bench`.
        output: The HTML file.
        baseline: Results to hold these against.
        options: ``images`` (benchmark set of the pictures), ``limits``, ``title``.

    Raises:
        UserError: no results, something else in a file, or a place that cannot be written to.
    """
    return write_report(results, output, baseline, **options)


def _network(given: Artifact) -> Network:
    return given if isinstance(given, Network) else load(given)


def _oneshot_options(dense: Network, ratio: float, options: dict[str, Any]) -> PruneOptions:
    exclude = (*default_exclude(dense), *options.pop("exclude", ()))
    return PruneOptions(ratio=ratio, exclude=tuple(dict.fromkeys(exclude)), **options)


def _folders(data: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(data)] if isinstance(data, (str, Path)) else [str(folder) for folder in data]
