"""What sweeps over all networks share: which networks, and forms of each that are made and kept.

The forms of a network are made in a process of their own, and each is kept as soon as it is there:
what was made is not made again, and a process that dies costs the form that it died of.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srdeploy.errors import SrdeployError
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
from srdeploy.models.registry import ARCHITECTURES
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session
from srdeploy.testing.architectures import SMALL, small_network
from srdeploy.util.files import atomic_path

RUNS = Path(__file__).parents[1] / "runs"
SIZE = (30, 46)
"""Height and width of the photograph on which outputs are compared."""

PUBLISHED = {
    "VDSR x2": "weights/vdsr/model_epoch_50.pth",
    "EDSR f32b5 x2": "weights/edsr_mlperf/edsr_f32b5_x2_pytorch.pt",
    "EDSR f64b5 x2": "weights/edsr_mlperf/edsr_f64b5_x2_pytorch.pt",
    "SMSR x2": "weights/smsr/SMSR_X2_model_1000.pt",
    "realesr-animevideov3 x4": "weights/realesrgan/realesr-animevideov3.pth",
    "RealESRGAN anime 6B x4": "weights/realesrgan/RealESRGAN_x4plus_anime_6B.pth",
}
"""Networks with published weights, and where these lie in the folder of data."""

SHIPPED = ("edsr-s-x2", "edsr-s-x3", "edsr-s-x4", "edsr-s-x2-p30", "edsr-s-x2-p50", "edsr-s-x2-p70")
_RANDOM = " (random)"
WIDTH = 16
"""Channels of networks with random weights: from so many on, exporters compress them."""

RANDOM = {name: f"{name}{_RANDOM}" for name in ARCHITECTURES}
"""By architecture: a small network of it with random weights, of which parity alone tells."""


@dataclass(frozen=True)
class Source:
    """One network of a sweep.

    Attributes:
        network: It.
        trained: Its weights are not random ones.
        data: Folder with weights/ and benchmark/.
        folder: Where files of its forms go.
    """

    network: Network
    trained: bool
    data: Path
    folder: Path


Make = Callable[[Source, str], dict[str, Any]]
"""Makes a form of a network and tells what came of it; what it raises is told as an ``error``."""


def sweep(
    name: str, about: str, networks: Mapping[str, Sequence[str]], make: Make
) -> dict[str, dict[str, dict[str, Any]]]:
    """Read the command line, and make what is not there yet.

    Args:
        name: Folder in ``runs``.
        about: What ``--help`` says.
        networks: What is made of each, by its name, as :func:`network_of` takes it.
        make: Makes one.

    Returns:
        By network and form what ``make`` told, with ``seconds``; of networks that were made.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with weights/ and benchmark/")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # for the process of one network
    asked = parser.parse_args()
    folder = RUNS / name
    if asked.one:
        _make_all(asked.one, asked.data, folder, networks[asked.one], make)
        raise SystemExit
    command = [sys.executable, sys.argv[0], str(asked.data), "--one"]
    for network, forms in networks.items():
        while (asked.only is None or network in asked.only) and (
            left := _left(network, folder, forms)
        ):
            done = subprocess.run([*command, network], check=False)
            if done.returncode < 0 and left == _left(network, folder, forms):
                died = {"error": f"its process ended by signal {-done.returncode}"}
                _keep(_kept(network, folder, left[0]), died)
            elif done.returncode:
                raise SystemExit(f"{network}: exit code {done.returncode}")
    made = {
        network: {form: _kept(network, folder, form) for form in forms}
        for network, forms in networks.items()
    }
    return {
        network: {form: json.loads(path.read_text()) for form, path in paths.items()}
        for network, paths in made.items()
        if all(path.exists() for path in paths.values())
    }


def _make_all(name: str, data: Path, folder: Path, forms: Sequence[str], make: Make) -> None:
    network = network_of(name, data)
    for form in _left(name, folder, forms):
        path = _kept(name, folder, form)
        path.parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        try:
            told = make(Source(network, not name.endswith(_RANDOM), data, path.parent), form)
        except SrdeployError as error:
            told = {"error": str(error)}
        _keep(path, told | {"seconds": round(time.perf_counter() - started, 1)})
        print(f"{name}, {form}: {told.get('error', 'made')}", file=sys.stderr)


def _left(network: str, folder: Path, forms: Sequence[str]) -> list[str]:
    return [form for form in forms if not _kept(network, folder, form).exists()]


def _kept(network: str, folder: Path, form: str) -> Path:
    return folder / network.replace(" ", "-") / f"{form.replace(' ', '-')}.json"


def _keep(path: Path, told: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(told))


def network_of(name: str, data: Path) -> Network:
    """A network by its name on a page."""
    if name in PUBLISHED:
        return load_network(data / PUBLISHED[name])
    if name in SHIPPED:
        return load_network(name)
    row = ARCHITECTURES[name.removesuffix(_RANDOM)]
    scale = 2 if not row.scales or 2 in row.scales else row.scales[0]
    return small_network(row, SMALL.get(row.name, {}), width=WIDTH, scale=scale)


def difference(session: Session, network: Network) -> float:
    """The largest difference of outputs on a photograph, over the value range."""
    x = photograph(session.card, SIZE)
    ratio = network.card.value_range / session.card.value_range
    with open_session(network) as dense:
        wanted = dense.run((x * np.float32(ratio)).astype(np.float32)) / ratio
    largest = float(np.abs(session.run(x) - wanted).max())
    return largest / max(session.card.value_range, float(np.abs(wanted).max()))


def refused(
    raw: Mapping[str, Mapping[str, Mapping[str, Any]]], title: str = "## What did not work"
) -> str:
    """A section with every form that was refused, and why; empty without any."""
    failed = [
        f"- {network}, {form}: {told['error']}"
        for network, forms in raw.items()
        for form, told in forms.items()
        if "error" in told
    ]
    return f"\n\n{title}\n\n" + "\n".join(failed) if failed else ""
