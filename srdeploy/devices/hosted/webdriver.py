"""Browsers on devices elsewhere, opened through WebDriver: BrowserStack, Sauce Labs, Appium..."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from pydantic import Field

from srdeploy.devices.browser.device import OPTIONS, BrowserDevice, to_stderr
from srdeploy.devices.errors import DeviceRefused
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from srdeploy.util.strict import Strict, read_yaml


class WebdriverConfig(Strict):
    """What the file named by ``config=`` holds.

    Attributes:
        endpoint: URL of the WebDriver server; ``$VARIABLES`` are filled from the environment, so
            that keys stay out of files and results.
        capabilities: What the service is asked for, in its own words.
        page: Address under which the remote device reaches our page (a tunnel's), where that is
            not the one listened on.
    """

    endpoint: str
    capabilities: dict[str, Any] = Field(default_factory=dict)
    page: str | None = None


class WebdriverDevice(BrowserDevice):
    """The page of ``browser`` devices, opened by a remote WebDriver instead of a person.

    ``webdriver?config=FILE``: options and the address to listen on are those of ``browser``, and
    ``config`` names a YAML file (:class:`WebdriverConfig`).
    """

    known_options: ClassVar[tuple[str, ...]] = (*(o for o in OPTIONS if o != "adb"), "config")
    config_type: ClassVar[type[Strict]] = WebdriverConfig

    def __init__(self, uri: DeviceUri, tell: Callable[[str], None] = to_stderr) -> None:
        """Read the file; nothing is connected yet.

        Raises:
            UserError: no file, or one that does not fit.
        """
        super().__init__(uri, tell)
        if "config" not in uri.options:
            raise UserError(f"'{uri.text}' needs config=FILE; docs/hosted.md shows such files.")
        self.config: Any = read_yaml(self.config_type, uri.options["config"])

    @property
    def url(self) -> str:
        """The page as the remote device reaches it."""
        if self.config.page is None:
            return super().url
        path = urlsplit(super().url)
        fragment = f"#{quote(self._name)}" if self._name else ""
        return f"{self.config.page.rstrip('/')}{path.path}{fragment}"

    def endpoint(self, stack: ExitStack) -> str:
        """The WebDriver server's URL; what must be undone goes onto ``stack``."""
        expanded = os.path.expandvars(self.config.endpoint)
        if "$" in expanded:
            raise UserError(
                f"The endpoint '{self.config.endpoint}' needs an environment variable that is not "
                "set; set it to what the service gave you."
            )
        return expanded

    def _invite(self, stack: ExitStack) -> None:
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver import Remote
        from selenium.webdriver.common.options import ArgOptions
        from urllib3.exceptions import HTTPError

        options = ArgOptions()
        for name, value in self.config.capabilities.items():
            options.set_capability(name, value)
        endpoint = self.endpoint(stack)
        try:
            with _keys_in_urls():
                driver = Remote(command_executor=endpoint, options=options)
                stack.callback(_quit, driver)
                driver.get(self.url)
        except (WebDriverException, HTTPError, OSError) as error:
            host = urlsplit(endpoint).hostname  # never the whole: it holds the user's key
            reason = " ".join(str(getattr(error, "msg", None) or error).split())[:200]
            raise DeviceRefused(
                f"The WebDriver server at {host} opened no page "
                f"({_without_key(reason, endpoint)}); check the endpoint, the capabilities, and "
                "that the device reaches the page."
            ) from None
        self._tell(f"The page opens through {urlsplit(endpoint).hostname}.")


@contextmanager
def _keys_in_urls() -> Iterator[None]:
    """No warning of them: this is how these services give them out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _quit(driver: Any) -> None:
    with _keys_in_urls():
        driver.quit()


def _without_key(text: str, endpoint: str) -> str:
    for secret in (urlsplit(endpoint).password, urlsplit(endpoint).username):
        if secret:
            text = text.replace(secret, "***")
    return text
