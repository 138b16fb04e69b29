"""Records that others keep cannot be changed by whoever holds them."""

from __future__ import annotations

import pytest

from tests.frozen import assert_frozen

RECORDS = [
    "srdeploy.models.importing.assemble:Assembled",
    "srdeploy.models.importing.layouts:Importer",
    "srdeploy.models.importing.namings:Naming",
    "srdeploy.models.importing.state_dict:StateDict",
    "srdeploy.models.importing.state_dict:_Candidate",
    "srdeploy.models.importing.torch_values:StorageRef",
    "srdeploy.models.importing.torch_values:TensorRef",
]


@pytest.mark.parametrize("record", RECORDS)
def test_no_value_of_it_changes(record: str) -> None:
    assert_frozen(record)
