"""Every format that srdeploy reads: a small file of each, and what reads it."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: As the page calls it.
        make: Writes a good file (or folder) into a folder and returns the file to be damaged.
        read: Reads what was made, given the damaged file.
        content: Of an own format: what was read, as one text; the same text or a refusal is all
            that a damaged file may give.
        missing: What is not installed that reading it needs; empty where nothing is.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    content: Callable[[Any], str] | None = None
    missing: Callable[[], str] = str


def _network() -> Any:
    from srdeploy.models.registry import create

    torch.manual_seed(0)
    return create("ledsr", n_blocks=1, n_feats=8)


def _own(folder: Path) -> Path:
    from srdeploy.models.store import save_network

    save_network(_network(), folder / "net.safetensors")
    return folder / "net.safetensors"


def _weights(network: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.module.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _load(path: Path, arch: str | None = None) -> Any:
    from srdeploy.models.load import load_network

    return load_network(path, arch=arch, scale=2 if arch else None)


def _torch(folder: Path, *, new: bool) -> Path:
    path = folder / "net.pth"
    torch.save(_network().module.state_dict(), path, _use_new_zipfile_serialization=new)
    return path


def _pixels() -> Any:
    rows, columns = np.mgrid[:24, :32]
    return np.stack([rows * 8, columns * 7, rows + columns], axis=-1).astype(np.uint8)


def _decoded(folder: Path) -> Path:
    path = folder / "image.pt"
    path.write_bytes(pickle.dumps(_pixels(), 4))
    return path


def _npy(folder: Path) -> Path:
    np.save(folder / "image.npy", _pixels())
    return folder / "image.npy"


def _read_decoded(path: Path) -> Any:
    from srdeploy.data.decoded import read_decoded

    return read_decoded(path)


def _onnx(folder: Path) -> Path:
    from srdeploy.exporting.onnx.export import export_onnx

    export_onnx(_network(), folder / "net.onnx", check=False)
    return folder / "net.onnx"


def _session(artifact: Path) -> Any:
    from srdeploy.runtime.open import open_session

    session = open_session(artifact, threads=1)
    return session.run(np.zeros((1, session.card.channels, 16, 16), np.float32))


def _coreml(folder: Path, *, part: str) -> Path:
    from srdeploy.exporting.coreml.export import export_coreml

    export_coreml(_network(), folder / "net.mlpackage")
    return next((folder / "net.mlpackage").rglob(part))


def _package(path: Path) -> Any:
    return _session(next(p for p in path.parents if p.suffix == ".mlpackage"))


def _tflite(folder: Path) -> Path:
    from srdeploy.exporting.litert.export import export_litert

    export_litert(_network(), folder / "net.tflite")
    return folder / "net.tflite"


def _has_litert() -> str:
    from srdeploy.runtime.table import LITERT

    return LITERT.availability().reason


def _card_of(path: Path) -> Any:
    from srdeploy.runtime.card_of import read_card_of

    return read_card_of(path)


def _sidecar(folder: Path) -> Path:
    from srdeploy.runtime.tensorrt.sidecar import ShapeProfile, Sidecar, Tensor

    (folder / "net.engine").write_bytes(b"engine")
    size = (1, 3, 32, 32)
    facts = Sidecar(
        builder="tensorrt", version="10.0", platform="linux-x86_64", capabilities=("8.9",),
        engine_sha256=hashlib.sha256(b"engine").hexdigest(), onnx="net.onnx", onnx_sha256="0" * 64,
        precision="fp32", convolutions={"fp32": 4},
        profile=ShapeProfile(min=size, opt=size, max=size),
        input=Tensor(name="lr", dtype="float32", shape=(1, 3, 32, 32)),
        output=Tensor(name="sr", dtype="float32", shape=(1, 3, 64, 64)),
        verified=False, verification="not run", layers={}, card=_network().card, tools={},
    )  # fmt: skip
    path = folder / "net.engine.json"
    path.write_text(facts.to_json(), encoding="utf-8")
    return path


def _card_of_engine(path: Path) -> Any:
    return _card_of(path.with_suffix(""))


def _copied(source: str, folder: Path) -> Path:
    return Path(shutil.copy(ROOT / source, folder / Path(source).name))


def _line(path: Path) -> Any:
    from srdeploy.line.recipe import read_line

    return read_line(path)


def _training(path: Path) -> Any:
    from srdeploy.train.recipe import TrainRecipe
    from srdeploy.util.strict import read_yaml

    return read_yaml(TrainRecipe, path)


def _farm(folder: Path) -> Path:
    path = folder / "farm.yaml"
    path.write_text(FARM)
    return path


FARM = """scheduler: 127.0.0.1:8786
quarantine_after: 3
patience_seconds: 60.0
devices:
  - {name: desk, uri: local, tags: [x86, quiet]}
  - {name: board, uri: "fake://board?ms=5&watts=3"}
"""


def _read_farm(path: Path) -> Any:
    from srdeploy.farm.settings import read_farm

    return read_farm(path)


def _scenario(folder: Path) -> Path:
    from srdeploy.util.shipped import shipped_scenarios

    return Path(shutil.copy(next(iter(shipped_scenarios().values())), folder / "own.yaml"))


def _read_scenario(path: Path) -> Any:
    from srdeploy.measure.scenario import read_scenario

    return read_scenario(path)


def _measurements() -> list[Any]:
    from tests.reporting.material import measurement

    return [measurement(f"net{n}.onnx", 4.0 + n, 37.0 - n, 1e9) for n in range(3)]


def _store(folder: Path) -> Path:
    from tests.reporting.material import write_store

    return write_store(folder / "results.sqlite", _measurements())


def _export(folder: Path, *, lines: bool) -> Path:
    from srdeploy.measure.export import export_measurements

    path = folder / "results.json"
    export_measurements(_measurements(), path)
    if lines:
        rows = json.loads(path.read_text())
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _sources(path: Path) -> Any:
    from srdeploy.reporting.sources import read_sources

    return read_sources([path])


def _journal(folder: Path) -> Path:
    path = folder / "metrics.jsonl"
    steps = [{"step": n, "loss": 0.1 / (n + 1), "psnr_y": 30.5, "lr": 1e-4} for n in range(40)]
    path.write_text("".join(json.dumps(step) + "\n" for step in steps))
    return path


def _read_journal(path: Path) -> Any:
    from srdeploy.train.journal import read_metrics

    return read_metrics(path.parent)


def _picture(folder: Path, *, suffix: str) -> Path:
    path = folder / f"picture{suffix}"
    Image.fromarray(_pixels()).save(path)
    return path


def _read_picture(path: Path) -> Any:
    from srdeploy.data.images import read_rgb
    from srdeploy.data.picture import read_picture

    read_rgb(path)
    return read_picture(path)


FORMATS = [
    Format("own network, .safetensors", _own, _load, _weights),
    Format("checkpoint, zip .pth", partial(_torch, new=True), partial(_load, arch="ledsr")),
    Format("checkpoint, legacy .pth", partial(_torch, new=False), partial(_load, arch="ledsr")),
    Format("decoded image, .pt", _decoded, _read_decoded),
    Format("decoded image, .npy", _npy, _read_decoded),
    Format("ONNX", _onnx, _session),
    Format("Core ML: model", partial(_coreml, part="*.mlmodel"), _package),
    Format("Core ML: weights", partial(_coreml, part="weight.bin"), _package),
    Format("Core ML: manifest", partial(_coreml, part="Manifest.json"), _package),
    Format("TensorFlow Lite", _tflite, _card_of, missing=_has_litert),
    Format("TensorRT engine's JSON", _sidecar, _card_of_engine),
    Format("recipe of a line", partial(_copied, "configs/lines/demo.yaml"), _line),
    Format("recipe of a training", partial(_copied, "configs/train/int8.yaml"), _training),
    Format("farm file", _farm, _read_farm),
    Format("scenario", _scenario, _read_scenario),
    Format("results, SQLite", _store, _sources),
    Format("results, JSON", partial(_export, lines=False), _sources),
    Format("results, JSON lines", partial(_export, lines=True), _sources),
    Format("training journal", _journal, _read_journal),
    Format("picture, PNG", partial(_picture, suffix=".png"), _read_picture),
    Format("picture, JPEG", partial(_picture, suffix=".jpg"), _read_picture),
    Format("picture, TIFF", partial(_picture, suffix=".tif"), _read_picture),
    Format("picture, WebP", partial(_picture, suffix=".webp"), _read_picture),
]
