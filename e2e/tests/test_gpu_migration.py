"""Manifests written for Intel's GPU device plugin, with the DeviceClasses that the chart makes for them."""

from pathlib import Path

import pytest
from harness.driver import Driver
from harness.gpu_pods import CLAIMS, allocated, nodes_of, seen
from harness.namespace import Namespace

MANIFESTS = Path(__file__).parent / "manifests/migration"
FLEX, B60 = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"


@pytest.mark.parametrize(("manifest", "possible"), [("i915", {FLEX}), ("xe", {B60}), ("gpu", {FLEX, B60})])
def test_a_pod_for_the_device_plugin_gets_a_gpu_of_its_kind(
    gpus: Driver, namespace: Namespace, manifest: str, possible: set[str]
) -> None:
    if not gpus.has_extended_resources():
        pytest.skip("the feature gate DRAExtendedResource is off")
    namespace.apply((MANIFESTS / f"{manifest}.yaml").read_text())
    namespace.wait_ready("classic")
    (made,) = namespace.cluster.api.items(namespace.path(CLAIMS))
    (given,) = allocated(made)
    assert given in possible
    assert seen(namespace, "classic") == nodes_of(gpus, given)
    namespace.delete_pod("classic")
    gpus.wait_idle()


def test_a_second_pod_waits_for_the_only_gpu_of_its_kind(gpus: Driver, namespace: Namespace) -> None:
    if not gpus.has_extended_resources():
        pytest.skip("the feature gate DRAExtendedResource is off")
    text = (MANIFESTS / "xe.yaml").read_text()
    namespace.apply(text)
    namespace.wait_ready("classic")
    namespace.apply(text.replace("name: classic", "name: second"))
    assert namespace.wait_event("second", "FailedScheduling")
    namespace.delete_pod("classic")
    namespace.wait_ready("second")
    namespace.delete_pod("second")
    gpus.wait_idle()
