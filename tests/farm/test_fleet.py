from __future__ import annotations

import pytest

from srdeploy.errors import UserError
from srdeploy.farm.fleet import LiveDevice, devices_of, tags_of, why_none


def device(name: str, *tags: str, state: str = "ready", kind: str = "adb") -> LiveDevice:
    return LiveDevice(
        name=name,
        address=f"tls://{name}",
        uri=f"{kind}://{name}",
        kind=kind,
        tags=tags,
        host="h",
        state=state,
        reason="fell" if state != "ready" else "",
        in_a_row=0,
        done=0,
        running=None,
        seconds=None,
        python="3.11",
    )


FLEET = [
    device("pixel-6-a", "pixel-6"),
    device("pixel-6-b", "pixel-6"),
    device("pixel-8-a", "pixel-8"),
    device("orin", "jetson-orin", kind="ssh"),
    device("desk", kind="local", state="quarantined"),
]


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        (["jetson-orin", "pixel-*"], ["jetson-orin", "pixel-6", "pixel-8"]),  # tags before names
        (["pixel-6-a"], ["pixel-6-a"]),
        (["d*"], ["desk"]),  # no tag fits, so names do
        (["adb", "adb"], ["adb"]),
    ],
)
def test_words_become_tags(words: list[str], tags: list[str]) -> None:
    assert tags_of(words, FLEET) == tags


def test_an_unknown_word_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'jetson-orin'"):
        tags_of(["jetson-orn"], FLEET)
    with pytest.raises(UserError, match="live device or tag"):
        tags_of(["zebra-*"], FLEET)
    with pytest.raises(UserError, match="No device of the farm is connected"):
        tags_of(["orin"], [])


def test_devices_of_words() -> None:
    assert [one.name for one in devices_of(["pixel-6", "ssh"], FLEET)] == [
        "pixel-6-a",
        "pixel-6-b",
        "orin",
    ]


def test_why_there_is_none() -> None:
    assert why_none("adb", FLEET) is None
    assert why_none("desk", FLEET) == (
        "No device 'desk' of the farm takes jobs: desk is quarantined (fell)."
    )
    assert "connected" in (why_none("zebra", FLEET) or "")
