"""What a fit's folder holds, and what of it a fit may remove."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.fitting.folder import SETTINGS, discard_work, keep_settings
from srdeploy.fitting.result import FitOptions
from srdeploy.fitting.subject import Subject


def _options(*budgets: float) -> FitOptions:
    return FitOptions(device="local", size=(32, 48), budgets_ms=budgets)


def test_the_same_fit_goes_on_and_another_is_refused(tiny: Subject, tmp_path: Path) -> None:
    keep_settings(tiny.network, _options(1.5, 9.0), tmp_path)
    keep_settings(tiny.network, _options(1.5, 9.0), tmp_path)
    with pytest.raises(UserError, match="holds another fit"):
        keep_settings(tiny.network, _options(2.0), tmp_path)


def test_only_what_is_of_the_fit_is_removed(tiny: Subject, tmp_path: Path) -> None:
    keep_settings(tiny.network, _options(1.5, 9.0), tmp_path)
    (tmp_path / "1.5ms").mkdir()
    for name in ("algorithms", "7ms"):
        (tmp_path / name).mkdir()
    discard_work(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7ms", "algorithms"]


@pytest.mark.parametrize("text", ['{"theme": "dark"}', "[]", "not JSON"])
def test_settings_of_something_else_are_left_alone(
    text: str, tiny: Subject, tmp_path: Path
) -> None:
    (tmp_path / SETTINGS).write_text(text)
    (tmp_path / "work").mkdir()
    with pytest.raises(UserError, match="name another folder"):
        keep_settings(tiny.network, _options(1.5), tmp_path)
    with pytest.raises(UserError, match="name another folder"):
        discard_work(tmp_path)
    assert (tmp_path / SETTINGS).read_text() == text
    assert (tmp_path / "work").is_dir()
