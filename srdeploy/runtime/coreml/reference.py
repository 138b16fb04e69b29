"""CoreML packages in srdeploy's own interpreter: their results anywhere, never their speed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.runtime.coreml.program import Program, Watch
from srdeploy.runtime.coreml.session import PackageSession
from srdeploy.runtime.sizes import InputSizes
from srdeploy.runtime.torch_session import lend_threads


class CoremlReferenceSession(PackageSession):
    """A package whose program is interpreted (:mod:`srdeploy.runtime.coreml.program`).

    Attributes:
        program: The decoded program.
        watch: Sees every intermediate result of the next runs, if set.
    """

    runtime: ClassVar[str] = "coreml-reference"

    def __init__(
        self, path: str | Path, *, threads: int | None = None, any_size: bool = False
    ) -> None:
        """Read a package and decode its program.

        Args:
            path: The package.
            threads: As in :class:`srdeploy.runtime.session.Session`.
            any_size: Run inputs of sizes that Core ML would refuse, too, unless one is written
                into the program, which then computes something else.

        Raises:
            UserError: as :func:`srdeploy.runtime.coreml.package.read_package`, or an operation
                that the interpreter does not know.
        """
        super().__init__(path, threads)
        self.program = Program(self.package)
        self.watch: Watch | None = None
        self._any_size = any_size and not self.program.is_sized

    @property
    def sizes(self) -> InputSizes | None:
        """See :class:`srdeploy.runtime.session.Session`."""
        return None if self._any_size else super().sizes

    def _check_size(self, height: int, width: int) -> None:
        if not self._any_size:
            super()._check_size(height, width)

    def _predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        with lend_threads(self.threads):
            return self.program.run(x, self.watch)
