"""Results as they lie on disk, made without measuring: a store, and a run's folder."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from srdeploy.benchmarking.measuring.row import row_of
from srdeploy.fitting.result import FitResult, Point
from srdeploy.measure.measurement import (
    Conditions,
    DeviceFacts,
    Measurement,
    Power,
    Reading,
)
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store
from srdeploy.quality.result import Quality
from srdeploy.reporting.data import ReportData
from srdeploy.reporting.sources import Evidence, SourceEntry

FACTS = DeviceFacts(
    kind="local", model="Board <One>", cpu="Core 7", cpus=4, memory_gb=8.0, os="Linux 6"
)
PROTOCOL = "psnr[y, crop=2, u8, matlab]"


def measurement(
    artifact: str, ms: float, psnr: float | None, macs: float, **changes: Any
) -> Measurement:
    """One of a board that takes about ``ms``."""
    noise = np.random.default_rng(int(ms * 10)).normal(1, 0.01, 60)
    quality = None
    if psnr is not None:
        quality = Quality(
            psnr=psnr, ssim=0.93, colour="y", protocol=PROTOCOL, n_images=4, data="builtin"
        )
    values: dict[str, Any] = {
        "artifact": artifact,
        "sha256": f"{int(ms * 1000):064x}",
        "device": "local",
        "facts": FACTS,
        "scenario": Scenario(),
        "session": "one",
        "started": f"2026-01-02T03:04:{int(ms) % 60:02d}+00:00",
        "runtime": "onnxruntime",
        "runtime_version": "1.31",
        "provider": "CPU",
        "precision": "fp32",
        "threads": 2,
        "input": (1, 3, 96, 128),
        "scale": 2,
        "lr_size": (96, 128),
        "params": int(macs / 230400),
        "macs_720p": int(macs),
        "load_ms": 120.0,
        "first_ms": 2 * ms,
        "samples_ms": (ms * noise).tolist(),
        "turns": [10] * 6,
        "before": Conditions(
            power_mode="performance", clocks_mhz={"cpu": 2900.0}, temperatures_c={"soc": 41.5}
        ),
        "peak_mb": 75.0,
        "quality": quality,
    }
    return Measurement(**values | changes)


def measurements() -> list[Measurement]:
    """Two devices, three runtimes, lasting load, energy, and a failure."""
    fan = DeviceFacts(kind="ssh", model="Jetson", gpu="Ampere", arch="aarch64")
    hot = Scenario(name="sustained", sustained=True, inputs=((270, 480),))
    slow = (40 * np.linspace(1, 1.35, 2000)).tolist()
    watts = [
        Reading(
            seconds=s, power_w={"VDD": 6 + s / 40}, temperatures_c={"tj": 50 + s / 3, "cpu": 48.0}
        )
        for s in range(0, 90, 3)
    ]
    power = Power(
        mean_w=7.1,
        peak_w=8.2,
        energy_j_per_frame=0.331,
        rails=("VDD",),
        source="the whole board",
        readings=30,
    )
    jetson = {"device": "ssh://orin", "facts": fan, "session": "two", "runtime": "tensorrt"}
    return [
        measurement("dense.onnx", 41.3, 33.41, 80e9),
        measurement("pruned.onnx", 17.2, 32.52, 24e9),
        measurement("tuned.onnx", 17.6, 33.05, 24e9),
        measurement("tuned-int8.onnx", 9.4, 32.87, 24e9, precision="int8+fp32"),
        measurement("tuned.onnx", 14.9, 33.05, 24e9, runtime="openvino", session="three"),
        measurement("dense.onnx", 7.31, 33.41, 80e9, **jetson),
        measurement("tuned.onnx", 3.62, 33.04, 24e9, **jetson, precision="fp16"),
        measurement(
            "dense.onnx",
            46.0,
            None,
            80e9,
            **jetson,
            scenario=hot,
            samples_ms=slow,
            turns=[100] * 20,
            power=power,
            readings=watts,
        ),
        measurement("broken.onnx", 1.0, None, 1e9, samples_ms=[], turns=[], error="It <broke>."),
    ]


def write_store(path: Path, found: list[Measurement]) -> Path:
    """A store of these."""
    with Store.open(path) as store:
        for number, one in enumerate(found):
            store.add(one, f"{number:064x}")
    return path


def write_run(root: Path) -> Path:
    """A folder as ``srdeploy run`` leaves it, with real networks and invented measurements."""
    import torch

    from srdeploy.compacting.run import prune_oneshot
    from srdeploy.models.registry import create
    from srdeploy.models.store import save_network
    from srdeploy.pruning.options import PruneOptions

    torch.manual_seed(0)
    dense = create("ledsr", scale=2, n_blocks=1, n_feats=8)
    pruned, told = prune_oneshot(dense, PruneOptions(ratio=0.5))
    report = told.to_dict()
    figures = {key: report[key] for key in ("params", "macs_720p", "proof")}
    curve = [{"iteration": n, "psnr_y": 30 + n / 50, "protocol": PROTOCOL} for n in (10, 20, 30)]
    for folder, network, own in (
        ("10_model/dense", dense, {}),
        ("20_pruned/pruned", pruned, figures),
        ("40_tuned/tuned", pruned, {"curve": curve}),
        ("70_bench/none", None, {}),
    ):
        path = root / f"{folder}.safetensors"
        path.parent.mkdir(parents=True)
        if network is not None:
            save_network(network, path)
        card = {"stage": path.parent.name, "what": "a stage", "figures": own, "seconds": 1.0}
        (path.parent / "card.json").write_text(json.dumps(card))
    quality = {
        name: {"psnr_y": psnr, "ssim_y": 0.9, "protocol": PROTOCOL, "data": "builtin"}
        for name, psnr in (("dense", 33.41), ("pruned", 29.13), ("tuned", 33.05))
    }
    (root / "70_bench" / "quality.json").write_text(json.dumps(quality))
    write_store(root / "70_bench" / "results.sqlite", measurements()[:4])
    return root


def entries(*found: Measurement) -> list[SourceEntry]:
    """With speed-ups to the first of each session."""
    first: dict[str | None, Measurement] = {}
    return [
        SourceEntry(row_of(one, first.setdefault(one.session, one)), one, Path("here"))
        for one in found
    ]


def data_of(*found: Measurement, **more: Any) -> ReportData:
    """What the sections see of these measurements."""
    return ReportData(Evidence(entries(*found)), **more)


def _with_bicubic(one: Measurement) -> Measurement:
    """Measured on images on which bicubic interpolation reaches 32.6 dB."""
    if one.quality is None:
        return one
    quality = one.quality.model_copy(update={"bicubic": 32.6})
    return one.model_copy(update={"quality": quality})


def lasting(seconds: float, **changes: Any) -> Measurement:
    """One whose samples of 100 ms cover this time."""
    samples = [100.0] * round(10 * seconds)
    return measurement(
        "net.onnx", 100, 33.0, 1e9, **{"samples_ms": samples, "turns": [len(samples)], **changes}
    )


def reading(seconds: float, **sensors: dict[str, float]) -> Reading:
    """One reading of sensors."""
    return Reading(**{"seconds": seconds, "power_w": {}, "temperatures_c": {}, **sensors})


def measured() -> list[Measurement]:
    """Those of ``measurements`` with the PSNR of bicubic interpolation, and one without figures."""
    silent = measurement("silent.mlpackage", 1.0, None, 1e9, samples_ms=[], turns=[])
    return [*map(_with_bicubic, measurements()), silent]


class Tags(HTMLParser):
    """What HTML holds; fails on tags that do not nest.

    Attributes:
        tags: Names of the tags, in their order.
        attributes: Their attributes: names and values.
        words: The text between them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []

    @classmethod
    def of(cls, text: str) -> Tags:
        """Read HTML, whole."""
        found = cls()
        found.feed(text)
        found.close()
        assert found._open == []
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "link", "img", "input", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def fit_result() -> FitResult:
    """A fit of one budget, with what was predicted and what was made."""
    front = [
        Point(
            runtime="onnxruntime", precision="fp32", predicted_ms=ms, error=error,
            predicted_psnr=psnr, channels=100,
        )
        for ms, error, psnr in ((10.0, 4.0, 32.1), (20.0, 2.0, 32.9), (40.0, 0.0, 33.4))
    ]  # fmt: skip
    made = Point(
        runtime="onnxruntime", precision="int8", predicted_ms=24.0, error=1.5, predicted_psnr=33.0,
        channels=90, p50_ms=24.5, psnr=33.1, step="made",
    )  # fmt: skip
    return FitResult(
        network="net", device="local", model="a processor", input=(160, 240), budget_ms=25.0,
        p50_ms=24.5, predicted_ms=24.0, met=True, psnr_y=33.1, psnr=33.1, protocol="psnr[y]",
        dense_psnr=33.4, widths={"body.0": 16}, dense_widths={"body.0": 32},
        why={"body.0": "16 of 32 channels: 32 would take 3 ms more"}, precision="int8",
        runtime="onnxruntime", pixel_shuffle="crd", block=16, artifact="fitted.onnx",
        weights="fitted.safetensors", attempts=1, points=(*front, made), seconds={},
    )  # fmt: skip
