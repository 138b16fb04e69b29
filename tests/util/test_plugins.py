"""Tables that installed packages add rows to: what is taken, and what is left out and told."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from srdeploy.cli.main import app, run
from srdeploy.devices.table import KINDS, Kind
from srdeploy.errors import SrdeployError, unknown_name
from srdeploy.quality.metrics import METRICS
from srdeploy.util.plugins import NAME, TABLES, Plugin, Table, code_of, installed, problems

KIND = "from srdeploy.devices.table import Kind\n"
MINE = f'{KIND}ROW = Kind("mine", "my device", "mine", "m:C")\n'
LOCAL = KINDS["local"]


class Packages:
    """A folder of installed packages: a module, its metadata and an entry point each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def add(self, name: str, code: str, group: str = "srdeploy.devices") -> None:
        """Install one of version 1.2 whose entry point is ``ROW`` in a module of its code."""
        module = name.replace("-", "_")
        (self.folder / f"{module}.py").write_text(code)
        info = self.folder / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\nany = {module}:ROW\n")
        self.modules.append(module)
        importlib.invalidate_caches()


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found = Packages(tmp_path / "site")
    yield found
    for module in found.modules:
        sys.modules.pop(module, None)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table[Kind]:
    """The devices, with one built-in row."""
    own = Table("devices", [LOCAL], lambda row: row.availability())
    monkeypatch.setitem(sys.modules, "own_table", SimpleNamespace(OWN=own))  # type: ignore[arg-type]
    monkeypatch.setattr("srdeploy.util.plugins.TABLES", {"devices": "own_table:OWN"})
    monkeypatch.setattr("srdeploy.devices.table.KINDS", own)
    return own


def test_rows_of_plugins_follow_the_built_in_ones(packages: Packages, table: Table[Kind]) -> None:
    packages.add("tiny-b", MINE)
    packages.add("tiny-a", f'{KIND}ROW = [Kind(n, n, n, "m:C") for n in ("two", "three")]')
    assert list(table) == ["local", "two", "three", "mine"]
    assert len(table) == 4
    assert table["mine"].title == "my device"
    told = [("tiny-a", ("two", "three")), ("tiny-b", ("mine",))]
    assert table.plugins() == [Plugin("devices", name, "1.2", rows) for name, rows in told]
    assert installed() == table.plugins()
    assert problems(table) == []


def test_plugins_of_other_tables_are_left_alone(packages: Packages, table: Table[Kind]) -> None:
    packages.add("tiny", MINE, group="srdeploy.targets")
    assert list(table) == ["local"]
    assert "tiny" not in sys.modules
    assert installed() == []


def test_what_needs_built_in_rows_imports_no_plugin(packages: Packages, table: Table[Kind]) -> None:
    packages.add("tiny", MINE)
    assert table["local"] is LOCAL
    assert "local" in table
    assert table.get("local") is LOCAL
    assert "tiny" not in sys.modules
    assert table.get("another") is None
    assert "tiny" in sys.modules


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nothing_there", "tiny:ROW cannot be imported (ModuleNotFoundError: No module"),
        ("ROW =", "tiny:ROW cannot be imported (SyntaxError: invalid syntax"),
        ("raise SystemExit('no')", "tiny:ROW cannot be imported (SystemExit: no)"),
        ("", "tiny:ROW cannot be imported (AttributeError: module 'tiny' has no attribute"),
        ("ROW = 7", "int is no row of devices, which are srdeploy.devices.table.Kind"),
        (f'{KIND}ROW = Kind("My Own", "t", "m", "m:C")', "'My Own' is no name of a device, which"),
        (f'{KIND}ROW = Kind(7, "t", "m", "m:C")', "7 is no name of a device, which has small"),
        (f'{KIND}ROW = Kind("local", "t", "m", "m:C")', "there is a device 'local' already, which"),
        (
            f"{KIND}class Odd(Kind):\n    def availability(self): raise KeyError('two\\nlines')\n"
            'ROW = Odd("odd", "t", "odd", "m:C")',
            "the device 'odd' is not sound (KeyError: 'two\\nlines')",
        ),
    ],
)
def test_what_is_broken_is_left_out_and_told(
    code: str,
    told: str,
    packages: Packages,
    table: Table[Kind],
    capsys: pytest.CaptureFixture[str],
) -> None:
    packages.add("tiny", code)
    packages.add("zeta", MINE)
    assert list(table) == ["local", "mine"]
    assert table["local"] is LOCAL
    broken, sound = table.plugins()
    assert (broken.rows, sound.problems) == ((), ())
    (sentence,) = broken.problems
    assert sentence.startswith(f"The plug-in tiny 1.2 is not used in full: {told}")
    assert sentence.endswith("; update it, or remove it with `pip uninstall tiny`.")
    assert sentence.isprintable()
    assert problems(table, {}) == [sentence]
    assert sentence in str(unknown_name("kind of device", "no-such", table))
    assert sentence in str(unknown_name("device", "no-such", {*table, "more"}, table))
    assert run(["devices"]) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [sentence]
    assert "my device" in shown.out
    assert run(["doctor"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-4:-1] == [
        "plug-in tiny 1.2: nothing",
        "plug-in zeta 1.2: device mine",
        sentence,
    ]


def test_a_list_gives_its_sound_rows(packages: Packages, table: Table[Kind]) -> None:
    packages.add("tiny", f"{MINE}ROW = [7, ROW, ROW]")
    assert list(table) == ["local", "mine"]
    (plugin,) = table.plugins()
    assert plugin.rows == ("mine",)
    assert len(plugin.problems) == 2
    assert "there is a device 'mine' already" in plugin.problems[1]


def test_of_two_with_one_name_the_first_stays(packages: Packages, table: Table[Kind]) -> None:
    packages.add("tiny-b", MINE.replace("my device", "of b"))
    packages.add("tiny-a", MINE.replace("my device", "of a"))
    assert table["mine"].title == "of a"
    (sentence,) = problems(table)
    assert sentence.startswith("The plug-in tiny-b 1.2 is not used in full: there is a device")


def test_a_plugin_may_look_at_the_table(packages: Packages, table: Table[Kind]) -> None:
    packages.add("tiny", f"from own_table import OWN\nSEEN = list(OWN)\n{MINE}")
    assert list(table) == ["local", "mine"]
    assert importlib.import_module("tiny").SEEN == ["local"]


def test_threads_that_look_at_once_see_all(packages: Packages, table: Table[Kind]) -> None:
    packages.add("tiny", f"import time\ntime.sleep(0.1)\n{MINE}")
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda _: list(table), range(4)))
    assert seen == [["local", "mine"]] * 4
    assert problems(table) == []


def test_every_table_is_one_and_its_names_are_names() -> None:
    for name, place in TABLES.items():
        module, attribute = place.split(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, Table)
        assert found._name == name
        for key, row in found.items():
            assert row.name == key
            assert re.fullmatch(NAME, key)


@pytest.mark.parametrize(("words", "imported"), [("--help", False), ("export --help", True)])
def test_help_imports_what_it_shows(packages: Packages, words: str, imported: bool) -> None:
    """Of all commands none is shown, and of one those that it takes."""
    code = "from pathlib import Path\nPath(__file__).with_suffix('.seen').touch()\nROW = []"
    for table in TABLES:
        packages.add(f"tiny-{table}", code, group=f"srdeploy.{table}")
    done = subprocess.run(
        [sys.executable, "-m", "srdeploy", *words.split()],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(packages.folder), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    seen = {path.stem for path in packages.folder.glob("*.seen")}
    assert seen == ({"tiny_targets"} if imported else set())
    assert "{" not in done.stdout


def test_completion_of_an_option_names_the_rows() -> None:
    """Shells show the help of the options that they offer."""
    command = typer.main.get_command(app).commands["prune"]  # type: ignore[attr-defined]
    context = command.make_context("prune", ["net"], resilient_parsing=True)
    offered = {item.value: item.help for item in command.shell_complete(context, "--me")}
    assert list(offered) == ["--method"]
    assert "gassl" in offered["--method"]
    assert "{" not in offered["--method"]


@pytest.mark.parametrize(
    ("command", "name"),
    [("export", "trt-rtx"), ("bench", "onnx-reference"), ("prune", "gassl"), ("prune", "l1: one")],
)
def test_help_names_the_rows(command: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert name in shown
    assert "{" not in shown


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nothing_there", "(ModuleNotFoundError: No module named 'nothing_there')"),
        ("", "(AttributeError: module 'tiny' has no attribute 'Device')"),
        ("1 / 0", "(ZeroDivisionError: division by zero)"),
    ],
)
def test_code_that_cannot_be_imported_is_the_plugins_fault(
    code: str, told: str, packages: Packages
) -> None:
    packages.add("tiny-one", "ROW = []")
    (packages.folder / "tiny.py").write_text(code)
    (packages.folder / "tiny_one-1.2.dist-info" / "RECORD").write_text("tiny.py,,\n")
    packages.modules.append("tiny")
    with pytest.raises(SrdeployError) as caught:
        code_of("tiny:Device")
    assert str(caught.value) == (
        f"tiny:Device cannot be imported {told}; update tiny-one, or remove it with `pip uninstall "
        "tiny-one`."
    )


def test_ours_that_cannot_be_imported_is_not() -> None:
    assert code_of("srdeploy.devices.table:Kind.availability") is Kind.availability
    with pytest.raises(ModuleNotFoundError):
        code_of("srdeploy.nothing:there")


def test_files_are_read_where_a_plugins_importer_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its tensors might have been meant, so whoever reads a file is told, once."""
    import torch

    from srdeploy.models.architecture import Architecture
    from srdeploy.models.load import load_network
    from srdeploy.models.registry import ARCHITECTURES, create

    row = Architecture("broken", "t", "nothing_there:Net", "nothing_there:IMPORTER")
    monkeypatch.setitem(ARCHITECTURES, "broken", row)
    network = create("edsr", n_blocks=1, n_feats=4)
    torch.save(network.module.state_dict(), tmp_path / "edsr.pt")
    for _ in range(2):
        assert load_network(tmp_path / "edsr.pt").card.arch == "edsr"
    (told,) = {record.message for record in caplog.records if "nothing_there" in record.message}
    assert told.startswith("nothing_there:IMPORTER cannot be imported (ModuleNotFoundError")
    assert caplog.text.count("nothing_there:IMPORTER cannot") == 1


def test_a_metric_without_its_function_is_left_out(packages: Packages) -> None:
    """It would have ended every evaluation."""
    row = 'Metric("bad", "BAD", "", 2, "nothing_there:bad", low=0.0, high=1.0)'
    code = f"from srdeploy.quality.metrics import Metric\nROW = {row}"
    packages.add("tiny", code, group="srdeploy.metrics")
    own = Table("metrics", [METRICS["psnr"]], METRICS._check)
    assert list(own) == ["psnr"]
    assert "the metric 'bad' is not sound (SrdeployError: nothing_there:bad" in problems(own)[0]
