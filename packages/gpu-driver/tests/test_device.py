from __future__ import annotations

import json
from dataclasses import replace

import pytest
from dra_common.model import Capacity, Quantity, Taint, TaintEffect, Version
from gpu_driver.device import Gpu, describe, to_device
from gpu_driver.products import product
from gpu_driver.queries import Cores

FLEX = Gpu(
    "0000:4d:00.0",
    "0x56c0",
    product("0x56c0"),
    driver="i915",
    max_vfs=31,
    num_vfs=4,
    vf_autoprobe=True,
    card="card1",
    render="renderD128",
    by_path=("card", "render"),
    mei=("mei1",),
    iommu_group="14",
    pcie_root="pci0000:4a",
    numa_node=0,
    memory_mib=16288,
)


# --------------------------------------------------------------------------- attributes


def test_attributes_of_a_discrete_gpu() -> None:
    assert dict(to_device(FLEX).attributes) == {
        "model": "Flex 170",
        "family": "Data Center Flex",
        "driver": "i915",
        "sriov": True,
        "type": "gpu",
        "pciId": "0x56c0",
        "pciAddress": "0000:4d:00.0",
        "pciRoot": "4a",
        "health": "Unknown",
        "integrated": False,
        "resource.kubernetes.io/pcieRoot": "pci0000:4a",
        "resource.kubernetes.io/pciBusID": "0000:4d:00.0",
        "resource.kubernetes.io/numaNode": 0,
    }


def test_attribute_types_are_those_of_the_api() -> None:
    types = {name: type(value) for name, value in to_device(FLEX).attributes.items()}
    assert types.pop("sriov") is types.pop("integrated") is bool
    assert types.pop("resource.kubernetes.io/numaNode") is int
    assert set(types.values()) == {str}


def test_what_is_unknown_is_left_out() -> None:
    device = to_device(Gpu("0000:4d:00.0", "0xfffe"))
    assert dict(device.attributes) == {
        "model": "Unknown",
        "family": "Unknown",
        "driver": "",
        "sriov": False,
        "type": "gpu",
        "pciId": "0xfffe",
        "pciAddress": "0000:4d:00.0",
        "health": "Unknown",
        "resource.kubernetes.io/pciBusID": "0000:4d:00.0",
    }
    assert dict(device.capacity) == {"millicores": Capacity(Quantity(1000))}


def test_what_the_kernel_driver_tells_of_the_inside() -> None:
    gpu = replace(FLEX, tiles=2, cores=Cores(20, 160), driver_version="6.19.0", guc_submission="1.19.1")
    added = dict(to_device(gpu).attributes.items() - to_device(FLEX).attributes.items())
    assert added == {
        "tiles": 2,
        "xeCores": 20,
        "executionUnits": 160,
        "driverVersion": Version("6.19.0"),
        "gucSubmissionVersion": Version("1.19.1"),
    }
    assert describe(gpu)["cores"] == {"xe": 20, "eus": 160}


def test_a_vf_names_its_parent_and_its_number() -> None:
    vf = replace(FLEX, kind="vf", parent="0000:4d:00.0", vf_index=0)
    added = dict(to_device(vf).attributes.items() - to_device(replace(FLEX, kind="vf")).attributes.items())
    assert added == {"parent": "0000:4d:00.0", "vfIndex": 0}
    assert "vfIndex" not in to_device(replace(vf, vf_index=None)).attributes


def test_a_vf_is_told_by_its_type() -> None:
    assert to_device(replace(FLEX, kind="vf")).attributes["type"] == "vf"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"max_vfs": 0}, False),
        ({"max_vfs": None}, False),
        ({"vf_autoprobe": False}, False),
        ({"vf_autoprobe": None}, False),
        ({"driver": ""}, False),
        ({"driver": "vfio-pci"}, False),
    ],
)
def test_sriov_says_whether_vfs_can_be_made_now(changes: dict[str, object], *, expected: bool) -> None:
    assert to_device(replace(FLEX, **changes)).attributes["sriov"] is expected  # type: ignore[arg-type]


# --------------------------------------------------------------------------- capacity


@pytest.mark.parametrize(("mib", "text"), [(16288, "16288Mi"), (12288, "12Gi"), (0, "0")])
def test_memory_as_the_api_server_prints_it(mib: int, text: str) -> None:
    assert str(to_device(replace(FLEX, memory_mib=mib)).capacity["memory"].value) == text


def test_memory_that_is_not_known_is_absent() -> None:
    assert "memory" not in to_device(replace(FLEX, memory_mib=None)).capacity


def test_millicores_are_always_a_thousand() -> None:
    assert str(to_device(FLEX).capacity["millicores"].value) == "1k"


# --------------------------------------------------------------------------- taints


def taint(key: str, value: str = "") -> Taint:
    return Taint(f"gpu.intel.com/{key}", TaintEffect.NO_SCHEDULE, value)


VFIO = {"driver": "vfio-pci", "card": ""}


@pytest.mark.parametrize(
    ("changes", "manage", "taints"),
    [
        ({}, True, ()),
        ({"driver": "xe"}, False, ()),
        ({"card": ""}, True, (taint("unhealthy", "no-drm-card"),)),
        ({"driver": "", "bindable": True}, True, ()),
        ({"driver": "", "bindable": True}, False, (taint("unbound"),)),
        ({"driver": ""}, True, (taint("unbound"),)),
        ({**VFIO, "bindable": True}, True, ()),
        ({**VFIO, "bindable": True}, False, (taint("unexpected-driver", "vfio-pci"),)),
        (VFIO, True, (taint("unexpected-driver", "vfio-pci"),)),
        ({**VFIO, "bindable": True, "in_use": True}, True, (taint("busy"),)),
        ({"driver": "pci-stub", "bindable": True}, True, (taint("unexpected-driver", "pci-stub"),)),
    ],
)
def test_the_scheduler_is_kept_from_what_prepare_would_refuse(
    changes: dict[str, object],
    manage: bool,  # noqa: FBT001 - a parameter of the test
    taints: tuple[Taint, ...],
) -> None:
    gpu = replace(FLEX, **changes)  # type: ignore[arg-type]
    assert to_device(gpu, manage=manage).taints == taints


# --------------------------------------------------------------------------- order and description


def test_usable_first_then_whole_gpus_then_vfs_then_by_address() -> None:
    gpus = [
        replace(FLEX, bdf="0000:02:00.0", driver=""),
        replace(FLEX, bdf="0000:03:00.1", kind="vf"),
        replace(FLEX, bdf="0000:10:00.0", num_vfs=0),
        replace(FLEX, bdf="0000:03:00.0", num_vfs=2),
        replace(FLEX, bdf="0000:09:00.0", num_vfs=None),
        replace(FLEX, bdf="0001:01:00.0", num_vfs=0),
        replace(FLEX, bdf="0000:01:00.1", kind="vf", driver="vfio-pci", card=""),
    ]
    assert [gpu.bdf for gpu in sorted(gpus, key=lambda gpu: gpu.order)] == [
        "0000:09:00.0",
        "0000:10:00.0",
        "0001:01:00.0",
        "0000:03:00.1",
        "0000:03:00.0",
        "0000:01:00.1",
        "0000:02:00.0",
    ]


@pytest.mark.parametrize(
    ("device_id", "driver", "native"),
    [("0x56c0", "i915", "i915"), ("0x56c0", "xe", "xe"), ("0x56c0", "vfio-pci", "i915"), ("0xe20b", "", "xe"),
     ("0xfffe", "", ""), ("0xfffe", "xe", "xe"), ("0xfffe", "vfio-pci", "")],
)  # fmt: skip
def test_native_driver(device_id: str, driver: str, native: str) -> None:
    assert Gpu("0000:03:00.0", device_id, product(device_id), driver=driver).native_driver == native


def test_a_description_is_json_and_holds_every_fact() -> None:
    facts = describe(FLEX)
    assert json.loads(json.dumps(facts)) == facts
    assert next(iter(facts)) == "name"
    assert facts == {
        "name": "0000-4d-00-0-0x56c0",
        "bdf": "0000:4d:00.0",
        "device_id": "0x56c0",
        "model": "Flex 170",
        "family": "Data Center Flex",
        "integrated": False,
        "driver": "i915",
        "native_driver": "i915",
        "usable": True,
        "kind": "gpu",
        "parent": "",
        "vf_index": None,
        "max_vfs": 31,
        "num_vfs": 4,
        "vf_autoprobe": True,
        "makes_vfs": False,
        "schedules_vfs": False,
        "mode": 0,
        "vfs": [],
        "sriov": True,
        "bindable": False,
        "in_use": False,
        "vfio_nodes": [],
        "card": "card1",
        "render": "renderD128",
        "by_path": ["card", "render"],
        "mei": ["mei1"],
        "vfio": "",
        "iommu_group": "14",
        "pcie_root": "pci0000:4a",
        "numa_node": 0,
        "memory_mib": 16288,
        "driver_version": "",
        "tiles": None,
        "cores": None,
        "guc_submission": "",
    }
