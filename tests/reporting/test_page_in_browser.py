"""The page in a real headless Chromium: the slider, both widths, both themes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.reporting.page import write_report
from tests.devices.browser.real_browser import (
    browser,  # noqa: F401
    browser_process,  # noqa: F401
    complaints,
)
from tests.reporting.material import measurements, write_run, write_store

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    sources = [write_run(folder / "run"), write_store(folder / "a.sqlite", measurements())]
    return write_report(sources, folder / "report.html", sources[1]).output


def _open(driver: Any, page: Path, width: int, theme: str) -> None:
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": theme}]},
    )
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.get(page.as_uri())


def test_slider_moves_and_nothing_is_asked_for(browser: Any, page: Path) -> None:  # noqa: F811
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    _open(browser, page, 1200, "light")
    crop = browser.find_element(By.CSS_SELECTOR, ".crop")
    stage = crop.find_element(By.CSS_SELECTOR, ".stage")
    shown = "return [...arguments[0].querySelectorAll('img:not([hidden])')].map((i) => i.alt)"
    assert browser.execute_script(shown, stage) == ["dense", "tuned"]
    clip = "return getComputedStyle(arguments[0].querySelector('.over')).clipPath"
    before = browser.execute_script(clip, stage)
    slider = stage.find_element(By.CSS_SELECTOR, "input")
    slider.send_keys(Keys.ARROW_RIGHT * 10)
    assert slider.get_attribute("value") == "55"
    assert browser.execute_script(clip, stage) != before
    buttons = crop.find_elements(By.CSS_SELECTOR, ".choice.right button")
    browser.execute_script("arguments[0].click()", buttons[-1])
    assert browser.execute_script(shown, stage) == ["dense", "HR"]
    asked = "return performance.getEntriesByType('resource').map((e) => e.name)"
    assert [url for url in browser.execute_script(asked) if not url.startswith("data:")] == []
    assert complaints(browser) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_sticks_out(browser: Any, page: Path, width: int, theme: str) -> None:  # noqa: F811
    _open(browser, page, width, theme)
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    outside = browser.execute_script(
        "return [...document.querySelectorAll('section *')].filter((e) => {"
        "const b = e.getBoundingClientRect();"
        "return b.width && (b.right > innerWidth + 1 || b.left < -1)})"
        ".map((e) => e.outerHTML.slice(0, 80))"
    )
    assert outside == []
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(16, 18, 23)") == (theme == "dark")
    assert complaints(browser) == []
