"""The independent reader keeps the runtimes' rules: it must refuse what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from dra_common.testing.cdi import Unresolvable, resolve

ID = "intel.com/gpu=a"


def spec(edits: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    device = {"name": "a", "containerEdits": {"env": ["A=1"]} if edits is None else edits}
    return {"cdiVersion": "1.1.0", "kind": "intel.com/gpu", "devices": [device], **fields}


def put(folder: Path, name: str, document: Any) -> Path:
    folder.mkdir(exist_ok=True)
    dump = json.dumps if name.endswith(".json") else yaml.safe_dump
    (folder / name).write_text(dump(document))
    return folder


def refused(folder: Path, document: Any) -> str:
    put(folder, "x.json", document)
    with pytest.raises(Unresolvable) as caught:
        resolve([ID], [folder])
    return str(caught.value)


def test_json_and_yaml_are_read_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, "a.json", spec())
    put(tmp_path, "b.yaml", spec(kind="intel.com/mei"))
    put(tmp_path, "c.json.tmp", spec(kind="intel.com/tmp"))
    (tmp_path / "sub").mkdir()
    put(tmp_path / "sub", "d.json", spec(kind="intel.com/sub"))
    assert resolve([ID, "intel.com/mei=a"], [tmp_path]).env == {"A": "1"}
    for name in ("intel.com/tmp=a", "intel.com/sub=a"):
        with pytest.raises(Unresolvable, match=f"unresolvable CDI devices {name}"):
            resolve([name], [tmp_path])


def test_missing_ids_are_all_named(tmp_path: Path) -> None:
    put(tmp_path, "a.json", spec())
    with pytest.raises(Unresolvable) as caught:
        resolve(["intel.com/gpu=x", ID, "intel.com/gpu=y"], [tmp_path, tmp_path / "missing"])
    assert caught.value.ids == ("intel.com/gpu=x", "intel.com/gpu=y")


def test_later_folder_wins(tmp_path: Path) -> None:
    low = put(tmp_path / "etc", "a.json", spec({"env": ["A=low"]}))
    high = put(tmp_path / "run", "a.json", spec({"env": ["A=high"]}))
    assert resolve([ID], [low, high]).env == {"A": "high"}
    assert resolve([ID], [high, low]).env == {"A": "low"}


@pytest.mark.scenario(79)
def test_conflict_in_one_folder_makes_the_device_unusable(tmp_path: Path) -> None:
    low = put(tmp_path / "etc", "a.json", spec({"env": ["A=low"]}))
    high = put(tmp_path / "run", "a.json", spec({"env": ["A=1"]}))
    put(high, "b.yaml", spec({"env": ["A=2"]}))
    with pytest.raises(Unresolvable, match=r"a\.json and in .*b\.yaml, which have the same priority"):
        resolve([ID], [low, high])
    assert resolve([ID], [high, low]).env == {"A": "low"}


def test_bad_file_is_skipped_and_its_neighbour_works(tmp_path: Path) -> None:
    put(tmp_path, "a.json", spec())
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.yaml").write_text("\t{")
    assert resolve([ID], [tmp_path]).env == {"A": "1"}
    with pytest.raises(Unresolvable, match=r"b\.json: does not parse.*c\.yaml: does not parse"):
        resolve(["intel.com/gpu=z"], [tmp_path])


NODE = {"path": "/dev/a"}
MOUNT = {"hostPath": "/a", "containerPath": "/b"}
HOOK = {"hookName": "poststop", "path": "/h"}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "file must be an object"),
        (spec(extra=1), "file has an unknown field 'extra'"),
        (spec(kind="intel.com"), "is not vendor/class"),
        (spec(kind="1intel.com/gpu"), "is not vendor/class"),
        (spec(devices=[]), "devices must be a list that is not empty"),
        (spec(devices=[{"name": "a", "containerEdits": {}}]), "no container edits"),
        (spec(devices=[{"name": "a", "containerEdits": {"env": []}}]), "no container edits"),
        (spec(devices=[{"name": "a/b", "containerEdits": {"env": ["A=1"]}}]), "not a CDI device name"),
        (spec(devices=[{"name": "a", "edits": {}}]), "unknown field 'edits'"),
        (spec(devices=spec()["devices"] * 2), "two devices have the same name"),
        (spec(annotations={"a": 1}), "annotations"),
        (spec(containerEdits={"environment": []}), "containerEdits has an unknown field"),
        (spec({"env": ["A"]}), "devices[0].containerEdits.env ['A'] is not allowed"),
        (spec({"env": ["=A"]}), "env ['=A'] is not allowed"),
        (spec({"deviceNodes": [{}]}), "deviceNodes[0].path is missing"),
        (spec({"deviceNodes": [{**NODE, "mode": 1}]}), "unknown field 'mode'"),
        (spec({"deviceNodes": [{**NODE, "permissions": "rwx"}]}), "permissions 'rwx' is not allowed"),
        (spec({"deviceNodes": [{**NODE, "type": "d"}]}), "type 'd' is not allowed"),
        (spec({"deviceNodes": [{**NODE, "major": "1"}]}), "major '1' is not allowed"),
        (spec({"mounts": [{"hostPath": "/a"}]}), "containerPath is missing"),
        (spec({"mounts": [{**MOUNT, "options": "ro"}]}), "options 'ro' is not allowed"),
        (spec({"hooks": [{**HOOK, "hookName": "later"}]}), "hookName 'later' is not allowed"),
        (spec({"hooks": [{**HOOK, "path": "h"}]}), "path 'h' is not allowed"),
        (spec({"netDevices": [{"name": "eth0"}]}), "hostInterfaceName is missing"),
        (spec({"additionalGids": [-1]}), "additionalGids [-1] is not allowed"),
        (spec({"intelRdt": {"enableCMT": True}}), "unknown field 'enableCMT'"),
        (spec(cdiVersion="9.9.9"), "cdiVersion '9.9.9' is not known"),
        (
            {key: value for key, value in spec().items() if key != "cdiVersion"},
            "cdiVersion None is not known",
        ),
    ],
)
@pytest.mark.scenario(79)
def test_invalid_documents_are_skipped_with_a_reason(tmp_path: Path, document: Any, reason: str) -> None:
    assert reason in refused(tmp_path, document)


@pytest.mark.parametrize(
    ("document", "needs", "below"),
    [
        (spec({"mounts": [{**MOUNT, "type": "none"}]}), "0.4.0", "0.3.0"),
        (spec({"deviceNodes": [{**NODE, "hostPath": "/b"}]}), "0.5.0", "0.4.0"),
        (spec(devices=[{"name": "0", "containerEdits": {"env": ["A=1"]}}]), "0.5.0", "0.4.0"),
        (spec(annotations={"a": "b"}), "0.6.0", "0.5.0"),
        (
            spec(devices=[{"name": "a", "annotations": {"a": "b"}, "containerEdits": {"env": ["A=1"]}}]),
            "0.6.0",
            "0.5.0",
        ),
        (spec(kind="intel.com/gpu.mei"), "0.6.0", "0.5.0"),
        (spec({"additionalGids": [7]}), "0.7.0", "0.6.0"),
        (spec({"intelRdt": {"closID": "x"}}), "0.7.0", "0.6.0"),
        (spec({"intelRdt": {"schemata": ["x"]}}), "1.1.0", "1.0.0"),
        (spec({"intelRdt": {"enableMonitoring": True}}), "1.1.0", "1.0.0"),
        (spec({"netDevices": [{"hostInterfaceName": "e", "name": "f"}]}), "1.1.0", "1.0.0"),
    ],
)
@pytest.mark.scenario(79)
def test_declared_version_must_reach_what_the_fields_need(
    tmp_path: Path, document: dict[str, Any], needs: str, below: str
) -> None:
    name = f"{document['kind']}={document['devices'][0]['name']}"
    put(tmp_path, "x.json", {**document, "cdiVersion": below})
    with pytest.raises(Unresolvable, match=f"cdiVersion {below} is too low: its fields need {needs}"):
        resolve([name], [tmp_path])
    put(tmp_path, "x.json", {**document, "cdiVersion": f"v{needs}"})
    assert resolve([name], [tmp_path], ceiling=needs).files == [tmp_path / "x.json"]
    with pytest.raises(Unresolvable, match=f"newer than this runtime's {below}"):
        resolve([name], [tmp_path], ceiling=below)


def test_edits_are_merged_as_a_runtime_does(tmp_path: Path) -> None:
    document = spec(
        containerEdits={"env": ["SHARED=1", "A=0"], "additionalGids": [0, 5]},
        devices=[
            {
                "name": "a",
                "containerEdits": {
                    "env": ["A=1"],
                    "deviceNodes": [{"path": "/dev/x"}, {"path": "/dev/a"}],
                    "mounts": [{"hostPath": "/h", "containerPath": "/deep/er"}],
                    "hooks": [HOOK],
                },
            },
            {
                "name": "b",
                "containerEdits": {
                    "env": ["B=x=y", "A=2"],
                    "deviceNodes": [{"path": "/dev/x", "permissions": "r"}],
                    "mounts": [{"hostPath": "/h", "containerPath": "/top"}],
                    "additionalGids": [6],
                    "intelRdt": {"closID": "late"},
                },
            },
        ],
    )
    put(tmp_path, "x.json", document)
    got = resolve([ID, "intel.com/gpu=b", ID], [tmp_path])
    assert got.env == {"SHARED": "1", "A": "2", "B": "x=y"}
    assert got.device_nodes == {
        "/dev/x": {"path": "/dev/x", "permissions": "r"},
        "/dev/a": {"path": "/dev/a"},
    }
    assert list(got.mounts) == ["/top", "/deep/er"]
    assert got.hooks == [HOOK]
    assert got.additional_gids == [5, 6]
    assert got.intel_rdt == {"closID": "late"}
    assert got.files == [tmp_path / "x.json"]
