#!/usr/bin/env python3
"""Upscale an image with an ONNX file exported by srdeploy, and time it, on any device.

Needs numpy, onnxruntime and pillow (Python 3.8 or later), nothing of srdeploy: copy this one file
beside the model. Everything about the network (scale, value range, luma or colour) is read from
the card in the model's metadata.

    python run_onnx.py model.onnx photo.png -o photo_x2.png
    python run_onnx.py model.onnx photo.png --seconds 10 --json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it would be read too late after the import

import numpy as np
import onnxruntime as ort
from PIL import Image

CARD = "srdeploy.card"
BORDER = 4  # pixels mirrored around an image before bicubic upscaling; its kernel reaches 2

# ITU-R BT.601, studio range: rows Y, Cb, Cr for R, G, B in 0..255.
YCBCR = (
    np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
    / 255.0
)
OFFSET = np.array([16.0, 128.0, 128.0])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="ONNX file exported by srdeploy")
    parser.add_argument("image", help="any image that Pillow reads")
    parser.add_argument("-o", "--output", help="where to write the upscaled image")
    parser.add_argument("--scale", type=int, help="for networks that serve several (VDSR)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; default: all cores")
    parser.add_argument("--provider", default="CPUExecutionProvider", help="of onnxruntime")
    parser.add_argument("--seconds", type=float, default=0, help="time the network this long")
    parser.add_argument("--min-runs", type=int, default=10, help="and at least this often")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        report = run(options)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"run_onnx: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(report))
    else:
        for key, value in report.items():
            if key != "samples_ms":
                print(f"{key}: {value}")
    return 0


def run(options: argparse.Namespace) -> dict:
    """Upscale, write, time; return what the report says."""
    session, card = open_model(options.model, options.threads, options.provider)
    scale = options.scale or card["scale"]
    if scale not in card["scales"]:
        raise ValueError(f"this network upscales by {card['scales']}, not by {scale}")
    with Image.open(options.image) as image:
        rgb = np.asarray(image.convert("RGB"), np.float64)
    x, finish = prepare(rgb, card, scale)
    name = session.get_inputs()[0].name
    start = time.perf_counter()
    y = session.run(None, {name: x})[0]
    first_ms = (time.perf_counter() - start) * 1e3
    picture = np.clip(np.floor(finish(y) + 0.5), 0, 255).astype(np.uint8)
    report = {
        "arch": card["arch"],
        "scale": scale,
        "input": list(x.shape),
        "output": [picture.shape[0], picture.shape[1]],
        "provider": session.get_providers()[0],
        "onnxruntime": ort.__version__,
        "first_ms": round(first_ms, 3),
    }
    if options.output:
        Image.fromarray(picture).save(options.output)
        report["written"] = options.output
    if options.seconds > 0:
        samples = take_samples(session, {name: x}, options.min_runs, options.seconds)
        p50, p90, p99 = np.percentile(samples, [50, 90, 99])
        report.update(
            p50_ms=round(p50, 3), p90_ms=round(p90, 3), p99_ms=round(p99, 3), samples_ms=samples
        )
    return report


def open_model(path: str, threads: int, provider: str) -> tuple:
    """The session and the card."""
    if provider not in ort.get_available_providers():
        raise ValueError(f"no provider {provider}; here are {ort.get_available_providers()}")
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(path, settings, providers=[provider])
    except Exception as error:  # onnxruntime's errors share no base class
        raise ValueError(f"cannot load '{path}': {error}") from error
    card = session.get_modelmeta().custom_metadata_map.get(CARD)
    if card is None:
        raise ValueError(f"'{path}' has no srdeploy card; export it with srdeploy")
    return session, json.loads(card)


def prepare(rgb: np.ndarray, card: dict, scale: int) -> tuple:
    """The network's input, and what turns its output back into RGB [H, W, 3] in 0..255."""
    planes = rgb @ YCBCR.T + OFFSET if card["luma_only"] else rgb
    colour = planes[..., 1:]
    image = planes[..., :1] if card["luma_only"] else planes
    if card["pre_upscaled"]:
        image = bicubic(image, scale)
    height, width = image.shape[:2]
    multiple = card["size_multiple"]
    padding = ((0, -height % multiple), (0, -width % multiple), (0, 0))
    padded = np.pad(image, padding, mode="reflect")
    unit = card["value_range"] / 255.0
    x = np.ascontiguousarray(padded.transpose(2, 0, 1)[None] * unit, dtype=np.float32)
    factor = 1 if card["pre_upscaled"] else scale

    def finish(y: np.ndarray) -> np.ndarray:
        out = y[0].transpose(1, 2, 0)[: height * factor, : width * factor] / unit
        if not card["luma_only"]:
            return out
        ycbcr = np.concatenate([out, bicubic(colour, scale)], axis=2)
        return (ycbcr - OFFSET) @ np.linalg.inv(YCBCR).T

    return x, finish


def bicubic(image: np.ndarray, scale: int) -> np.ndarray:
    """Upscale [h, w, C] as MATLAB does: cubic (a = -0.5), mirrored borders, no rounding."""
    mirrored = np.pad(image, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="symmetric")
    height, width = mirrored.shape[:2]
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize(
                (width * scale, height * scale), Image.BICUBIC
            )
        )
        for plane in mirrored.transpose(2, 0, 1)
    ]
    edge = BORDER * scale
    return np.stack(planes, axis=2)[edge:-edge, edge:-edge].astype(np.float64)


def take_samples(session: object, feed: dict, min_runs: int, seconds: float) -> list[float]:
    """Milliseconds of each run: at least ``min_runs`` of them, covering ``seconds``."""
    samples: list[float] = []
    while len(samples) < min_runs or sum(samples) < seconds * 1e3:
        start = time.perf_counter()
        session.run(None, feed)  # type: ignore[attr-defined]
        samples.append(round((time.perf_counter() - start) * 1e3, 4))
    return samples


if __name__ == "__main__":
    sys.exit(main())
