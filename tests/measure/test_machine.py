from __future__ import annotations

import getpass
import json
import os
import platform
from pathlib import Path

from srdeploy.measure.machine import machine_facts


def test_says_what_matters() -> None:
    facts = machine_facts()
    assert facts["cpu"]
    assert 1 <= facts["usable_cpus"] <= facts["cpus"]
    assert facts["versions"]["onnxruntime"][0].isdigit()
    assert set(facts["versions"]) == {"srdeploy", "torch", "onnxruntime", "numpy"}
    assert facts["memory_gb"] is None or facts["memory_gb"] > 0.5
    json.dumps(facts)


def test_says_nothing_of_whose_it_is() -> None:
    text = json.dumps(machine_facts())
    for secret in (platform.node(), str(Path.home()), os.getcwd(), f'"{getpass.getuser()}"'):
        assert secret not in text
