"""A stand-in for Android's client and a phone behind it, for tests that need neither."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

REPLAY = Path(__file__).parent / "replay"
SERIAL = "8A1X0PHONE"


class Stand:
    """The client's state; see ``replay/adb``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for name in ("client", "bin", "phone"):
            (folder / name).mkdir(parents=True)
        shutil.copy(REPLAY / "adb", folder / "client")
        for name in ("getprop", "dumpsys", "settings"):
            shutil.copy(REPLAY / name, folder / "bin")
        monkeypatch.setenv("PATH", f"{folder / 'client'}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("ADB_STAND", str(folder))
        monkeypatch.delenv("ANDROID_SERIAL", raising=False)
        self.attach(f"{SERIAL}\tdevice")

    @property
    def uri(self) -> str:
        """Of the phone."""
        return f"adb://{SERIAL}?dir={self.folder / 'phone'}"

    def attach(self, *lines: str) -> None:
        """What `adb devices` lists from now on."""
        (self.folder / "devices").write_text("".join(f"{line}\n" for line in lines))

    def trouble(self, name: str) -> None:
        """A misfortune from now on; an empty name ends it."""
        (self.folder / "trouble").write_text(name)

    def program(self, name: str, text: str) -> None:
        """Put a program on the phone."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
