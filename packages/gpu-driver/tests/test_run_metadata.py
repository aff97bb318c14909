"""Device metadata files (KEP-5304) of claims that the real driver prepares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dra_common.testing.node import SimulatedNode
from driver_nodes import names
from gpu_nodes import NAME, NODE, allocated, running

IN_CONTAINER = "/var/run/kubernetes.io/dra-device-attributes"


def metadata(node: SimulatedNode, mounts: dict[str, Any], path: str) -> dict[str, Any]:
    """What a container reads there: the first object of the stream."""
    mount = mounts[f"{IN_CONTAINER}/{path}/{NAME}-metadata.json"]
    assert mount["options"] == ["ro", "bind"]
    text = Path(mount["hostPath"]).read_text()
    found, _ = json.JSONDecoder().raw_decode(text)
    assert found["apiVersion"] == "metadata.resource.k8s.io/v1beta1"
    assert str(node.state) in mount["hostPath"]
    read: dict[str, Any] = found
    return read


@pytest.mark.scenario(78)
def test_a_container_finds_where_its_gpus_are_also_when_files_were_lost() -> None:
    with running("two-gpus") as node:
        first, second = names(node)
        ref = allocated(node, "train", first, second)
        answer = node.prepare(ref)
        mounts = dict(node.resolve(answer).mounts)
        found = metadata(node, mounts, "resourceclaims/train/gpu")
        assert found["metadata"] == {
            "name": "train",
            "namespace": "default",
            "uid": ref.uid,
            "generation": 1,
        }
        (request,) = found["requests"]
        assert request["name"] == "gpu"
        assert request["devices"] == [
            {
                "driver": NAME,
                "pool": NODE,
                "name": first,
                "attributes": {
                    "renderNode": {"string": "/dev/dri/renderD128"},
                    "resource.kubernetes.io/numaNode": {"int": 0},
                    "resource.kubernetes.io/pciBusID": {"string": "0000:4d:00.0"},
                },
            },
            {
                "driver": NAME,
                "pool": NODE,
                "name": second,
                "attributes": {
                    "renderNode": {"string": "/dev/dri/renderD129"},
                    "resource.kubernetes.io/numaNode": {"int": 1},
                    "resource.kubernetes.io/pciBusID": {"string": "0000:9a:00.0"},
                },
            },
        ]
        node.kill_driver()
        for path in (*node.cdi.iterdir(), *(node.state / "dra-device-metadata" / ref.uid).iterdir()):
            path.unlink()
        node.start_driver()
        assert node.prepare(ref) == answer
        assert metadata(node, dict(node.resolve(answer).mounts), "resourceclaims/train/gpu") == found
        node.unprepare(ref)
        assert node.leftovers() == []


def test_a_claim_from_a_template_is_found_by_the_pods_name_for_it() -> None:
    with running("two-gpus") as node:
        ref = allocated(node, "train-x7b2q", names(node)[0])
        claim = node.api.get("ResourceClaim", ref.name, ref.namespace)
        assert claim
        annotations = {"resource.kubernetes.io/pod-claim-name": "my-gpu"}
        node.api.put(
            "ResourceClaim", {**claim, "metadata": {**claim["metadata"], "annotations": annotations}}
        )
        answer = node.prepare(ref)
        path = "resourceclaimtemplates/my-gpu/gpu"
        found = metadata(node, dict(node.resolve(answer).mounts), path)
        assert found["podClaimName"] == "my-gpu"
        node.kill_driver()
        node.start_driver()
        for file in node.cdi.iterdir():
            file.unlink()
        assert node.prepare(ref) == answer
        assert metadata(node, dict(node.resolve(answer).mounts), path) == found, "it is in the record"
        node.unprepare(ref)
        assert node.leftovers() == []
