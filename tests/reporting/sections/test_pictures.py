"""The pictures' labels, figures and places."""

from __future__ import annotations

import html as entities
import json
import re

import numpy as np

from srdeploy.reporting.crops import Crop, CropVersion
from srdeploy.reporting.sections.pictures import pictures
from tests.reporting.material import data_of


def test_a_picture_with_its_figures() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    versions = [CropVersion(name, pixels, here, whole) for name, here, whole in (
        ("bicubic", 28.126, 29.0), ("de</script><nse", 30.5, 31.25), ("tuned", 30.25, 31.0),
        ("HR", None, None))]  # fmt: skip
    whole = np.zeros((40, 50, 3), np.uint8)
    between = ("de</script><nse", "tuned")
    region = (slice(10, 14), slice(5, 11))
    crop = Crop("ba<by", (40, 50), region, between, versions, whole, "p<q")
    lead, _, figures = (pictures(data_of(crops=[crop, crop])) or "").partition("</p>")
    assert lead.startswith('<p class="lead">Drag across a picture')
    first, second = figures.split("</figure>")[:2]
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
