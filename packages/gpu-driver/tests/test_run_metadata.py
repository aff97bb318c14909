"""Device metadata files (KEP-5304) of claims that the real driver prepares."""

from __future__ import annotations

import pytest
from driver_nodes import metadata, names
from gpu_nodes import NAME, NODE, allocated, running


@pytest.mark.scenario(78)
def test_a_container_finds_where_its_gpus_are_also_when_files_were_lost() -> None:
    with running("two-gpus") as node:
        first, second = names(node)
        ref = allocated(node, "train", first, second)
        answer = node.prepare(ref)
        found = metadata(node, node.resolve(answer), "resourceclaims/train/gpu")
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
        assert metadata(node, node.resolve(answer), "resourceclaims/train/gpu") == found
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
        found = metadata(node, node.resolve(answer), path)
        assert found["podClaimName"] == "my-gpu"
        node.kill_driver()
        node.start_driver()
        for file in node.cdi.iterdir():
            file.unlink()
        assert node.prepare(ref) == answer
        assert metadata(node, node.resolve(answer), path) == found, "it is in the record"
        node.unprepare(ref)
        assert node.leftovers() == []
