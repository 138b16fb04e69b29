"""AWS Device Farm: a real phone rented for a session, its browser opened through its endpoint."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, ClassVar

from pydantic import Field

from srdeploy.devices.errors import DeviceError, DeviceRefused
from srdeploy.devices.hosted.webdriver import WebdriverDevice
from srdeploy.errors import UserError
from srdeploy.util.strict import Strict

REGION = "us-west-2"
"""Device Farm lives in this region only."""

_POLL_SECONDS = 5.0


class DeviceFarmConfig(Strict):
    """What the file named by ``config=`` holds; credentials are boto3's business.

    Attributes:
        project: ARN of the project.
        device: ARN of the device.
        capabilities: For the phone's browser, e.g. ``{browserName: Chrome}``.
        page: Address under which the phone reaches our page; it is not in your network.
        start_seconds: How long the session may take to start.
    """

    project: str
    device: str
    capabilities: dict[str, Any] = Field(default_factory=dict)
    page: str
    start_seconds: float = 900.0


class DeviceFarmDevice(WebdriverDevice):
    """``aws-device-farm?config=FILE``: a remote access session, ended with the device's context."""

    config_type: ClassVar[type[Strict]] = DeviceFarmConfig
    poll_seconds: float = _POLL_SECONDS

    def client(self) -> Any:
        """boto3's client (tests put a Stubber around it)."""
        import boto3

        return boto3.client("devicefarm", region_name=REGION)

    def endpoint(self, stack: ExitStack) -> str:
        """Start a session and wait until it runs.

        Raises:
            UserError: AWS refuses the request: credentials, ARNs, quota.
            DeviceError: the session ended before it ran, or did not start in time.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            client = self.client()
            session = client.create_remote_access_session(
                projectArn=self.config.project, deviceArn=self.config.device, name="srdeploy"
            )["remoteAccessSession"]
            stack.callback(client.stop_remote_access_session, arn=session["arn"])
            deadline = time.monotonic() + self.config.start_seconds
            while session["status"] != "RUNNING":
                if session["status"] in ("STOPPING", "COMPLETED"):
                    raise DeviceError(
                        "AWS Device Farm ended the session before it ran "
                        f"({session.get('message', 'no reason given')}); try another device."
                    )
                if time.monotonic() > deadline:
                    raise DeviceRefused(
                        "AWS Device Farm started no session within "
                        f"{self.config.start_seconds:g} s; the device is busy, try later or "
                        "another."
                    )
                time.sleep(self.poll_seconds)
                session = client.get_remote_access_session(arn=session["arn"])[
                    "remoteAccessSession"
                ]
        except (BotoCoreError, ClientError) as error:
            raise UserError(
                f"AWS Device Farm refused ({' '.join(str(error).split())}); check credentials, "
                "ARNs and quota."
            ) from None
        url: str | None = session.get("endpoints", {}).get("remoteDriverEndpoint")
        if url is None:
            raise DeviceError(
                "AWS Device Farm's session has no WebDriver endpoint; choose a device that "
                "offers one (Appium endpoints)."
            )
        return url
