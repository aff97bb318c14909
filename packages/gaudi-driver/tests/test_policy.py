"""Rules for Gaudis and the driver's own settings: which count, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dra_common.policy import DriverPolicy, effective, file_model
from gaudi_driver.device import Gaudi
from gaudi_driver.driver import GaudiDriver
from gaudi_driver.policy import KIND, GaudiPolicy
from gaudi_driver.products import product
from gaudi_trees import configured
from pydantic import ValidationError

TWO = Gaudi("0000:43:00.0", "0x1020", product("0x1020"), module_id=5)
THREE = Gaudi("0000:b3:00.0", "0x1060", product("0x1060"), module_id=0)


def policy(*rules: dict[str, Any], flags: dict[str, object] | None = None, **more: Any) -> GaudiPolicy:
    text = json.dumps({"apiVersion": KIND.api_version, "kind": KIND.kind, "devices": rules, **more})
    file = file_model(KIND).model_validate_json(text, by_alias=True, by_name=False)
    found = effective(KIND, file, "node-1", flags or {})
    assert isinstance(found, GaudiPolicy)
    return found


@pytest.mark.parametrize(
    ("match", "covered"),
    [
        ({}, [True, True]),
        ({"model": "Gaudi2"}, [True, False]),
        ({"model": ["Gaudi?", "x"]}, [True, True]),
        ({"module": 0}, [False, True]),
        ({"pciId": "0x1020"}, [True, False]),
        ({"pciAddress": "0000:b?:*"}, [False, True]),
        ({"name": THREE.name}, [False, True]),
        ({"model": "Gaudi2", "module": 0}, [False, False]),
    ],
)
def test_a_rule_covers_those_of_which_all_is_true(match: dict[str, Any], covered: list[bool]) -> None:
    found = policy({"match": match, "publish": False})
    assert [not found.of(gaudi).publish for gaudi in (TWO, THREE)] == covered


def test_what_is_not_published_is_denied() -> None:
    driver = configured(devices=({"match": {"module": 5}, "publish": False},))
    published = driver.publish({gaudi.name: gaudi for gaudi in (TWO, THREE)})
    assert published.denied == {TWO.name}
    assert [device.name for device in published.devices] == [TWO.name, THREE.name]


def test_a_flag_wins_over_the_file() -> None:
    found = policy(gaudiHookPath="/file/hook", healthInterval=7, flags={"gaudi_hook_path": "/flag/hook"})
    assert (found.hook, found.health_interval) == ("/flag/hook", 7)
    assert GaudiPolicy().hook == "/usr/bin/habana-container-hook"


@pytest.mark.parametrize(
    "bad",
    [
        {"healthInterval": 0},
        {"healthInterval": 3601},
        {"gaudiHookPath": "hook"},
        {"networkFile": "gaudinet.json"},
        {"networkFile": ""},
        {"devices": [{"match": {"pciId": "1020"}}]},
        {"devices": [{"match": {"name": "accel0"}}]},
        {"devices": [{"match": {"module": -1}}]},
        {"sharing": {}},
    ],
)
def test_what_could_never_work_is_refused(bad: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": KIND.api_version, "kind": KIND.kind, **bad})
    with pytest.raises(ValidationError):
        file_model(KIND).model_validate_json(text, by_alias=True, by_name=False)


def test_another_drivers_policy_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="no policy for Gaudis"):
        GaudiDriver().configure(DriverPolicy())
