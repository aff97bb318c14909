"""What the CDI ids of Intel's Go driver stand for."""

from __future__ import annotations

import pytest
from dra_common.model import PreparedDevice
from gpu_driver.adopted import edits, is_admin
from gpu_driver.device import Gpu
from gpu_driver.driver import GpuDriver

NAME = "0000-03-00-0-0x56c0"
DRM = Gpu(
    "0000:03:00.0",
    "0x56c0",
    driver="i915",
    card="card1",
    render="renderD128",
    by_path=("card",),
    mei=("mei1", "mei2"),
    iommu_group="14",
)
VFIO = Gpu(
    "0000:03:00.0",
    "0x56c0",
    driver="vfio-pci",
    vfio="vfio0",
    vfio_nodes=("vfio/14", "vfio/devices/vfio0"),
    iommu_group="14",
)


def answer(*ids: str, device: str = NAME) -> tuple[PreparedDevice, ...]:
    return (PreparedDevice(("gpu",), "node-1", device, ids),)


def nodes(gpu: Gpu, *ids: str) -> dict[str, list[tuple[str, str | None]]]:
    found = edits(answer(*ids), {NAME: gpu}, "/host/dev")
    return {name: [(node.path, node.host_path) for node in made.device_nodes] for name, made in found.items()}


def test_a_gpu_on_drm_is_its_drm_nodes() -> None:
    assert nodes(DRM, f"intel.com/gpu={NAME}") == {
        f"intel.com/gpu={NAME}": [
            ("/dev/dri/card1", "/host/dev/dri/card1"),
            ("/dev/dri/renderD128", "/host/dev/dri/renderD128"),
        ]
    }
    (made,) = edits(answer(f"intel.com/gpu={NAME}"), {NAME: DRM}, "/dev").values()
    assert [mount.host_path for mount in made.mounts] == ["/dev/dri/by-path/pci-0000:03:00.0-card"]


def test_a_gpu_that_was_given_to_a_virtual_machine_is_its_vfio_nodes() -> None:
    found = nodes(VFIO, f"intel.com/gpu={NAME}")
    assert [path for path, _ in found[f"intel.com/gpu={NAME}"]] == [
        "/dev/vfio/14",
        "/dev/vfio/vfio",
        "/dev/vfio/devices/vfio0",
        "/dev/iommu",
    ]


@pytest.mark.parametrize(
    "gpu",
    [
        Gpu("0000:03:00.0", "0x56c0"),
        Gpu("0000:03:00.0", "0x56c0", driver="vfio-pci", vfio="vfio0"),
        Gpu("0000:03:00.0", "0x56c0", driver="xe"),
    ],
    ids=["unbound", "no IOMMU group", "no card"],
)
def test_a_gpu_without_nodes_leaves_the_id_to_whoever_defined_it(gpu: Gpu) -> None:
    assert nodes(gpu, f"intel.com/gpu={NAME}") == {}


@pytest.mark.parametrize(("given", "now"), [("mei2", "mei2"), ("mei0", "mei1")])
def test_the_mei_id_is_this_gpus_node_whatever_its_number_now(given: str, now: str) -> None:
    assert nodes(DRM, f"intel.com/gpu-mei={given}") == {
        f"intel.com/gpu-mei={given}": [(f"/dev/{now}", f"/host/dev/{now}")]
    }
    assert nodes(VFIO, f"intel.com/gpu-mei={given}") == {}


@pytest.mark.parametrize(
    "name", ["intel.com/gpu=0000-04-00-0-0x56c0", "intel.com/npu=0", "intel.com/gpu=card0"]
)
def test_no_id_gives_another_devices_nodes(name: str) -> None:
    assert nodes(DRM, name) == {}


def test_a_device_that_is_not_there_gives_nothing() -> None:
    assert edits(answer(f"intel.com/gpu={NAME}"), {}, "/dev") == {}


def test_only_who_looks_at_devices_was_given_a_mei_node() -> None:
    (looks,) = answer(f"intel.com/gpu={NAME}", "intel.com/gpu-mei=mei0")
    (works,) = answer(f"intel.com/gpu={NAME}")
    assert (is_admin(looks), is_admin(works)) == (True, False)
    assert (GpuDriver().is_adopted_admin(looks), GpuDriver().is_adopted_admin(works)) == (True, False)
    assert GpuDriver().adopted_edits([works], {NAME: DRM}, "/dev") == edits([works], {NAME: DRM}, "/dev")
