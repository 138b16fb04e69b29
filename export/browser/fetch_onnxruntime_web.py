#!/usr/bin/env python3
"""Fetch onnxruntime-web from npm, by the pinned hash, into a folder for machines without internet.

python export/browser/fetch_onnxruntime_web.py -o ort-web
SRDEPLOY_ORT_WEB=ort-web srdeploy bench net.onnx --device browser
"""

import argparse
from pathlib import Path

from srdeploy.devices.browser.runtime_files import FILES, VERSION, fetch
from srdeploy.errors import SrdeployError


def main() -> None:
    """Fetch, check, unpack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to make")
    folder = parser.parse_args().output
    if folder.exists():
        raise SystemExit(f"fetch_onnxruntime_web: '{folder}' exists; name a new folder.")
    try:
        fetch(folder)
    except SrdeployError as error:
        raise SystemExit(f"fetch_onnxruntime_web: {error}") from None
    size = sum((folder / name).stat().st_size for name in FILES) / 1e6
    print(f"{folder}: onnxruntime-web {VERSION}, {len(FILES)} files, {size:.0f} MB, as published")


if __name__ == "__main__":
    main()
