"""Device metadata files (KEP-5304): what they say, and which device of a claim brings them."""

from __future__ import annotations

import json
from typing import Any

from dra_common.metadata import Told, with_metadata
from dra_common.model import (
    Allocated,
    Attribute,
    ClaimRecord,
    ClaimRef,
    ContainerEdits,
    DeviceNode,
    MountedFile,
    Phase,
    Plan,
    Version,
)

ROOT = "/var/run/kubernetes.io/dra-device-attributes"
NODES = ContainerEdits(device_nodes=(DeviceNode("/dev/x"),))
BUS_ID = {"resource.kubernetes.io/pciBusID": "0000:4d:00.0"}


def record(pod_claim: str = "") -> ClaimRecord:
    ref = ClaimRef("default", "train", "uid-1")
    return ClaimRecord(ref, Phase.PREPARED, "boot", Plan(), pod_claim=pod_claim)


def told(device: str, attributes: dict[str, Attribute] | None = None, request: str = "gpu") -> Told:
    return Told(Allocated(request, "node-1", device), BUS_ID if attributes is None else attributes)


def files(
    *devices: Told, of: dict[str, list[str]] | None = None, pod_claim: str = ""
) -> dict[str, list[MountedFile]]:
    """The files that come with each CDI device."""
    names = of or {"gpu": [each.allocated.device for each in devices]}
    classes = {name: {f"uid-1-{device}": NODES for device in found} for name, found in names.items()}
    made = with_metadata(classes, record(pod_claim), devices, "gpu.intel.com")
    assert {name: set(found) for name, found in made.items()} == {
        name: set(found) for name, found in classes.items()
    }
    return {
        f"{name}/{device}": list(edits.files)
        for name, found in made.items()
        for device, edits in found.items()
        if edits.files
    }


def objects(file: MountedFile) -> list[dict[str, Any]]:
    """The JSON objects of a stream."""
    decoder, found, text = json.JSONDecoder(), [], file.content
    while text := text.lstrip():
        item, end = decoder.raw_decode(text)
        found.append(item)
        text = text[end:]
    return found


def test_a_file_is_a_stream_of_one_object_for_each_version_the_newest_first() -> None:
    attributes: dict[str, Attribute] = {"s": "text", "b": True, "i": 3, "v": Version("1.2.3")}
    (file,) = files(told("a", attributes))["gpu/uid-1-a"]
    newest, oldest = objects(file)
    assert newest["apiVersion"] == "metadata.resource.k8s.io/v1beta1"
    assert oldest == {**newest, "apiVersion": "metadata.resource.k8s.io/v1alpha1"}
    assert newest == {
        "apiVersion": "metadata.resource.k8s.io/v1beta1",
        "kind": "DeviceMetadata",
        "metadata": {"name": "train", "namespace": "default", "uid": "uid-1", "generation": 1},
        "requests": [
            {
                "name": "gpu",
                "devices": [
                    {
                        "driver": "gpu.intel.com",
                        "pool": "node-1",
                        "name": "a",
                        "attributes": {
                            "b": {"bool": True},
                            "i": {"int": 3},
                            "s": {"string": "text"},
                            "v": {"version": "1.2.3"},
                        },
                    }
                ],
            }
        ],
    }
    assert file.container_path == f"{ROOT}/resourceclaims/train/gpu/gpu.intel.com-metadata.json"


def test_a_claim_from_a_template_is_found_by_the_pods_name_for_it() -> None:
    (file,) = files(told("a"), pod_claim="my-gpu")["gpu/uid-1-a"]
    assert file.container_path == f"{ROOT}/resourceclaimtemplates/my-gpu/gpu/gpu.intel.com-metadata.json"
    assert [each["podClaimName"] for each in objects(file)] == ["my-gpu"] * 2


def test_the_first_device_of_each_request_brings_the_file_of_all() -> None:
    found = files(told("a"), told("b"), told("c", request="other"))
    assert sorted(found) == ["gpu/uid-1-a", "gpu/uid-1-c"]
    (file,) = found["gpu/uid-1-a"]
    assert [each["name"] for each in objects(file)[0]["requests"][0]["devices"]] == ["a", "b"]
    assert [file.name for file in found["gpu/uid-1-c"]] == ["other.json"]


def test_a_subrequest_is_named_whole_and_found_by_its_request() -> None:
    (file,) = files(told("a", request="gpu/big"))["gpu/uid-1-a"]
    assert objects(file)[0]["requests"][0]["name"] == "gpu/big"
    assert file.name == "gpu.json"
    assert "/gpu/gpu.intel.com" in file.container_path


def test_a_device_of_two_classes_brings_it_once() -> None:
    assert list(files(told("a"), of={"gpu": ["a"], "gpu-mei": ["a"]})) == ["gpu/uid-1-a"]


def test_a_device_that_gives_a_container_nothing_leaves_it_to_the_next() -> None:
    assert list(files(told("a"), told("b"), of={"gpu": ["b"]})) == ["gpu/uid-1-b"]
    assert files(told("a"), of={"gpu": []}) == {}


def test_nothing_is_written_where_nothing_is_told() -> None:
    assert files(told("a", {}), told("b", {})) == {}
    (file,) = files(told("a", {}), told("b"))["gpu/uid-1-a"]
    first, second = objects(file)[0]["requests"][0]["devices"]
    assert "attributes" not in first
    assert second["attributes"] == {"resource.kubernetes.io/pciBusID": {"string": "0000:4d:00.0"}}
