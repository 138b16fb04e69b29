"""The page's last words, from the figures of the artifacts."""

from __future__ import annotations

import pytest

from srdeploy.devices.browser.device import verdict
from srdeploy.devices.protocol import Figures

DENSE = Figures("dense.onnx", p50_ms=20.04, psnr=37.491)


def test_the_fastest_is_named_with_its_ratio_and_every_psnr() -> None:
    slow = Figures("p30.onnx", 18.0, faster=1.11, interval=(1.05, 1.2), psnr=37.446)
    fast = Figures("p50.onnx", 9.6, faster=2.14, interval=(2.0, 2.2), psnr=37.36)
    assert verdict([DENSE, slow, fast]) == {
        "headline": "p50.onnx is 2.1 times as fast",
        "detail": "Compared with dense.onnx. PSNR: dense.onnx 37.49 dB, p30.onnx 37.45 dB, "
        "p50.onnx 37.36 dB.",
        "rows": [
            {"title": "dense.onnx", "text": "PSNR 37.49 dB"},
            {"title": "p30.onnx", "text": "1.1 times as fast, PSNR 37.45 dB"},
            {"title": "p50.onnx", "text": "2.1 times as fast, PSNR 37.36 dB"},
        ],
    }


@pytest.mark.parametrize(
    ("faster", "interval", "headline", "text"),
    [
        (1.2, (0.9, 1.5), "No certain difference in speed", "about as fast"),
        (1.2, (1.0, 1.5), "No certain difference in speed", "about as fast"),
        (0.9, (0.8, 1.0), "No certain difference in speed", "about as fast"),
        (0.5, (0.4, 0.6), "b.onnx is slower: it takes 2.0 times as long",
         "slower: it takes 2.0 times as long"),
        (3.0, None, "b.onnx is 3.0 times as fast", "3.0 times as fast"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_not_claimed(
    faster: float, interval: tuple[float, float] | None, headline: str, text: str
) -> None:
    told = verdict([Figures("a.onnx", 1.0), Figures("b.onnx", 1.0, faster, interval)])
    assert told["headline"] == headline
    assert told["detail"] == "Compared with a.onnx."
    assert told["rows"] == [{"title": "a.onnx", "text": ""}, {"title": "b.onnx", "text": text}]


def test_one_alone_tells_its_time() -> None:
    assert verdict([DENSE])["headline"] == "dense.onnx takes 20 ms"
    assert verdict([DENSE])["detail"] == "PSNR: dense.onnx 37.49 dB."


def test_what_failed_has_no_figures() -> None:
    failed = Figures("b.onnx")
    assert verdict([Figures("a.onnx"), failed]) == {
        "headline": "Measured",
        "detail": "",
        "rows": [{"title": "a.onnx", "text": ""}, {"title": "b.onnx", "text": ""}],
    }
    assert verdict([DENSE, failed])["headline"] == "dense.onnx takes 20 ms"
