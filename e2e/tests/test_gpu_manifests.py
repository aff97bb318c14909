"""Manifests of the shapes that users of Intel's Go driver have: they work unchanged."""

from pathlib import Path

import pytest
from harness.driver import Driver
from harness.gpu_pods import CLAIMS, allocated, nodes_of, seen
from harness.namespace import Namespace

pytestmark = pytest.mark.machine("large")
MANIFESTS = sorted((Path(__file__).parent / "manifests").glob("*.yaml"))
ADMIN = {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=[path.stem for path in MANIFESTS])
def test_a_manifest_works_unchanged(gpus: Driver, namespace: Namespace, manifest: Path) -> None:
    if manifest.stem == "extended-resource" and not gpus.has_extended_resources():
        pytest.skip("the feature gate DRAExtendedResource is off")
    api = namespace.cluster.api
    api.merge(f"/api/v1/namespaces/{namespace.name}", ADMIN)
    namespace.apply(manifest.read_text())
    namespace.wait_all_ready()
    given = [device for claim in api.items(namespace.path(CLAIMS)) for device in allocated(claim)]
    found: list[str] = []
    for pod in api.items(namespace.path("pods")):
        for container in pod["spec"]["containers"]:
            found += seen(namespace, pod["metadata"]["name"], container["name"])
    assert given
    assert sorted(found) == sorted(node for device in given for node in nodes_of(gpus, device))
