"""A pod that gets its GPU whole, through VFIO, by the chart's DeviceClass."""

from harness.driver import Driver, exactly, template
from harness.gpu_pods import NO_DRIVER_BEHIND, NOT_ALLOWED, allocated, claim_of, make_node, open_error
from harness.namespace import Namespace, pod_manifest
from harness.waiting import wait_for

VFIO_CLASS = "gpu-vfio.intel.com"
CLAIMS = {"gpu": {"resourceClaimTemplateName": "whole"}}


def kernel_driver(gpus: Driver, device: str) -> str:
    """The kernel driver that its ResourceSlice says."""
    return str(gpus.devices()[device]["attributes"]["driver"]["string"])


def test_a_virtual_machine_gets_a_whole_gpu_and_gives_it_back(gpus: Driver, namespace: Namespace) -> None:
    before = {name: kernel_driver(gpus, name) for name in gpus.devices()}
    namespace.apply(template("whole", exactly(device_class=VFIO_CLASS)))
    namespace.run_pod(pod_manifest("machine", claims=CLAIMS))
    (given,) = allocated(claim_of(namespace, "machine"))
    wait_for(lambda: kernel_driver(gpus, given).endswith("vfio-pci"), "the slice to say so", 30)

    shown = namespace.execute(
        "machine", "sh", "-c", "cd /dev; echo dri/* iommu vfio/[0-9]* vfio/vfio vfio/devices/*"
    )
    none, *others = shown.split()
    assert none == "dri/*"
    (group,) = (each for each in others if each.removeprefix("vfio/").isdigit())
    (device,) = (each for each in others if each.startswith("vfio/devices/"))
    assert others == ["iommu", group, "vfio/vfio", device]
    for node in others:
        assert open_error(namespace, "machine", f"/dev/{node}") == NO_DRIVER_BEHIND
    # Another node of that family, whatever it may be, is out of reach.
    major, minor = namespace.execute("machine", "stat", "-c", "%t %T", f"/dev/{group}").split()
    make_node(namespace, "machine", "/tmp/other", (str(int(major, 16)), str(int(minor, 16) + 100)))
    assert open_error(namespace, "machine", "/tmp/other") == NOT_ALLOWED

    namespace.delete_pod("machine")
    gpus.wait_idle()
    wait_for(lambda: kernel_driver(gpus, given) == before[given], "its own kernel driver", 30)
