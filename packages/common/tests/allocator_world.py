"""One node with GPUs, claims for them, and claims that have them: what the tests of the allocator are made of."""

from __future__ import annotations

from typing import Any

from dra_common.testing.objects import Object, claim, device, device_class, exactly, resource_slice

NODE, DRIVER = "node-a", "gpu.intel.com"
ROOT = "resource.kubernetes.io/pcieRoot"
# Of a device, as a selector names them.
A, C = f'device.attributes["{DRIVER}"]', f'device.capacity["{DRIVER}"]'
CLASS = device_class(DRIVER)
FAMILY = "Data Center Flex"


def gpu(name: str, *, memory: str = "16Gi", root: str | None = "pci0000:00", **fields: Any) -> Object:
    """Describe a device; ``attributes`` are more of them, or other values for these."""
    attributes = {"family": FAMILY, "model": "Flex 170", "sriov": True, **({ROOT: root} if root else {})}
    return device(name, {**attributes, **fields.pop("attributes", {})}, {"memory": memory}, **fields)


def slice_of(*devices: Object, **fields: Any) -> Object:
    """Describe a ResourceSlice of the node."""
    return resource_slice(*devices, driver=DRIVER, node=NODE, **fields)


def want(
    *expressions: str, name: str = "gpu", amounts: dict[str, str] | None = None, **fields: Any
) -> Object:
    """Describe a request for a device of the driver's class, or for so much of its capacity."""
    capacity = {"capacity": {"requests": amounts}} if amounts else {}
    return exactly(*expressions, name=name, device_class=DRIVER, **capacity, **fields)


def allocation(*devices: tuple[str, str], **fields: Any) -> Object:
    """Describe what a claim was given: pairs of a request and a device."""
    results = [
        {"request": request, "driver": DRIVER, "pool": NODE, "device": one, **fields}
        for request, one in devices
    ]
    return {"devices": {"results": results}}


def allocated(name: str, *devices: str, **fields: Any) -> Object:
    """Describe a claim of somebody else that holds devices."""
    given = allocation(*(("r", one) for one in devices), **fields)
    return {**claim(name=name), "status": {"allocation": given}}
