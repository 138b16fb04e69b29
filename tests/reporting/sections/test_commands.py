"""Commands are text, each in a block of its own."""

from __future__ import annotations

from srdeploy.reporting.sections.commands import commands
from tests.reporting.material import data_of


def test_commands() -> None:
    assert commands(data_of(commands=["a <b>", "c"])) == (
        "<pre><code>a &lt;b&gt;</code></pre><pre><code>c</code></pre>"
    )
