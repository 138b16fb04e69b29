"""Sections about networks: widths as few lines as they have, stages, and the pictures' figures."""

from __future__ import annotations

import html as entities
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from srdeploy.bench.row import row_of
from srdeploy.errors import SrdeployError
from srdeploy.report import networks
from srdeploy.report.crops import Crop, Version
from srdeploy.report.networks import Widths, find_widths, pictures, stage_quality, widths
from srdeploy.report.sources import Entry, Evidence, RunFolder
from tests.golden import by_tags, same_as
from tests.report.material import measurement

GOLDEN = Path(__file__).parent / "golden"


def test_uniform_widths_are_one_line() -> None:
    one = Widths("net", {f"body.{n}.conv": (32, 16) for n in range(8)}, 3)
    page = widths([one])
    assert page.count('class="bar"') == 1
    assert "8 layers" in page
    assert "32 → 16" in page
    assert "width:50.0%" in page
    assert "body.7.conv" in page  # shown when pointed at
    assert "3 other layers kept their width." in page


def test_each_width_has_its_own_line() -> None:
    page = widths([Widths("net", {"a": (64, 16), "b": (32, 8), "c": (64, 16)}, 0)])
    assert re.findall(r"\d+ → \d+", page) == ["64 → 16", "32 → 8"]
    assert "2 layers" in page
    assert ">b<" in page
    assert re.findall(r'<i style="width:([\d.]+)%', page) == ["100.0", "50.0"]
    assert "other layers" not in page


def test_names_are_text() -> None:
    assert "<b>" not in widths([Widths("<b>", {"<b>": (2, 1)}, 0)])


def run(name: str, quality: dict, *cards: dict) -> RunFolder:
    return RunFolder(Path("runs") / name, list(cards), quality)


def told(psnr: float, **changes: object) -> dict[str, object]:
    return {"psnr_y": psnr, "protocol": "p", "data": "d", **changes}


def tuned(*curve: dict) -> dict:
    return {"stage": "40_tuned", "figures": {"curve": list(curve)}}


def point(iteration: object, psnr: object, **more: object) -> dict:
    return {"iteration": iteration, "psnr_y": psnr, **more}


def test_stages_and_the_recovery_are_drawn() -> None:
    curve = [point(10, 30, protocol="v"), point(20, 31.5), point(30, 31.25)]
    one = run("one<", {"dense": told(33.4), "pruned": told(29.1), "tuned": told(33.0)},
              {"stage": "10_model"}, tuned(*curve))  # fmt: skip
    page = stage_quality([one])
    same_as(GOLDEN / "stage_quality.html", by_tags(page))
    assert stage_quality([one, one]) == 2 * page


@pytest.mark.parametrize(
    ("quality", "cards", "parts"),
    [
        ({}, [], 0),
        ({"dense": told(33)}, [], 0),
        ({"dense": told(33), "tuned": told(32, data="e")}, [], 0),
        ({"dense": told(33), "tuned": told(32)}, [], 1),
        ({}, [tuned()], 0),
        ({}, [{"stage": "40_tuned"}], 0),
        ({}, [tuned(point(1, 30))], 0),
        ({}, [tuned(point(1, 30), point(2, None))], 0),
        ({}, [tuned(point(1, 30), point("2", 31))], 0),
        ({}, [tuned(point(1, 30), {"iteration": 2, "psnr_rgb": 31.0})], 1),
        ({}, [{**tuned(point(1, 30), point(2, 31)), "stage": "30_other"}], 0),
        ({}, [{**tuned(point(1, 30), point(2, 31)), "stage": "50_other"}], 0),
    ],
)
def test_what_is_not_known_is_not_drawn(quality: dict, cards: list[dict], parts: int) -> None:
    assert stage_quality([run("one", quality, *cards)]).count("<figure") == parts


def test_widths_of_every_pruned_network_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "run"
    for folder, name in (("20_pruned", "pruned"), ("40_tuned", "tuned")):
        (root / folder).mkdir(parents=True)
        (root / folder / f"{name}.safetensors").touch()
    cards = {
        "pruned.safetensors": {"a": (8, 4)},
        "same.onnx": {"a": (8, 4)},
        "other.onnx": {"a": (8, 2), "b": (8, 1)},
        "dense.onnx": {},
    }
    asked = []

    def read_card_of(path: Path) -> SimpleNamespace:
        asked.append(path)
        if path.name not in cards:
            raise SrdeployError("gone")
        return SimpleNamespace(changed=cards[path.name], widths=dict.fromkeys("abcde", 8))

    monkeypatch.setattr(networks, "read_card_of", read_card_of)
    monkeypatch.setattr(networks, "changed_widths", lambda card: card.changed)
    entries = []
    for artifact, folder in (
        ("same.onnx", tmp_path), ("gone.onnx", tmp_path), ("dense.onnx", tmp_path),
        ("other.onnx", tmp_path), ("other.onnx", tmp_path), ("of_run.onnx", root),
    ):  # fmt: skip
        one = measurement(artifact, 5, None, 1e9)
        entries.append(Entry(row_of(one, one), one, folder))
    broken = measurement("broken.onnx", 5, None, 1e9, error="It broke.")
    entries.append(Entry(row_of(broken, broken), broken, tmp_path))
    evidence = Evidence(entries, [RunFolder(root, [], {})])
    assert find_widths(evidence) == [
        Widths("run/pruned.safetensors", {"a": (8, 4)}, 4),
        Widths("other.onnx", {"a": (8, 2), "b": (8, 1)}, 3),
    ]
    assert [path.name for path in asked] == [
        "pruned.safetensors", "same.onnx", "gone.onnx", "dense.onnx", "other.onnx",
    ]  # fmt: skip
    (root / "20_pruned" / "pruned.safetensors").unlink()
    cards["tuned.safetensors"] = {"a": (8, 3)}
    assert find_widths(evidence)[0].name == "run/tuned.safetensors"


def test_a_picture_with_its_figures() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    versions = [Version(name, pixels, here, whole) for name, here, whole in (
        ("bicubic", 28.126, 29.0), ("de</script><nse", 30.5, 31.25), ("tuned", 30.25, 31.0),
        ("HR", None, None))]  # fmt: skip
    whole = np.zeros((40, 50, 3), np.uint8)
    between = ("de</script><nse", "tuned")
    region = (slice(10, 14), slice(5, 11))
    crop = Crop("ba<by", (40, 50), region, between, versions, whole, "p<q")
    first, second = pictures([crop, crop]).split("</figure>")[:2]
    assert first == second
    words = entities.unescape(re.sub(r"<[^>]+>", " ", first))
    assert "ba<by: where de</script><nse and tuned differ most. p<q; of the region" in words
    assert 'data-left="1" data-right="2"' in first
    assert "aspect-ratio:6 / 4" in first
    assert "left:10.00%;top:25.00%;width:12.00%;height:10.00%" in first
    shown = re.findall(r'<img alt="([^"]+)" data-version="(\d)" src="[^"]+"( hidden)?>', first)
    assert shown == [
        ("bicubic", "0", ""), ("de&lt;/script&gt;&lt;nse", "1", " hidden"),
        ("tuned", "2", " hidden"),
        ("HR", "3", ""),
    ]  # fmt: skip
    assert re.findall(r"<th>([^<]*)</th><td>([^<]*)</td><td>([^<]*)</td>", first) == [
        ("bicubic", "28.13 dB", "29.00 dB"), ("de&lt;/script&gt;&lt;nse", "30.50 dB", "31.25 dB"),
        ("tuned", "30.25 dB", "31.00 dB"),
    ]  # fmt: skip
    facts = json.loads(re.findall(r"<script[^>]*>(.*)</script>", first)[0])
    assert facts[0] == {"label": "bicubic", "here": "28.13 dB", "all": "29.00 dB"}
    assert facts[1]["label"] == "de</script><nse"
    assert first.count("</script") == 1
    assert facts[3] == {"label": "HR", "here": "", "all": ""}
    assert 'alt="ba&lt;by, whole"' in first
    assert 'min="0" max="100" value="50" step="0.5"' in first
