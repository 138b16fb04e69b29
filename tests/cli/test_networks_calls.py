"""``srdeploy import``, ``inspect`` and ``eval``: what the options are for, and what is printed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.cli import networks
from srdeploy.cli.main import run
from srdeploy.cli.output import quantity
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.quality.result import Quality
from srdeploy.runtime.bicubic_session import BicubicSession
from tests.cli.reach import STOP, Case, hold

SESSION = SimpleNamespace(
    sizes=None,
    card=SimpleNamespace(arch="vdsr", scale=2, luma_only=True, dense_sha256=None),
    runtime="torch",
    threads=1,
    notes=["read at 1 thread"],
)
EVAL = {
    "srdeploy.runtime.open:open_session": nullcontext(SESSION),
    "srdeploy.quality.evaluate:evaluate": STOP,
}
LOAD = {"srdeploy.models.load:load_network": STOP}
IMPORT = {
    "srdeploy.models.load:load_network": SimpleNamespace(card=SimpleNamespace(history=[])),
    "srdeploy.models.store:save_network": STOP,
    "srdeploy.models.edsr.edsr_pytorch:save_edsr_pytorch": STOP,
}

CASES = [
    Case(
        "eval net.st",
        EVAL,
        {
            "open_session.source": "net.st",
            "evaluate.source": "SimpleNamespace",
            "evaluate.folder": "builtin",
            "evaluate.scale": 2,
        },
        {
            "--eval-data Set5": {"evaluate.folder": "Set5"},
            "--scale 3": {"evaluate.scale": 3, "open_session.scale": 3},
            "--protocol rgb": {"evaluate.protocol": "rgb"},
            "--runtime torch": {"open_session.runtime": "torch"},
            "--threads 3": {"open_session.threads": 3},
            "--arch edsr": {"open_session.arch": "edsr"},
            "--value-range 255": {"open_session.value_range": 255.0},
            "--dense d.st": {"open_session.source": "d.st", "evaluate.dense": "SimpleNamespace"},
        },
    ),
    Case(
        "inspect net.st",
        LOAD,
        {"load_network.path": "net.st"},
        {
            "--arch edsr": {"load_network.arch": "edsr"},
            "--scale 3": {"load_network.scale": 3},
        },
        ("--json", "--groups"),
    ),
    Case(
        "import net.pt -o out.st",
        IMPORT,
        {
            "load_network.path": "net.pt",
            "save_network.network": "SimpleNamespace",
            "save_network.path": "out.st",
        },
        {
            "--arch edsr": {"load_network.arch": "edsr"},
            "--scale 3": {"load_network.scale": 3},
            "--res-scale 0.1": {"load_network.res_scale": 0.1},
            "--to edsr-pytorch -o out.pt": {
                "save_network.network": None,
                "save_network.path": None,
                "save_edsr_pytorch.network": "SimpleNamespace",
                "save_edsr_pytorch.path": "out.pt",
            },
            "--output b.st": {"save_network.path": "b.st"},
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


def test_what_import_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    network = create("edsr", n_blocks=1, n_feats=4)
    network = Network(network.module, network.card.step(step="import", assumed=["a tail", "x2"]))
    monkeypatch.setattr("srdeploy.models.load.load_network", lambda *_, **__: network)
    out = tmp_path / "out.pt"
    assert run(["import", "net.pt", "-o", str(out), "--to", "edsr-pytorch"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "edsr x2: 1.3K parameters (1,259), 356.66M MACs for a 1280x720 output",
        f"written to {out}",
        "EDSR-PyTorch: --model EDSR --scale 2 --n_resblocks 1 --n_feats 4 --res_scale 1 "
        f"--rgb_range 255 --pre_train {out}",
    ]
    assert told.err.splitlines() == ["assumed: a tail", "assumed: x2"]
    assert run(["import", "net.pt", "-o", str(out.with_suffix(".safetensors"))]) == 0
    assert "EDSR-PyTorch" not in capsys.readouterr().out
    out = out.with_suffix(".st")
    assert run(["import", "net.pt", "-o", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["import"] == {"step": "import", "assumed": ["a tail", "x2"]}
    assert (document["output"], document["params"]) == (str(out), 1259)


def test_what_inspect_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def told(network: Network, *options: str) -> list[str]:
        save_network(network, tmp_path / "n.safetensors")
        assert run(["inspect", str(tmp_path / "n.safetensors"), *options]) == 0
        return capsys.readouterr().out.splitlines()

    rgb = told(create("ledsr", n_blocks=1, n_feats=4))
    assert rgb[0].startswith("ledsr x2: ")
    assert rgb[1:] == [
        "  input: 3 channels, values 0..255, mean shift: subtracted inside",
        "  receptive field: 11 input pixels",
        "  widths: sub_mean ... add_mean 3 (2 layers), head.0 ... body.1 4 (4 layers), tail.0 12",
        "  weights: as they were saved",
    ]
    luma = create("vdsr", n_layers=4, n_feats=4)
    card = luma.card.step(step="train", iterations=5, note="", data=[])
    lines = told(Network(luma.module, card))
    assert "  input: Y only, colour bicubic, values 0..1, mean shift: none" in lines
    assert "  fed with the bicubic-upscaled image" in lines
    assert lines[-1] == "  history: train: iterations 5"
    groups = told(create("ledsr", n_blocks=1, n_feats=4), "--groups")
    assert groups[:5] == rgb
    assert groups[5] == ""
    assert len(groups) > 6
    assert [line for line in groups if "rotates" in line] == ["  rotates: yes"]


def quality_of(psnr: float, ssim: float, images: int, rows: list[dict[str, Any]]) -> Quality:
    return Quality(
        figures={"psnr": psnr, "ssim": ssim},
        colour="y",
        protocol="psnr[y]",
        n_images=images,
        per_image=rows,
    )


def test_what_eval_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"name": "a.png", "psnr_y": 30.12345, "ssim_y": 0.98765}]
    quality = quality_of(30.12345, 0.98765, 1, rows)
    monkeypatch.setattr("srdeploy.quality.evaluate.evaluate", lambda *_, **__: quality)
    monkeypatch.setattr("srdeploy.runtime.open.open_session", lambda *_, **__: nullcontext(SESSION))
    assert run(["eval", "net.st"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"{'a.png':>24}   30.123 dB  0.9877",
        "1 images: 30.123 dB, SSIM 0.9877  psnr[y]",
    ]
    assert told.err == "read at 1 thread\n"
    assert run(["eval", "net.st", "--scale", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["scale"], document["runtime"], document["threads"]) == (3, "torch", 1)
    assert document["notes"] == SESSION.notes
    fixed = SimpleNamespace(**vars(SESSION) | {"sizes": "48x27,64x36"})
    monkeypatch.setattr("srdeploy.runtime.open.open_session", lambda *_, **__: nullcontext(fixed))
    quality.per_image[:] = [rows[0] | {"name": f"{n}.png", "psnr_y": 30.0 + n} for n in range(30)]
    assert run(["eval", "net.st"]) == 0
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()[:-1]] == [
        f"{n}.png"
        for n in range(20)  # the worst
    ]
    assert "it takes 48x27,64x36 only; other images were run in tiles of that" in told.err
    assert "10 of 30 images are not shown; --verbose lists them" in told.err


def test_several_scales_have_bicubic_beside_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measure(
        source: object, data: str, scale: int, protocol: object, dense: object = None
    ) -> Quality:
        asked.append((source is SESSION, data, scale, protocol))
        psnr = 40.0 - scale - 5 * isinstance(source, BicubicSession)
        return quality_of(psnr, psnr / 50, 5, [])

    monkeypatch.setattr("srdeploy.quality.evaluate.evaluate", measure)
    monkeypatch.setattr("srdeploy.runtime.open.open_session", lambda *_, **__: nullcontext(SESSION))
    assert run(["eval", "net.st", "--eval-data", "Set5", "--scale", "2,4,2"]) == 0
    assert asked == [
        one
        for scale in (2, 4)
        for one in ((True, "Set5", scale, None), (False, "Set5", scale, PROTOCOLS["vdsr"]))
    ]  # both by the network's own protocol
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "x2: 38.000 dB, SSIM 0.7600; bicubic 33.000 dB, 0.6600",
        "x4: 36.000 dB, SSIM 0.7200; bicubic 31.000 dB, 0.6200",
        "mean of 5 images  psnr[y]",
    ]
    assert told.err == "read at 1 thread\n"
    assert run(["eval", "net.st", "--scale", "2,4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["scales"]
    assert [(one["scale"], one["psnr_y"], one["bicubic"]["psnr_y"]) for one in found] == [
        (2, 38.0, 33.0), (4, 36.0, 31.0),
    ]  # fmt: skip
    for wrong in ("2;3", "", "0", "2,,3", "x2", "9" * 5000):
        assert run(["eval", "net.st", "--scale", wrong]) == 2
        assert "is no factor; write one (2), or several (2,3,4)" in " ".join(
            capsys.readouterr().err.split()
        )


def test_widths_are_folded_where_they_repeat() -> None:
    widths = {"a": 4, "b": 4, "c": 8, "d": 4, "e": 4, "f": 4}
    assert networks._runs(widths) == "a ... b 4 (2 layers), c 8, d ... f 4 (3 layers)"
    assert networks._runs({}) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(999, "999"), (1e3, "1.0K"), (664704, "664.7K"), (999_999, "1000.0K"), (1e6, "1.00M"),
     (6.1e11, "610.0G"), (1e9, "1.0G"), (1e12, "1.0T"), (-2500, "-2.5K"), (0, "0")],
)  # fmt: skip
def test_counts_have_the_unit_of_their_size(value: float, text: str) -> None:
    assert quantity(value) == text


def test_a_step_of_history_shows_what_it_has() -> None:
    entry = {"step": "train", "data": "Set5", "threads": 2, "zero": 0, "none": None, "empty": {}}
    assert networks._entry(entry) == "train: data Set5, threads 2, zero 0"
    assert networks._entry({"a": 1}) == "?: a 1"
