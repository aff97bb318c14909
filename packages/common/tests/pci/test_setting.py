from __future__ import annotations

import json

import pytest
from dra_common.pci import Binding, Setting

SETTINGS = [
    Setting(Binding()),
    Setting(Binding("xe", ""), autoprobe=False),
    Setting(Binding("igb"), autoprobe=True, vfs=(Binding("vfio-pci", "vfio-pci"), Binding())),
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_record_keeps_a_setting(setting: Setting) -> None:
    assert Setting.from_json(json.loads(json.dumps(setting.to_json()))) == setting


def test_what_is_no_setting_is_told() -> None:
    with pytest.raises(KeyError):
        Setting.from_json({"binding": {"driver": "xe"}})
