from __future__ import annotations

import json
from dataclasses import replace

import pytest
from dra_common.model import Capacity, Quantity, Taint, TaintEffect, Version
from gaudi_driver.device import Gaudi, describe, to_device
from gaudi_driver.products import product

GAUDI2 = Gaudi(
    "0000:43:00.0",
    "0x1020",
    product("0x1020"),
    driver="habanalabs",
    index=0,
    compute="accel/accel0",
    control="accel/accel_controlD0",
    uverbs="infiniband/uverbs0",
    module_id=3,
    device_type="GAUDI2",
    status="Operational",
    driver_version="1.21.0",
    firmware_version="1.12.1",
    external_ports=3,
    numa_node=0,
    pcie_root="pci0000:42",
    group="gaudi2-0",
)


def test_what_is_published() -> None:
    device = to_device(GAUDI2)
    assert device.name == "0000-43-00-0-0x1020"
    assert dict(device.attributes) == {
        "model": "Gaudi2",
        "family": "Gaudi",
        "type": "gaudi",
        "deviceType": "GAUDI2",
        "driver": "habanalabs",
        "driverVersion": Version("1.21.0"),
        "firmwareVersion": Version("1.12.1"),
        "pciId": "0x1020",
        "moduleId": 3,
        "oamGroup": "gaudi2-0",
        "externalPorts": 3,
        "serial": "",
        "health": "Unknown",
        "healthy": True,
        "pciRoot": "42",
        "resource.kubernetes.io/pcieRoot": "pci0000:42",
        "resource.kubernetes.io/pciBusID": "0000:43:00.0",
        "resource.kubernetes.io/numaNode": 0,
    }
    assert device.capacity == {"memory": Capacity(Quantity.mebibytes(98304))}
    assert device.taints == ()


def test_what_is_unknown_is_left_out_but_for_what_manifests_compare() -> None:
    device = to_device(Gaudi("10000:43:00.0", "0x2000", driver="habanalabs", compute="accel/accel0"))
    assert dict(device.attributes) == {
        "model": "Unknown",
        "family": "Gaudi",
        "type": "gaudi",
        "driver": "habanalabs",
        "pciId": "0x2000",
        "serial": "",
        "health": "Unknown",
        "healthy": True,
    }
    assert device.capacity == {}


@pytest.mark.parametrize(
    ("gaudi", "taint"),
    [
        (replace(GAUDI2, driver="", compute=""), ("unbound", "")),
        (replace(GAUDI2, driver="vfio-pci", compute=""), ("unexpected-driver", "vfio-pci")),
        (replace(GAUDI2, compute=""), ("unhealthy", "no-accel-node")),
    ],
)
def test_what_prepare_would_refuse_keeps_claims_away(gaudi: Gaudi, taint: tuple[str, str]) -> None:
    key, value = taint
    assert to_device(gaudi).taints == (Taint(f"gaudi.intel.com/{key}", TaintEffect.NO_SCHEDULE, value),)


def test_everything_is_described_as_json() -> None:
    described = json.loads(json.dumps(describe(GAUDI2)))
    assert described["name"] == GAUDI2.name
    assert (described["model"], described["module_id"], described["usable"]) == ("Gaudi2", 3, True)
