from __future__ import annotations

from pathlib import Path

import pytest
from dra_common.errors import SettingsError
from dra_common.simulate.profile import FunctionSpec, Profile, SriovSpec, vf_bdf
from dra_common.simulate.profile_file import load_profile
from pydantic import BaseModel, ConfigDict

HEAD = "name: test\nfunctions:\n"
CARD = "  - bdf: 0000:03:00.0\n    device: 0xe20b\n    class: 0x030000\n"


class Fan(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    speed: int
    blades: tuple[str, ...] = ()


def load(folder: Path, text: str) -> Profile:
    file = folder / "p.yaml"
    file.write_text(text, encoding="utf-8")
    return load_profile(file, {"fan": Fan})


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder / "p.yaml") in message
    return message


# --------------------------------------------------------------------------- what is read


def test_addresses_are_text_though_yaml_1_1_sees_base_60(tmp_path: Path) -> None:
    function = load(tmp_path, HEAD + CARD + "    path: [0000:00:01.0]\n").functions[0]
    assert (function.bdf, function.path, function.device) == ("0000:03:00.0", ("0000:00:01.0",), "0xe20b")


def test_words_of_yaml_1_1_are_text(tmp_path: Path) -> None:
    text = HEAD + CARD + "    attributes: {a: on, b: off, c: yes, d: 1.5, e: 2026-01-01}\n"
    assert load(tmp_path, text).functions[0].attributes == {
        "a": "on",
        "b": "off",
        "c": "yes",
        "d": "1.5",
        "e": "2026-01-01",
    }


def test_an_empty_machine(tmp_path: Path) -> None:
    profile = load(tmp_path, "name: empty\ndescription: Nothing\n")
    assert (profile.name, profile.description, profile.functions) == ("empty", "Nothing", ())


def test_the_root_complex_is_that_of_the_first_bridge(tmp_path: Path) -> None:
    profile = load(tmp_path, HEAD + CARD + "    path: [0000:4a:02.0, 0000:4b:00.0]\n")
    assert profile.functions[0].folder == "devices/pci0000:4a/0000:4a:02.0/0000:4b:00.0/0000:03:00.0"


def test_the_root_complex_of_an_integrated_device(tmp_path: Path) -> None:
    assert load(tmp_path, HEAD + CARD).functions[0].folder == "devices/pci0000:03/0000:03:00.0"


def test_bridges_are_made_once_and_come_first(tmp_path: Path) -> None:
    second = CARD.replace("03:00.0", "04:00.0")
    text = HEAD + "".join(card + "    path: [0000:00:01.0, 0000:01:00.0]\n" for card in (CARD, second))
    bridges = load(tmp_path, text).with_bridges()
    assert [spec.bdf for spec in bridges] == ["0000:00:01.0", "0000:01:00.0", "0000:03:00.0", "0000:04:00.0"]
    assert [spec.is_bridge for spec in bridges] == [True, True, False, False]
    assert bridges[1].folder == "devices/pci0000:00/0000:00:01.0/0000:01:00.0"


def test_a_described_bridge_is_taken_as_described(tmp_path: Path) -> None:
    bridge = "  - bdf: 0000:00:01.0\n    device: 0xe2ff\n    class: 0x060400\n"
    specs = load(tmp_path, HEAD + CARD + "    path: [0000:00:01.0]\n" + bridge).with_bridges()
    assert [(spec.bdf, spec.device) for spec in specs] == [
        ("0000:00:01.0", "0xe2ff"),
        ("0000:03:00.0", "0xe20b"),
    ]


@pytest.mark.parametrize(
    ("pf", "offset", "stride", "index", "vf"),
    [
        ("0000:4d:00.0", 1, 1, 0, "0000:4d:00.1"),
        ("0000:4d:00.0", 1, 1, 30, "0000:4d:03.7"),
        ("0000:6b:00.0", 1, 1, 15, "0000:6b:02.0"),
        ("0000:01:00.0", 128, 2, 1, "0000:01:10.2"),
        ("0000:01:00.0", 256, 1, 0, "0000:02:00.0"),
    ],
)
def test_addresses_of_vfs(pf: str, offset: int, stride: int, index: int, vf: str) -> None:
    sriov = SriovSpec(total=31, offset=offset, stride=stride, vf_device="0x56c0")
    spec = FunctionSpec(bdf=pf, device="0x56c0", class_="0x038000", sriov=sriov)
    assert vf_bdf(spec, index) == vf


# --------------------------------------------------------------------------- repeat


def test_repeat(tmp_path: Path) -> None:
    text = HEAD + (
        "  - repeat: {count: 3, counters: {bus: {start: 0x1e, step: 2}}}\n"
        "    bdf: '0000:{bus:02x}:00.0'\n"
        "    path: ['0000:00:{i:02x}.0']\n"
        "    device: 0xe20b\n"
        "    class: 0x030000\n"
        "    iommu_group: '{i}'\n"
        "    details: {fan: {speed: '{bus}', blades: ['b{i}']}}\n"
    )
    functions = load(tmp_path, text).functions
    assert [function.bdf for function in functions] == ["0000:1e:00.0", "0000:20:00.0", "0000:22:00.0"]
    assert [function.path for function in functions] == [
        ("0000:00:00.0",),
        ("0000:00:01.0",),
        ("0000:00:02.0",),
    ]
    assert [function.iommu_group for function in functions] == [0, 1, 2]
    assert functions[2].details == {"fan": {"speed": 34, "blades": ["b2"]}}


@pytest.mark.parametrize(
    ("repeat", "bdf", "expected"),
    [
        ("{count: 2}", "'0000:{bus:02x}:00.0'", "unknown counter 'bus'"),
        ("{count: 2}", "'0000:{i:02x:00.0'", "line 3"),
        ("{count: 2}", "'0000:{}:00.0'", "line 3"),
        ("{count: -1}", "0000:03:00.0", "functions.0.repeat.count"),
        ("{count: 2, couters: {}}", "0000:03:00.0", "functions.0.repeat.couters"),
        ("3", "0000:03:00.0", "functions.0.repeat"),
        ("{count: 2}", "0000:03:00.0", "0000:03:00.0 is both"),
    ],
)
def test_bad_repeat(tmp_path: Path, repeat: str, bdf: str, expected: str) -> None:
    text = f"{HEAD}  - repeat: {repeat}\n    bdf: {bdf}\n    device: 0xe20b\n    class: 0x030000\n"
    assert expected in complaint(tmp_path, text)


def test_an_error_after_a_repeat_names_the_item_of_the_file(tmp_path: Path) -> None:
    text = (
        f"{HEAD}  - repeat: {{count: 5}}\n    bdf: '0000:{{i:02x}}:00.0'\n    device: 0xe20b\n    class: 0x030000\n"
        "  - bdf: 0000:90:00.0\n    device: 0xe20b\n    class: display\n"
    )
    assert "line 9: functions.1.class: " in complaint(tmp_path, text)


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("- a\n", "line 1: not a mapping"),
        ("name: [\n", "not YAML"),
        ("name: a\nname: b\n", "line 2: name is there twice"),
        ("name: a\ncolour: red\n", "line 2: colour: unknown field"),
        ("name: Bad Name\n", "line 1: name: "),
        ("functions: []\n", "name: Field required"),
        ("name: a\nfunctions: 3\n", "line 2: functions: "),
        ("name: a\nboot_id: 7\n", "line 2: boot_id: "),
        ("name: &a [*a]\n", "contains itself"),
        ("name: !!python/object:os.system x\n", "line 1: could not determine a constructor"),
        ("? [a]\n: b\n", "line 1: "),
        (HEAD + CARD + CARD, "0000:03:00.0 is both function 0000:03:00.0 and function 0000:03:00.0"),
        (HEAD + CARD + "    vendor: 8086\n", "line 6: functions.0.vendor: "),
        (HEAD + CARD + "    numa_node: 3\n", "0000:03:00.0: numa_node 3 is not in numa (0)"),
        (HEAD + CARD + "    numa_node: one\n", "line 6: functions.0.numa_node: "),
        (HEAD + CARD + "    numa_node: true\n", "line 6: functions.0.numa_node: "),
        (HEAD + CARD + "    attributes: {../x: y}\n", "line 6: functions.0.attributes.../x"),
        (HEAD + CARD + "    sizes: {/etc/passwd: 1}\n", "is not a path below the function's folder"),
        (HEAD + CARD + "    bars: {9: {size: 1}}\n", "functions.0.bars.9"),
        (HEAD + CARD + "    sriov: {total: 2, num: 3, vf_device: 0xe20b}\n", "num is 3 but total is 2"),
        (
            HEAD + CARD + "    sriov: {total: 2, vf_device: 0xe20b, vfs: {0: {}}}\n",
            "vfs describes VF 0 but only 0 are enabled",
        ),
        (
            HEAD + CARD + "    sriov: {total: 2, vf_device: 0xe20b}\n" + CARD.replace("00.0", "00.2"),
            "0000:03:00.2 is both VF 1 of 0000:03:00.0 and function 0000:03:00.2",
        ),
        (HEAD + CARD + "    details: {fan: {speed: fast}}\n", "line 6: functions.0.details.fan.speed: "),
        (
            HEAD + CARD + "    details:\n      fan: {}\n",
            "line 7: functions.0.details.fan.speed: Field required",
        ),
        (
            HEAD + CARD + "    details:\n      light: {}\n",
            "line 7: 0000:03:00.0: details.light is not known (known here: fan)",
        ),
        (
            HEAD
            + CARD
            + "    path: [0000:00:01.0, 0000:01:00.0]\n"
            + CARD.replace("03:", "04:")
            + "    path: [0000:01:00.0]\n",
            "bridge 0000:01:00.0 is below",
        ),
    ],
)
def test_refusals(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in complaint(tmp_path, text)


def test_not_text(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(b"name: \xff\n")
    with pytest.raises(SettingsError, match="not UTF-8 text at byte 6"):
        load_profile(file, {})


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read: No such file"):
        load_profile(tmp_path / "missing.yaml", {})


def test_a_vf_less_function_has_no_vf_addresses() -> None:
    with pytest.raises(ValueError, match="no SR-IOV"):
        vf_bdf(FunctionSpec(bdf="0000:03:00.0", device="0xe20b", class_="0x030000"), 0)
