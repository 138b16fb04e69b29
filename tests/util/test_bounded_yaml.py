"""Settings from anywhere: bounded in size, depth, and what they unfold to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from srdeploy.errors import UserError
from srdeploy.measure.scenario import read_scenario
from srdeploy.util import bounded_yaml
from srdeploy.util.bounded_yaml import MAX_BYTES, MAX_DEPTH, MAX_NODES, parsed, read_file
from srdeploy.util.strict import MAX_BASES, read_change, read_mapping

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "unfolds to more than"),
        (MERGES, "unfolds to more than"),
        ("a: &a [*a]", "alias of what it lies in"),
        ("a: &a {b: {<<: *a}}", "alias of what it lies in"),
        ("[" * 5000, "nested deeper"),
        ("? " * 5000, "nested deeper"),
        ("{a: " * 5000, "nested deeper"),
        ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 40)), "deeper"),
        ("a: " + "9" * 5000, "5000 characters that is no text"),
        ("a: " + ":".join(["1"] * 5000), "no text"),
        ("a: !!binary " + "QUFB" * 50, "no text"),
        ("a: !!python/object/apply:os.system [echo]", "could not determine a constructor"),
        ("a: !!bool x", "not what its tag says"),
        ("a: !!timestamp x", "not what its tag says"),
        ("a: !!int ''", "not what its tag says"),
        ("a: 2026-99-99", "month must be"),
        ("a: \x00", "special characters"),
        ("a: " + "x" * MAX_BYTES, "longer than"),
    ],
)
def test_what_is_beyond_the_bounds_is_refused_at_once(text: str, reason: str) -> None:
    with at_most(2), pytest.raises(ValueError, match=reason):
        parsed(text)


def test_what_is_within_them_reads_as_ever() -> None:
    text = """
    base: &a {lr: 1e-3, on: yes, date: 2026-01-02, none: ~, list: [1, 2.5, "x"], hex: 0x1f}
    one: {<<: *a, lr: 5.0e-4}
    two: [*a, *a]
    """
    assert parsed(text) == yaml.safe_load(text)
    assert parsed("") is None
    assert len(parsed(f"[{'1, ' * (MAX_NODES - 2)}1]")) == MAX_NODES - 1
    deep = MAX_DEPTH - 1
    assert parsed("[" * deep + "1" + "]" * deep)
    assert parsed(f"a: {'x' * 5000}") == {"a": "x" * 5000}


def test_the_largest_file_is_refused_on_the_way() -> None:
    with at_most(5), pytest.raises(ValueError, match="unfolds"):
        parsed("[" + "1," * (MAX_BYTES // 2 - 2) + "]")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "large.yaml").write_text("#" * (MAX_BYTES + 1))
    for name, reason in (
        ("pipe.yaml", "no regular file"),
        ("/dev/zero", "no regular file"),
        ("folder.yaml", "no regular file"),
        ("loop.yaml", "cannot be read"),
        ("large.yaml", "larger than 256 KB"),
        ("a\0b.yaml", "There is no file"),
        ("none.yaml", "There is no file"),
        ("large.yaml/x.yaml", "There is no file"),
        ("x" * 300, "cannot be read"),
    ):
        with at_most(2), pytest.raises(UserError, match=reason):
            read_file(tmp_path / name)


@pytest.mark.parametrize(
    "base",
    ["/dev/zero", "pipe.yaml", "loop.yaml", "me.yaml", "link.yaml", '"a\\0b"', "[1]", "large.yaml"],
)
def test_a_base_is_bounded_too(tmp_path: Path, base: str) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "link.yaml").symlink_to("me.yaml")
    (tmp_path / "large.yaml").write_text("#" * (MAX_BYTES + 1))
    path = tmp_path / "me.yaml"
    path.write_text(f"base: {base}\nname: me\n")
    with at_most(2), pytest.raises(UserError):
        read_mapping(path)


def test_bases_end(tmp_path: Path) -> None:
    for number in range(MAX_BASES + 1):
        base = f"base: {number + 1}.yaml\n" if number < MAX_BASES else ""
        (tmp_path / f"{number}.yaml").write_text(f"{base}k{number}: 1\n")
    assert len(read_mapping(tmp_path / "1.yaml")) == MAX_BASES
    with pytest.raises(UserError, match="each the base of the next"):
        read_mapping(tmp_path / "0.yaml")
    (tmp_path / f"{MAX_BASES}.yaml").write_text("base: 1.yaml\n")
    with pytest.raises(UserError, match="base names another YAML file"):
        read_mapping(tmp_path / "1.yaml")


def test_changes_of_the_command_line_are_bounded_too() -> None:
    for change in (f"a={'[' * 5000}", ".".join("a" * 5000) + "=1", "a=&a [*a]", "a=" + "9" * 5000):
        with at_most(2), pytest.raises(UserError, match="is not KEY=VALUE"):
            read_change(change)


def test_every_configuration_is_read_so(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(LAUGHS)
    with at_most(2), pytest.raises(UserError, match="unfolds"):
        read_scenario(tmp_path / "s.yaml")
    package = Path(bounded_yaml.__file__).parents[1]
    loading = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(f"yaml.{word}" in path.read_text("utf-8") for word in ("safe_load", "load(", "Safe"))
    ]
    assert loading == ["util/bounded_yaml.py"]
