"""The stages after the networks: 50_onnx and its siblings, 70_bench, 80_report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srdeploy.benchmarking.measuring.plan import Batch, plan, run
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.showing.live import live_table
from srdeploy.data.builtin import BUILTIN, TRAINING_IMAGES
from srdeploy.devices.open import open_device
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.run import export
from srdeploy.exporting.targets import find_target
from srdeploy.line.code import require_device
from srdeploy.line.digest import benchmark_folder
from srdeploy.line.fitted import ARTIFACT
from srdeploy.line.networks import Networks
from srdeploy.line.recipe import DeviceSpec, TargetSpec
from srdeploy.line.stage import Stage
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store
from srdeploy.reporting.run_folder import BENCH, NETWORKS, PAGE, QUALITY, REPORT, ROWS, STORE, TABLE
from srdeploy.runtime.table import RUNTIMES
from srdeploy.util.figures_json import dumps
from srdeploy.util.files import atomic_path
from srdeploy.util.strict import expand_variables


@dataclass(frozen=True)
class Exported:
    """One artifact of a run.

    Attributes:
        stage: That makes it.
        target: What it is.
        path: Where it will lie.
    """

    stage: str
    target: TargetSpec | None
    path: Path


class Artifacts:
    """What becomes of the networks.

    Args:
        networks: They.
    """

    def __init__(self, networks: Networks) -> None:
        self.networks, self.line, self.root = networks, networks.line, networks.root

    def exported(self) -> list[Exported]:
        """Everything that can be measured, version by version, so that ratios refer to the first.

        Without targets these are the networks themselves; of a fitted one always what was fitted.
        """
        found = []
        for version in self.line.made():
            if version == "pruned" and self.line.fit is not None:
                stage = NETWORKS[version]
                found.append(Exported(stage, None, self.root / stage / ARTIFACT))
            elif not self.line.targets and version in self.line.wanted():
                stage = NETWORKS[version]
                found.append(Exported(stage, None, self.networks.file(version)))
            for target in self.line.targets:
                if version in self.line.wanted(target):
                    name = f"{version}{target.ending}{find_target(target.target).suffix}"
                    stage = _folder(target)
                    found.append(Exported(stage, target, self.root / stage / name))
        return found

    def stages(self) -> list[Stage]:
        """Exports, then the measurement and its page."""
        stages = [self._export(target) for target in self.line.targets]
        return [*stages, self._bench(), self._report()] if self.line.scenarios else stages

    def _export(self, target: TargetSpec) -> Stage:
        options = target.options()
        row = find_target(target.target)
        versions = self.line.wanted(target)
        files = [e.path.name for e in self.exported() if e.target is target]

        def check() -> None:
            if not (can := row.availability()):
                raise UserError(f"The target '{target.target}' cannot be built here: {can.reason}.")

        def work(folder: Path) -> dict[str, Any]:
            reports = {}
            given = {
                key: str(_images(value)) if key in ("data", "calibration") else value
                for key, value in options.items()
            }
            for version, file in zip(versions, files, strict=True):
                network = self.networks.load(version)
                reports[file] = export(network, row.name, folder / file, **given).to_dict()
                reports[file]["path"] = file
            return {"exports": reports}

        inputs: dict[str, Callable[[], Path]] = {}
        if "data" in options:
            inputs["benchmark"] = lambda: benchmark_folder(options["data"])
        if "calibration" in options:
            inputs["calibration"] = lambda: _content_of(options["calibration"])
        precision = options.get("precision", row.precisions[0])
        return Stage(
            name=_folder(target),
            what=f"{', '.join(versions)} as {row.title}, {precision}",
            how=target.model_dump(mode="json", exclude={"name", "versions"}, exclude_none=True),
            inputs=inputs,
            parents=tuple(NETWORKS[version] for version in versions),
            outputs=tuple(files),
            work=work,
            check=check,
        )

    def _bench(self) -> Stage:
        line = self.line
        everything = self.exported()
        measures_quality = any(scenario.quality for scenario in line.scenarios)

        def check() -> None:
            for device in line.devices:
                uri = expand_variables(device.uri)
                require_device(device.name, uri, self.networks.allow_code)
                open_device(uri)
                for scenario in line.scenarios:
                    self._for_device(device, scenario)

        networks = [NETWORKS[version] for version in line.made()] if measures_quality else []
        return Stage(
            name=BENCH,
            what=f"{', '.join(s.name for s in line.scenarios)} "
            f"on {', '.join(d.name for d in line.devices)}, data {Path(line.data).name}",
            how={
                "devices": [d.model_dump(mode="json", exclude_none=True) for d in line.devices],
                "scenarios": [
                    s.model_dump(mode="json", exclude_defaults=True) for s in line.scenarios
                ],
                "data": Path(line.data).name,
                "repeats": line.repeats,
            },
            inputs={"benchmark": lambda: benchmark_folder(line.data)},
            parents=tuple(dict.fromkeys([*networks, *(e.stage for e in everything)])),
            outputs=(STORE, ROWS, TABLE, *([QUALITY] if measures_quality else [])),
            work=lambda folder: self._measure(folder, measures_quality),
            check=check,
            keep=(STORE,),  # what was measured stays measured: its rows name all conditions
        )

    def _report(self) -> Stage:
        def work(folder: Path) -> dict[str, Any]:
            from srdeploy.reporting.page import write_report

            images = BUILTIN if self.line.data == BUILTIN else benchmark_folder(self.line.data)
            summary = write_report(
                [self.root], folder / PAGE, images=images, title=f"srdeploy: {self.line.name}"
            )
            return {"report": {**summary.to_dict(), "output": PAGE}}

        return Stage(
            name=REPORT,
            what="one page: results, pictures, how they were made",
            how={"title": self.line.name},
            parents=(BENCH,),
            outputs=(PAGE,),
            work=work,
        )

    def _for_device(self, device: DeviceSpec, scenario: Scenario) -> list[str]:
        chosen = [str(e.path) for e in self.exported() if _fits(e, device, scenario)]
        if not chosen:
            raise UserError(
                f"There is nothing to measure on device '{device.name}' under '{scenario.name}'; "
                "add a target `onnx`, or name the device's `targets`."
            )
        return chosen

    def _measure(self, folder: Path, measures_quality: bool) -> dict[str, Any]:
        if measures_quality:
            quality = self._quality()
            _write(folder / QUALITY, dumps(quality, indent=1))
        data = BUILTIN if self.line.data == BUILTIN else str(benchmark_folder(self.line.data))
        work: list[tuple[list[str], list[Batch]]] = []
        scale = self.networks.load("dense").card.scale
        for device in self.line.devices:
            uri = expand_variables(device.uri)
            require_device(device.name, uri, self.networks.allow_code)
            for scenario in self.line.scenarios:
                batches = plan(
                    [uri],
                    [scenario],
                    repeats=self.line.repeats,
                    scale=scale,
                    data=data,
                    runtime=device.runtime,
                    threads=device.threads,
                )
                work.append((self._for_device(device, scenario), batches))
        rows: list[Row] = []
        with ExitStack() as stack:
            store = stack.enter_context(Store.open(folder / STORE))
            jobs = sum(len(artifacts) * len(batches) for artifacts, batches in work)
            watcher = stack.enter_context(live_table(jobs))
            for artifacts, batches in work:
                rows += run(artifacts, batches, store=store, watcher=watcher)
        _write(folder / ROWS, dumps([r.model_dump(mode="json") for r in rows], indent=1))
        _write(folder / TABLE, _rendered(rows))
        if failed := [row for row in rows if row.error]:
            raise SrdeployError(
                f"{len(failed)} of {len(rows)} measurements failed ({failed[0].error}); the "
                "others are kept."
            )
        return {"measurements": len(rows)}

    def _quality(self) -> dict[str, Any]:
        """Each network's figures in PyTorch: what a stage cost and what it won back."""
        from srdeploy.quality.evaluate import evaluate

        found: dict[str, Any] = {}
        for version in self.line.made():
            network = self.networks.load(version)
            folder = BUILTIN if self.line.data == BUILTIN else benchmark_folder(self.line.data)
            figures = evaluate(network, folder, network.card.scale).as_dict()
            found[version] = {**figures, "data": Path(self.line.data).name}
        return found


def _folder(target: TargetSpec) -> str:
    return "50_onnx" if target.name == "onnx" else f"60_{target.name}"


def _fits(exported: Exported, device: DeviceSpec, scenario: Scenario) -> bool:
    if exported.target is None:
        return True
    if device.targets is not None:
        return exported.target.name in device.targets
    if DeviceUri.parse(device.uri).kind != "local":
        return exported.path.suffix == ".onnx"
    # What only a reference computes here (Core ML without a Mac) has quality, but no latency.
    runtime = RUNTIMES[find_target(exported.target.target).runtime]
    return scenario.quality or bool(runtime.availability())


def _images(text: Any) -> Any:
    return text if text == BUILTIN else benchmark_folder(str(text))


def _content_of(text: str) -> Path:
    """What the exporter reads ranges on: for 8 bits ``builtin`` is the training images."""
    return TRAINING_IMAGES if text == BUILTIN else benchmark_folder(text)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _rendered(rows: list[Row]) -> str:
    from io import StringIO

    from srdeploy.benchmarking.showing.table import tables
    from srdeploy.util.tables import WIDTH
    from srdeploy.util.terminal import safe_console

    stream = StringIO()
    console = safe_console(file=stream, width=WIDTH)
    for table in tables(rows, WIDTH, everything=True):
        console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
