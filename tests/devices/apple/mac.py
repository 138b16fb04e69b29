"""A Mac for tests: a real sshd, the real coremltools, and Xcode's tools replayed."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.devices.ssh.loopback import Loopback

STAND = Path(__file__).parent / "stand"
PHONE = "My iPhone"

_FACTS = {
    "hw.model": "Mac15,3",
    "machdep.cpu.brand_string": "Apple M3",
    "hw.memsize": "17179869184",
}
_XCRUN = 'case "$1" in --find) command -v "$2" ;; *) exec "$@" ;; esac'
_XCODEBUILD = """
echo "$*" >>"$FAKE_PHONE/xcodebuild.log"
[ -e "$FAKE_PHONE/unsigned" ] && { echo "error: Signing requires a development team."; exit 65; }
for word; do
  case "$word" in SYMROOT=*) mkdir -p "${word#SYMROOT=}/Release-iphoneos/M.app" ;; esac
done
"""


class Mac(Loopback):
    """The Mac, with one iPhone.

    Attributes:
        phone: The phone's files, and what is wrong with it: ``unplugged``...
    """

    def __init__(self, folder: Path) -> None:
        self.phone = folder / "phone"
        (self.phone / "modelrunner/ModelRunner.xcworkspace").mkdir(parents=True)
        environment = {"FAKE_PHONE": str(self.phone), "STAND_PYTHON": sys.executable}
        root = Path(__file__).parents[3]
        environment["PYTHONPATH"] = str(root)
        super().__init__(folder, programs=(), version="", environment=environment)
        self.script("xcrun", _XCRUN)
        self.script("xcodebuild", _XCODEBUILD)
        self.script("devicectl", f'exec {sys.executable} -S "{STAND / "devicectl"}" "$@"')
        self.script(
            "python-with-coremltools", f'PYTHONPATH={STAND}:{root} exec {sys.executable} "$@"'
        )
        cases = "".join(f'{name}) echo "{value}" ;; ' for name, value in _FACTS.items())
        self.script("sysctl", f'case "$2" in {cases} esac')

    @property
    def uri(self) -> str:
        """Of the Mac itself."""
        return f"apple://board?config={self.config}&python={self.bin}/python-with-coremltools"

    @property
    def phone_uri(self) -> str:
        """Of its phone."""
        return f"{self.uri}&device={PHONE}"

    def trouble_with_the_phone(self, what: str) -> None:
        """Have the phone fail."""
        (self.phone / what).touch()
