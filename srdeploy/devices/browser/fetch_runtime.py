"""Fetch onnxruntime-web from npm, by the pinned hash, into a folder for machines without internet.

python -m srdeploy.devices.browser.fetch_runtime -o ort-web
SRDEPLOY_ORT_WEB=ort-web srdeploy bench net.onnx --device browser
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from srdeploy.devices.browser.runtime_files import FILES, VERSION, fetch
from srdeploy.errors import SrdeployError, UserError
from srdeploy.util.terminal import plain


def main() -> int:
    """Read the command line, fetch, check and unpack."""
    parser = argparse.ArgumentParser(
        prog="python -m srdeploy.devices.browser.fetch_runtime", description=__doc__.splitlines()[0]
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to make")
    folder = parser.parse_args().output
    try:
        if folder.exists():
            raise UserError(f"'{folder}' exists; name a new folder.")
        fetch(folder)
    except SrdeployError as error:
        print(plain(str(error)), file=sys.stderr)
        return error.exit_code
    size = sum((folder / name).stat().st_size for name in FILES) / 1e6
    done = f"{folder}: onnxruntime-web {VERSION}, {len(FILES)} files, {size:.0f} MB, as published"
    print(plain(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
