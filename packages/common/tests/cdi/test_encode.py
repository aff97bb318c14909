"""What the bytes of a specification are, which version they need, and what is refused."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import yaml
from dra_common.cdi import encode_spec, minimum_version
from dra_common.errors import SpecInvalid, StateError
from dra_common.model import ContainerEdits, DeviceNode, Hook, Mount

NODE = DeviceNode("/dev/dri/card0")
PLAIN = ContainerEdits(device_nodes=(NODE,))


def encode(
    devices: dict[str, ContainerEdits], vendor: str = "intel.com", name: str = "gpu"
) -> dict[str, Any]:
    return cast(
        "dict[str, Any]", json.loads(encode_spec(vendor, name, devices, file="intel.com-gpu_uid.json"))
    )


def refusal(edits: ContainerEdits, device: str = "card0") -> str:
    with pytest.raises(SpecInvalid) as caught:
        encode({device: edits})
    return str(caught.value)


def test_every_field_is_written_under_its_cdi_name() -> None:
    edits = ContainerEdits(
        env=("A=1", "B="),
        device_nodes=(DeviceNode("/dev/dri/card0", "/host/dev/dri/card0", "c", "rw"),),
        mounts=(Mount("/host/lib", "/lib", "none", ("bind", "ro")),),
        hooks=(Hook("createRuntime", "/bin/hook", ("hook", "x"), ("PATH=/bin",)),),
    )
    assert encode({"card0": edits}) == {
        "cdiVersion": "0.5.0",
        "kind": "intel.com/gpu",
        "devices": [
            {
                "name": "card0",
                "containerEdits": {
                    "env": ["A=1", "B="],
                    "deviceNodes": [
                        {
                            "path": "/dev/dri/card0",
                            "hostPath": "/host/dev/dri/card0",
                            "type": "c",
                            "permissions": "rw",
                        }
                    ],
                    "mounts": [
                        {
                            "hostPath": "/host/lib",
                            "containerPath": "/lib",
                            "type": "none",
                            "options": ["bind", "ro"],
                        }
                    ],
                    "hooks": [
                        {
                            "hookName": "createRuntime",
                            "path": "/bin/hook",
                            "args": ["hook", "x"],
                            "env": ["PATH=/bin"],
                        }
                    ],
                },
            }
        ],
    }


def test_what_is_not_set_is_not_written() -> None:
    # Readers refuse fields that they do not know, so nothing may be there that is not needed.
    assert encode({"card0": PLAIN})["devices"] == [
        {"name": "card0", "containerEdits": {"deviceNodes": [{"path": "/dev/dri/card0"}]}}
    ]


def test_same_devices_in_another_order_give_the_same_bytes() -> None:
    one, two = ContainerEdits(env=("A=1",)), ContainerEdits(env=("B=1",))
    first = encode_spec("intel.com", "gpu", {"a": one, "b": two}, file="f")
    assert first == encode_spec("intel.com", "gpu", {"b": two, "a": one}, file="f")
    assert first.endswith(b"}\n")


@pytest.mark.parametrize(
    ("name", "device", "edits", "version"),
    [
        ("gpu", "card0", PLAIN, "0.3.0"),
        ("gpu", "card0", ContainerEdits(env=("A=1",)), "0.3.0"),
        ("gpu", "card0", ContainerEdits(hooks=(Hook("poststop", "/h"),)), "0.3.0"),
        ("gpu", "card0", ContainerEdits(mounts=(Mount("/a", "/b", None, ("ro",)),)), "0.3.0"),
        ("gpu", "card0", ContainerEdits(mounts=(Mount("/a", "/b", "none"),)), "0.4.0"),
        ("gpu", "card0", ContainerEdits(device_nodes=(DeviceNode("/dev/a", "/host/a"),)), "0.5.0"),
        ("gpu", "card0", ContainerEdits(device_nodes=(DeviceNode("/dev/a", "/dev/a"),)), "0.3.0"),
        ("gpu", "0000-03-00-0", PLAIN, "0.5.0"),
        ("gpu.mei", "card0", PLAIN, "0.6.0"),
        ("gpu.mei", "0card", ContainerEdits(mounts=(Mount("/a", "/b", "none"),)), "0.6.0"),
    ],
)
@pytest.mark.scenario(79)
def test_minimum_version(name: str, device: str, edits: ContainerEdits, version: str) -> None:
    assert minimum_version(name, {"other": PLAIN, device: edits}) == version
    assert encode({device: edits}, name=name)["cdiVersion"] == version


def test_what_is_not_yaml_is_escaped_and_what_is_beyond_16_bits_is_not() -> None:
    """Runtimes read JSON files as YAML: a raw DEL ends that, and U+0085 becomes a blank."""
    value = "A=\x01\x7f\x85\u2028\ufeff\uffff\U0001f600é"
    data = encode_spec("intel.com", "gpu", {"card0": ContainerEdits(env=(value,))}, file="f")
    for read in (json.loads, yaml.safe_load):
        assert read(data)["devices"][0]["containerEdits"]["env"] == [value]


@pytest.mark.parametrize(
    "vendor", ["", "1ntel.com", "intel.com.", "intel/com", "in tel", "a" * 254, "intel.com\n"]
)
def test_bad_vendor(vendor: str) -> None:
    with pytest.raises(SpecInvalid, match="CDI vendor"):
        encode({"card0": PLAIN}, vendor=vendor)


@pytest.mark.parametrize("name", ["", "0gpu", "gpu-", "g/pu", "g=pu", "../gpu", "a" * 64, "gpu\n"])
def test_bad_class(name: str) -> None:
    with pytest.raises(SpecInvalid, match="CDI class"):
        encode({"card0": PLAIN}, name=name)


@pytest.mark.parametrize("device", ["", "-card", "card-", "a/b", "a=b", "a,b", "a b", "..", "card\n", "é"])
def test_bad_device_name(device: str) -> None:
    with pytest.raises(SpecInvalid, match=r"CDI file intel.com-gpu_uid.json: device name"):
        encode({device: PLAIN})


@pytest.mark.parametrize("device", ["card0", "0000:03:00.0", "a", "0", "A_b.c:d-e"])
def test_good_device_name(device: str) -> None:
    assert encode({device: PLAIN})["devices"][0]["name"] == device


BAD_EDITS = [
    (ContainerEdits(), "containerEdits", "must not be empty"),
    (ContainerEdits(env=("A=1", "=1")), "env[1]", "NAME=value"),
    (ContainerEdits(env=("A",)), "env[0]", "NAME=value"),
    (ContainerEdits(env=("",)), "env[0]", "NAME=value"),
    (ContainerEdits(env=("A=\0",)), "env[0]", "NUL"),
    (ContainerEdits(env=("A=\udcff",)), "env[0]", "UTF-8"),
    (ContainerEdits(mounts=(Mount("/a", "/b", "\ud800"),)), "mounts[0].type", "UTF-8"),
    (ContainerEdits(mounts=(Mount("/a", "/b", None, ("\ud800",)),)), "mounts[0].options[0]", "UTF-8"),
    (ContainerEdits(hooks=(Hook("poststop", "/h", ("\ud800",)),)), "hooks[0].args[0]", "UTF-8"),
    (ContainerEdits(device_nodes=(NODE, DeviceNode("dev/a"))), "deviceNodes[1].path", "absolute"),
    (ContainerEdits(device_nodes=(DeviceNode(""),)), "deviceNodes[0].path", "absolute"),
    (ContainerEdits(device_nodes=(DeviceNode("/dev/../etc/shadow"),)), "deviceNodes[0].path", "'..'"),
    (ContainerEdits(device_nodes=(DeviceNode("/dev/a\n"),)), "deviceNodes[0].path", "control"),
    (ContainerEdits(device_nodes=(DeviceNode("/dev/a", ""),)), "deviceNodes[0].hostPath", "absolute"),
    (ContainerEdits(device_nodes=(DeviceNode("/dev/a", "a"),)), "deviceNodes[0].hostPath", "absolute"),
    (ContainerEdits(device_nodes=(DeviceNode("/d", type=cast("Any", "p")),)), "deviceNodes[0].type", "'c'"),
    (ContainerEdits(device_nodes=(DeviceNode("/d", permissions=""),)), "deviceNodes[0].permissions", "'r'"),
    (
        ContainerEdits(device_nodes=(DeviceNode("/d", permissions="rwx"),)),
        "deviceNodes[0].permissions",
        "'r'",
    ),
    (
        ContainerEdits(device_nodes=(DeviceNode("/d", permissions="rr"),)),
        "deviceNodes[0].permissions",
        "once",
    ),
    (ContainerEdits(mounts=(Mount("a", "/b"),)), "mounts[0].hostPath", "absolute"),
    (ContainerEdits(mounts=(Mount("/a", "b"),)), "mounts[0].containerPath", "absolute"),
    (ContainerEdits(mounts=(Mount("/a", "/b", ""),)), "mounts[0].type", "not empty"),
    (ContainerEdits(mounts=(Mount("/a", "/b", None, ("ro", "")),)), "mounts[0].options[1]", "not empty"),
    (ContainerEdits(hooks=(Hook(cast("Any", "later"), "/h"),)), "hooks[0].hookName", "createRuntime"),
    (ContainerEdits(hooks=(Hook("poststop", "h"),)), "hooks[0].path", "absolute"),
    (ContainerEdits(hooks=(Hook("poststop", "/h", ("a\0",)),)), "hooks[0].args[0]", "NUL"),
    (ContainerEdits(hooks=(Hook("poststop", "/h", (), ("A",)),)), "hooks[0].env[0]", "NAME=value"),
]


@pytest.mark.parametrize(("edits", "field", "rule"), BAD_EDITS)
def test_bad_edits_name_file_device_field_and_rule(edits: ContainerEdits, field: str, rule: str) -> None:
    message = refusal(edits)
    assert message.startswith(f"CDI file intel.com-gpu_uid.json: device card0: {field} ")
    assert rule in message


def test_no_permission_at_all_is_a_permission() -> None:
    edits = ContainerEdits(device_nodes=(DeviceNode("/dev/a", permissions="none"),))
    assert encode({"a": edits})["devices"][0]["containerEdits"]["deviceNodes"][0]["permissions"] == "none"


def test_no_device_is_refused_with_a_cure() -> None:
    with pytest.raises(SpecInvalid, match=r"has no device .*remove the file"):
        encode({})


def test_a_refusal_is_a_state_error() -> None:
    # The engine's ports promise StateError.
    assert issubclass(SpecInvalid, StateError)
