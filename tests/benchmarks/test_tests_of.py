"""Which tests hold a file: by name, by import, by way of others; what changed since when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from tests_of import DOCS, HOUSE, Sources, changed_since  # type: ignore[import-not-found]  # noqa: E402

TREE = {
    "srdeploy/__init__.py": "",
    "srdeploy/metrics.py": "",
    "srdeploy/late.py": "",
    "srdeploy/page/__init__.py": "",
    "srdeploy/page/html.py": "from srdeploy import metrics\n",
    "srdeploy/page/lines.py": "def f():\n    from srdeploy.page.html import x\n",
    "srdeploy/page/alone.py": "",
    "tests/test_metrics.py": "import srdeploy.metrics\n",
    "tests/test_metrics_more.py": "",
    "tests/other/test_far.py": "from srdeploy.page.lines import f\n",
    "tests/page/helper.py": "from srdeploy.page import lines\n",
    "tests/page/test_helped.py": "from tests.page.helper import lines\nRECIPE = 'deep.yaml'\n",
    "tests/page/test_named.py": "def test(): patch('srdeploy.late.thing')\n",
    "tests/page/conftest.py": "",
    "benchmarks/study.py": "from srdeploy.metrics import psnr\n",
    "tests/test_study.py": "import study\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_nearest_first_by_name_import_and_reach(tree: Path) -> None:
    sources = Sources(tree)
    assert sources.of("srdeploy/metrics.py") == [
        "tests/test_metrics.py", "tests/test_metrics_more.py", "tests/test_study.py",
    ]  # fmt: skip
    assert sources.of("srdeploy/page/lines.py") == [
        "tests/page/test_helped.py", "tests/other/test_far.py",
    ] or sources.of("srdeploy/page/lines.py") == [
        "tests/other/test_far.py", "tests/page/test_helped.py",
    ]  # fmt: skip
    # Only reached by way of another file: the tests of its own folder, not those of others.
    assert sources.of("srdeploy/page/html.py") == ["tests/page/test_helped.py"]
    assert sources.of("srdeploy/late.py") == ["tests/page/test_named.py"]
    assert sources.of("benchmarks/study.py") == ["tests/test_study.py"]


def test_a_file_that_nothing_names_is_held_by_the_tests_of_its_folder(tree: Path) -> None:
    assert Sources(tree).of("srdeploy/page/alone.py") == [
        "tests/page/test_helped.py", "tests/page/test_named.py",
    ]  # fmt: skip


def test_files_that_are_no_modules(tree: Path) -> None:
    sources = Sources(tree)
    assert sources.of_change(["docs/groups.md"]) == [DOCS]
    assert sources.of_change(["configs/deep.yaml"]) == ["tests/page/test_helped.py"]
    assert sources.of_change(["tests/page/helper.py"]) == ["tests/page/test_helped.py"]
    assert set(sources.of_change(["tests/page/conftest.py"])) == {
        "tests/page/test_helped.py", "tests/page/test_named.py",
    }  # fmt: skip
    assert sources.of_change(["srdeploy/gone.py", "LICENSE"]) == []
    assert HOUSE in sources.of_change(["srdeploy/late.py"])
    # The nearest of each file come before the second nearest of any.
    assert sources.of_change(["srdeploy/metrics.py", "benchmarks/study.py"])[:2] == [
        "tests/test_metrics.py", "tests/test_study.py",
    ]  # fmt: skip


def test_what_changed_since_main(tree: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=tree,
                       check=True, capture_output=True)  # fmt: skip

    git("init", "--initial-branch", "main")
    git("add", ".")
    git("commit", "-m", "one")
    assert changed_since("main", tree) == []
    git("switch", "-c", "mine")
    (tree / "srdeploy/late.py").write_text("x = 1\n")
    git("commit", "-am", "two")
    (tree / "srdeploy/metrics.py").write_text("x = 1\n")
    (tree / "tests/test_new.py").write_text("")
    assert changed_since("main", tree) == [
        "srdeploy/late.py", "srdeploy/metrics.py", "tests/test_new.py",
    ]  # fmt: skip
    assert changed_since("nothing", tree) == ["srdeploy/metrics.py", "tests/test_new.py"]


def test_every_module_of_the_package_is_held_by_some_test() -> None:
    sources = Sources(ROOT)
    modules = [path for path in sources.imports if path.startswith("srdeploy/")]
    assert len(modules) > 300
    unheld = [m for m in modules if not m.startswith("srdeploy/assets/") and not sources.of(m)]
    assert unheld == []
