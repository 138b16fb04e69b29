"""What every runtime of ONNX files must do. Subclass it, and name the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.probe import run_torch
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {
        "rgb": create("ledsr", scale=3, n_blocks=1, n_feats=8),
        "luma": create("vdsr", n_layers=3, n_feats=8),
    }


@pytest.fixture(scope="module")
def files(
    networks: dict[str, Network], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("contract")
    for name, network in networks.items():
        export_onnx(network, folder / f"{name}.onnx", check=False)
    return {name: folder / f"{name}.onnx" for name in networks}


def images(network: Network, *shape: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape, np.float32)
    return values * np.float32(network.card.value_range)


class RuntimeContract:
    """Tests of one runtime.

    Attributes:
        runtime: Its name in the table.
        tolerance: Of float32 results against torch, over the value range.
    """

    __test__: ClassVar[bool] = False  # its subclasses are run
    runtime: ClassVar[str]
    tolerance: ClassVar[float] = 1e-5

    def open(self, path: Path, **options: object) -> Session:
        return open_session(path, runtime=self.runtime, **options)  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", ["rgb", "luma"])
    def test_equals_torch(
        self, name: str, networks: dict[str, Network], files: dict[str, Path]
    ) -> None:
        network = networks[name]
        with self.open(files[name], threads=1) as session:
            assert session.runtime == self.runtime
            assert session.threads == 1
            assert session.card.arch == network.card.arch
            for shape in ((1, 16, 24), (2, 17, 9)):  # any size and batch, one session
                x = images(network, shape[0], network.card.channels, *shape[1:])
                y, expected = session.run(x), run_torch(network, x)
                assert y.dtype == np.float32
                assert y.shape == expected.shape
                limit = self.tolerance * network.card.value_range
                np.testing.assert_allclose(y, expected, atol=limit)

    def test_results_are_the_callers_own(
        self, networks: dict[str, Network], files: dict[str, Path]
    ) -> None:
        """The next run must not write into what this one returned."""
        first, second = (images(networks["rgb"], 1, 3, 16, 16, seed=seed) for seed in (1, 2))
        with self.open(files["rgb"], threads=1) as session:
            y = session.run(first)
            kept = y.copy()
            session.run(second)
            np.testing.assert_array_equal(y, kept)
            np.testing.assert_array_equal(session.run(first), kept)  # and runs repeat exactly

    def test_inputs_stay_as_they_are(
        self, networks: dict[str, Network], files: dict[str, Path]
    ) -> None:
        x = images(networks["rgb"], 1, 3, 16, 16)
        before = x.copy()
        with self.open(files["rgb"], threads=1) as session:
            session.run(x)
        np.testing.assert_array_equal(x, before)

    def test_a_foreign_file_needs_its_range(
        self, networks: dict[str, Network], files: dict[str, Path], tmp_path: Path
    ) -> None:
        model = onnx.load(files["rgb"])
        del model.metadata_props[:]
        onnx.save(model, tmp_path / "foreign.onnx")
        with pytest.raises(UserError, match="give the value range"):
            self.open(tmp_path / "foreign.onnx")
        with self.open(tmp_path / "foreign.onnx", value_range=255.0) as session:
            card = session.card
            assert (card.arch, card.scale, card.channels) == ("onnx", 3, 3)
            x = images(networks["rgb"], 1, 3, 8, 8)
            np.testing.assert_allclose(session.run(x), run_torch(networks["rgb"], x), atol=3e-3)

    def test_a_fixed_size_is_said(self, files: dict[str, Path], tmp_path: Path) -> None:
        model = onnx.load(files["rgb"])
        for dimension, size in zip(
            model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 16, 16), strict=True
        ):
            dimension.dim_value = size
        onnx.save(model, tmp_path / "fixed.onnx")
        with self.open(tmp_path / "fixed.onnx", threads=1) as session:
            assert str(session.sizes) == "16x16"
            assert session.run(np.zeros((1, 3, 16, 16), np.float32)).shape == (1, 3, 48, 48)
            with pytest.raises(UserError, match="takes 1x3x16x16 only, not 1x3x16x20"):
                session.run(np.zeros((1, 3, 16, 20), np.float32))

    @pytest.mark.parametrize("content", [b"", b"no ONNX at all", None])
    def test_damaged_files(
        self, content: bytes | None, files: dict[str, Path], tmp_path: Path
    ) -> None:
        whole = files["rgb"].read_bytes()
        (tmp_path / "bad.onnx").write_bytes(
            whole[: len(whole) // 3] if content is None else content
        )
        with pytest.raises(UserError, match=r"bad\.onnx") as caught:
            self.open(tmp_path / "bad.onnx")
        assert "\n" not in str(caught.value)

    def test_a_missing_file(self, files: dict[str, Path], tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"There is no file '.*absent\.onnx'"):
            self.open(tmp_path / "absent.onnx")

    def test_other_ends(self, files: dict[str, Path], tmp_path: Path) -> None:
        ends = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, 3, 8, 8]) for n in "xy"]
        node = helper.make_node("Add", ["x", "x"], ["y"])
        graph = helper.make_graph([node], "g", ends[:1], ends[1:])
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        onnx.save(model, tmp_path / "integers.onnx")
        with pytest.raises(UserError, match="srdeploy feeds float tensors"):
            self.open(tmp_path / "integers.onnx")
