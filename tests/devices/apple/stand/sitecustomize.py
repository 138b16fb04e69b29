"""What macOS would bring to coremltools: its compiler, and predictions on this very machine.

Python imports this before the agent. The compiler's stand-in keeps the package inside what it
"compiles"; srdeploy's interpreter of Core ML programs predicts in Core ML's place.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

SLOW = ("torch", "sklearn")  # coremltools does without; they take seconds to import
for _name in SLOW:
    sys.modules[_name] = None  # type: ignore[assignment]


def compile_model(model: str, destination_path: str) -> str:
    shutil.copytree(model, Path(destination_path) / "net.mlpackage")
    return destination_path


def prepare() -> None:
    from coremltools.models.ml_program.experimental import async_wrapper, remote_device

    class Here(async_wrapper.LocalMLModelAsyncWrapper):
        async def load(self) -> None:
            for name in SLOW:  # the interpreter needs them
                if name in sys.modules and sys.modules[name] is None:
                    del sys.modules[name]
            from srdeploy.runtime.open import open_session

            self._session: Any = open_session(self.spec_or_path, runtime="coreml-reference")

        async def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
            begin = time.perf_counter_ns()
            (x,) = inputs.values()
            y = self._session.run(x.astype("float32"))
            self._spent = time.perf_counter_ns() - begin
            return {self._session.package.output.name: y}

        async def unload(self) -> None:
            self._session.close()

        load_duration_in_nano_seconds = 12_000_000
        last_predict_duration_in_nano_seconds = property(lambda self: self._spent)

    async_wrapper.compile_model = compile_model
    async_wrapper.LocalMLModelAsyncWrapper = Here
    folder = Path(os.environ["FAKE_PHONE"]) / "modelrunner"
    remote_device._ModelRunnerAppBuilder._get_project_path = staticmethod(lambda: folder)


prepare()
