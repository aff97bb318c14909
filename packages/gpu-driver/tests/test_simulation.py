"""The simulated kernel drivers: trees as on real machines, reactions with the kernel's errnos."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from dra_common.errors import HostError, HostWriteError, SettingsError
from dra_common.simulate import SimulatedHost, find_profile, list_profiles
from gpu_driver.device import Gpu
from gpu_driver.discovery import discover
from gpu_driver.modes import share_mib
from gpu_driver.queries import QUERIES, Cores, XeGtTopology, XeGucVersion
from gpu_driver.scheduling import SETTINGS
from gpu_driver.simulation import SIMULATION
from machines import Boot, hand, machines

MIB = 1 << 20


@pytest.fixture
def boot() -> Iterator[Boot]:
    with machines(SIMULATION) as start:
        yield start


@pytest.fixture(scope="module")
def shipped() -> Iterator[Boot]:
    """Machines that run already, to look at only."""
    with machines(SIMULATION) as start:
        yield cache(start)


def gpus(host: SimulatedHost) -> dict[str, Gpu]:
    return {gpu.bdf: gpu for gpu in discover(host).hardware.values()}


def device(bdf: str) -> str:
    return f"bus/pci/devices/{bdf}"


def refused(host: SimulatedHost, path: str, value: str) -> int:
    with pytest.raises(HostWriteError) as caught:
        host.sysfs.write(path, value)
    return caught.value.errno


def read_all(host: SimulatedHost, folder: str, *names: str) -> list[str]:
    return [host.sysfs.read(f"{folder}/{name}") for name in names]


# --------------------------------------------------------------------------- profiles


def test_the_machines_that_are_shipped() -> None:
    names = [name for name, description in list_profiles(SIMULATION) if description]
    wanted = ["battlemage-pro", "desktop", "empty", "flex-sriov", "large", "two-gpus", "unbound-and-vfio"]
    assert names == wanted


@pytest.mark.parametrize(
    ("name", "total", "usable"),
    [("battlemage-pro", 4, 2), ("desktop", 2, 2), ("empty", 0, 0), ("flex-sriov", 6, 3), ("large", 72, 72),
     ("two-gpus", 2, 2), ("unbound-and-vfio", 7, 3)],
)  # fmt: skip
def test_how_many_gpus_each_has(shipped: Boot, name: str, total: int, usable: int) -> None:
    found = gpus(shipped(name)).values()
    assert (len(found), sum(gpu.drm for gpu in found)) == (total, usable)


@pytest.mark.parametrize(
    "name", ["two-gpus", "flex-sriov", "battlemage-pro", "large", "unbound-and-vfio", "empty"]
)
def test_the_bmc_has_card0_and_is_ignored(shipped: Boot, name: str) -> None:
    host = shipped(name)
    assert host.sysfs.realpath("class/drm/card0").endswith("0000:03:00.0/drm/card0")
    assert "0000:03:00.0" not in gpus(host)
    assert "card0" not in {gpu.card for gpu in gpus(host).values()}


def test_the_two_gpus_of_the_demo_differ(shipped: Boot) -> None:
    first, second = gpus(shipped("two-gpus")).values()
    assert (first.product.model, first.driver, first.memory_mib) == ("Flex 170", "i915", 16288)
    assert (second.product.model, second.driver, second.memory_mib) == ("B60", "xe", 24480)
    assert first.product.family != second.product.family
    assert first.numa_node != second.numa_node


def test_seventy_two_devices_have_numbers_of_their_own(shipped: Boot) -> None:
    found = gpus(shipped("large")).values()
    assert len({gpu.card for gpu in found}) == len({gpu.render for gpu in found}) == 72
    assert sum(gpu.kind == "vf" for gpu in found) == 64
    assert {gpu.memory_mib for gpu in found} == {16288, 2020}
    assert sorted(gpu.vf_index for gpu in found if gpu.vf_index is not None) == sorted(list(range(8)) * 8)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{vram: -1}", "vram"),
        ("{vrom: 5}", "vrom"),
        ("{mei: 3}", "mei"),
        ("{tiles: 0}", "tiles"),
        ("{denied_nodes: [control]}", "denied_nodes"),
        ("{survivability: maybe}", "survivability"),
    ],
)
def test_a_profile_with_nonsense_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        find_profile(SIMULATION, write_profile(tmp_path, "0xe20b", text))


def write_profile(
    folder: Path, device_id: str, details: str, *, more: str = "", kernel: str = "7.1.0"
) -> str:
    file = folder / "own.yaml"
    file.write_text(
        f"name: own\nkernel: {kernel}\ndrivers: [i915, xe, vfio-pci]\nfunctions:\n"
        f"  - {{bdf: 0000:03:00.0, path: [0000:00:01.0], device: {device_id}, class: 0x030000, iommu_group: 1,\n"
        f"     details: {{gpu: {details}}}{more}}}\n"
    )
    return str(file)


# --------------------------------------------------------------------------- trees


def test_tree_of_the_out_of_tree_i915(boot: Boot) -> None:
    host = boot("flex-sriov")
    card = f"{device('0000:4d:00.0')}/drm/card1"
    names = ["dev", "lmem_total_bytes", "gt_RP0_freq_mhz", "gt/gt0/rc6_enable", "engine/vcs1/name"]
    assert read_all(host, card, *names) == ["226:1", "17079205888", "2050", "1", "vcs1"]
    assert host.sysfs.read(f"{card}/uevent") == "MAJOR=226\nMINOR=1\nDEVNAME=dri/card1\nDEVTYPE=drm_minor"
    assert read_all(host, f"{card}/prelim_iov", "mode", "pf/auto_provisioning", "vf31/id") == [
        "SR-IOV PF",
        "1",
        "31",
    ]
    assert read_all(host, f"{card}/prelim_iov", "vf4/gt0/lmem_quota", "vf5/gt0/lmem_quota") == [
        str(4040 * MIB),
        "0",
    ]
    (hwmon,) = host.sysfs.listdir(f"{device('0000:4d:00.0')}/hwmon")
    assert host.sysfs.read(f"{device('0000:4d:00.0')}/hwmon/{hwmon}/name") == "i915"
    assert host.sysfs.readlink(f"{device('0000:4d:00.0')}/virtfn3") == "../0000:4d:00.4"
    vf = f"{device('0000:4d:00.2')}/drm/card3"
    assert not host.sysfs.exists(f"{vf}/prelim_iov")
    assert not host.sysfs.exists(f"{device('0000:4d:00.2')}/hwmon")


def test_tree_of_xe(boot: Boot) -> None:
    host = boot("battlemage-pro")
    pf = device("0000:18:00.0")
    assert read_all(host, pf, "tile0/gt0/gtidle/name", "tile0/gt1/gtidle/name") == ["gt0-rc", "gt1-mc"]
    assert read_all(host, pf, "tile0/gt0/freq0/rp0_freq", "tile0/gt1/engines/vcs/job_timeout_ms") == [
        "2850",
        "5000",
    ]
    admin = f"{pf}/sriov_admin"
    assert host.sysfs.listdir(admin) == (".bulk_profile", "pf", *(f"vf{number}" for number in range(1, 8)))
    assert host.sysfs.realpath(f"{admin}/vf1/device").endswith("/0000:18:00.1")
    assert not host.sysfs.exists(f"{admin}/vf3/device")
    quotas = [host.sysfs.read(f"{admin}/vf{number}/profile/vram_quota") for number in (1, 2, 3)]
    assert quotas == ["4294967296", "4294967296", "0"]
    assert host.sysfs.read(f"{admin}/vf1/profile/sched_priority") == "[low] normal"
    assert host.sysfs.listdir(f"{device('0000:18:00.1')}/vfio-dev") == ("vfio0",)
    capacity = "drm/0000:18:00.0/vram0 17095983104\ndrm/0000:9a:00.0/vram0 25669140480"
    assert host.sysfs.read("fs/cgroup/dmem.capacity") == capacity


@pytest.mark.parametrize(
    ("kernel", "admin", "quota", "mib"),
    [("6.18.3", False, False, 8088), ("6.19.0", True, False, 8088), ("7.1.0", True, True, 4096)],
)
def test_sriov_admin_by_kernel(
    boot: Boot, tmp_path: Path, kernel: str, mib: int, *, admin: bool, quota: bool
) -> None:
    more = ", sriov: {total: 2, vf_device: 0xe212, num: 2}"
    host = boot(write_profile(tmp_path, "0xe212", "{vram: 17095983104}", more=more, kernel=kernel))
    folder = f"{device('0000:03:00.0')}/sriov_admin"
    assert host.sysfs.exists(f"{folder}/vf1/profile/exec_quantum_ms") is admin
    assert host.sysfs.exists(f"{folder}/.bulk_profile/exec_quantum_ms") is admin
    assert host.sysfs.exists(f"{folder}/vf1/profile/vram_quota") is quota
    assert host.sysfs.exists(f"{folder}/.bulk_profile/vram_quota") is quota
    # Whatever is shown, the VFs have the same.
    assert [gpu.memory_mib for gpu in gpus(host).values() if gpu.kind == "vf"] == [mib, mib]


@pytest.mark.parametrize(
    ("kernel", "shares"),
    [
        ("6.12.0", [2048, 2048, 2048, 2048]),
        ("6.16.9", [2048, 2048, 2048, 2048]),
        ("6.17.0", [24352, 12176, 8116, 3478]),
        ("7.0.3", [24352, 12176, 8116, 3478]),
        ("7.1.0", [8192, 8192, 4096, 2048]),
        ("7.2.0", [8192, 8192, 4096, 2048]),
    ],
)
def test_a_share_is_as_large_as_the_modes_say(
    boot: Boot, tmp_path: Path, kernel: str, shares: list[int]
) -> None:
    """By the rule of the kernel driver of that version; a mode promises no more, and not much less."""
    more = ", sriov: {total: 7, vf_device: 0xe211}"
    host = boot(write_profile(tmp_path, "0xe211", "{vram: 25669140480}", more=more, kernel=kernel))
    for count, share in zip((1, 2, 3, 7), shares, strict=True):
        host.sysfs.write(f"{device('0000:03:00.0')}/sriov_numvfs", str(count))
        found = gpus(host)
        assert {gpu.memory_mib for gpu in found.values() if gpu.kind == "vf"} == {share}
        promised = share_mib(replace(found["0000:03:00.0"], mode=count))
        assert promised is not None
        assert promised <= share < promised + 256
        host.sysfs.write(f"{device('0000:03:00.0')}/sriov_numvfs", "0")


def test_scheduling_of_vfs(boot: Boot) -> None:
    host = boot("battlemage-pro")
    pf = device("0000:9a:00.0")
    admin = f"{pf}/sriov_admin"

    def scheduled(name: str) -> list[str]:
        return read_all(host, admin, *(f"{who}/profile/{name}" for who in ("pf", "vf1", "vf2", "vf7")))

    bulk = {name: f"{admin}/.bulk_profile/{name}" for name in SETTINGS}
    host.sysfs.write(bulk["exec_quantum_ms"], "0x14")
    host.sysfs.write(bulk["preempt_timeout_us"], "4000000000")
    host.sysfs.write(bulk["sched_priority"], "normal\n")
    host.sysfs.write(f"{admin}/vf2/profile/exec_quantum_ms", "5")
    assert scheduled("exec_quantum_ms") == ["20", "20", "5", "20"]
    assert scheduled("preempt_timeout_us") == ["100000000"] * 4, "the firmware's most"
    assert scheduled("sched_priority") == ["low [normal] high", *["low [normal]"] * 3]
    host.sysfs.write(f"{admin}/pf/profile/sched_priority", "high")
    for path, text, why in (
        (bulk["exec_quantum_ms"], "soon", errno.EINVAL),
        (bulk["exec_quantum_ms"], str(1 << 32), errno.EINVAL),
        (bulk["sched_priority"], "high", errno.EINVAL),
        (f"{admin}/pf/profile/sched_priority", "higher", errno.EINVAL),
        (f"{admin}/vf1/profile/sched_priority", "low", errno.EOPNOTSUPP),
    ):
        assert refused(host, path, text) == why
    # VFs that go have the defaults afterwards; the others keep what they were given, and all the priority.
    host.sysfs.write(f"{pf}/sriov_numvfs", "2")
    assert scheduled("exec_quantum_ms") == ["20", "20", "5", "20"]
    host.sysfs.write(f"{pf}/sriov_numvfs", "0")
    assert scheduled("exec_quantum_ms") == ["20", "0", "0", "20"]
    assert scheduled("sched_priority") == ["low normal [high]", *["low [normal]"] * 3]


def test_mei_belongs_to_its_card(boot: Boot) -> None:
    host = boot("two-gpus")
    assert [gpu.mei for gpu in gpus(host).values()] == [("mei0",), ("mei1",)]
    assert "/0000:9a:00.0/xe.mei-gscfi." in host.sysfs.realpath("class/mei/mei1")
    assert host.devfs.exists("mei1")


def test_survivability_binds_without_drm(boot: Boot) -> None:
    host = boot("unbound-and-vfio")
    assert host.sysfs.read(f"{device('0000:25:00.0')}/survivability_mode") == "Boot"
    assert not host.sysfs.exists(f"{device('0000:25:00.0')}/drm")
    assert gpus(host)["0000:25:00.0"].driver == "xe"


# --------------------------------------------------------------------------- memory


def test_memory_by_dmem_by_query_and_not_at_all(boot: Boot) -> None:
    found = gpus(boot("unbound-and-vfio"))
    assert found["0000:20:00.0"].memory_mib == 24480
    assert found["0000:24:00.0"].memory_mib == 8128
    assert found["0000:26:00.0"].memory_mib is None
    assert [found[f"0000:{bus}:00.0"].memory_mib for bus in (21, 22, 23, 25)] == [None] * 4


@pytest.mark.parametrize("denied", ["[card]", "[render]"])
@pytest.mark.parametrize(("device_id", "driver"), [("0xe20b", "xe"), ("0x56a0", "i915")])
def test_one_permitted_node_is_enough(
    boot: Boot, tmp_path: Path, denied: str, device_id: str, driver: str
) -> None:
    host = boot(write_profile(tmp_path, device_id, f"{{vram: 12809404416, denied_nodes: {denied}}}"))
    gpu = gpus(host)["0000:03:00.0"]
    assert (gpu.driver, gpu.memory_mib) == (driver, 12216)


def test_two_tiles_are_one_size(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, "0x0bd5", "{vram: 137438953472, tiles: 2}"))
    assert gpus(host)["0000:03:00.0"].memory_mib == 131072


# --------------------------------------------------------------------------- inside


def test_two_tiles_of_cores_some_of_them_fused_off(boot: Boot, tmp_path: Path) -> None:
    details = "{vram: 12809404416, tiles: 2, xe_cores: 11, eus_per_core: 16, guc_submission: 1.14.0}"
    gpu = gpus(boot(write_profile(tmp_path, "0xe20b", details)))["0000:03:00.0"]
    assert (gpu.tiles, gpu.cores, gpu.guc_submission) == (2, Cores(11, 176), "1.14.0")


def test_a_kernel_driver_that_does_not_tell_of_cores(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, "0xe20b", "{vram: 12809404416}"))
    gpu = gpus(host)["0000:03:00.0"]
    assert (gpu.tiles, gpu.cores, gpu.guc_submission) == (1, None, "")
    with pytest.raises(HostError) as caught:
        host.query(f"dri/{gpu.render}", XeGtTopology())
    assert caught.value.errno == errno.EINVAL


def test_who_may_not_open_a_node_is_told_nothing(boot: Boot) -> None:
    host = boot("unbound-and-vfio")
    gpu = gpus(host)["0000:26:00.0"]
    assert (gpu.cores, gpu.guc_submission, gpu.driver_version) == (None, "", "6.19.0")
    with pytest.raises(HostError) as caught:
        host.query(f"dri/{gpu.render}", XeGucVersion())
    assert caught.value.errno == errno.EACCES


def test_an_out_of_tree_driver_does_not_have_the_kernels_version(boot: Boot) -> None:
    found = gpus(boot("flex-sriov"))
    assert found["0000:4d:00.0"].driver == "i915"
    assert {gpu.driver_version for gpu in found.values()} == {""}


@pytest.mark.parametrize(("node", "other"), [("dri/renderD128", "xe"), ("dri/renderD129", "i915")])
def test_the_other_drivers_question_is_refused(boot: Boot, node: str, other: str) -> None:
    host = boot("two-gpus")  # renderD128 is i915's, renderD129 xe's
    with pytest.raises(HostError) as caught:
        host.query(node, QUERIES[other])
    assert caught.value.errno == errno.EINVAL


def test_memory_of_a_vf_follows_its_quota(boot: Boot) -> None:
    host = boot("battlemage-pro")
    pf = device("0000:9a:00.0")
    host.sysfs.write(f"{pf}/sriov_admin/vf1/profile/vram_quota", str(4096 * MIB))
    host.sysfs.write(f"{pf}/sriov_admin/vf2/profile/vram_quota", str(2048 * MIB))
    host.sysfs.write(f"{pf}/sriov_numvfs", "2")
    assert refused(host, f"{pf}/sriov_admin/.bulk_profile/vram_quota", "1") == errno.EIO
    vfs = [gpu for gpu in gpus(host).values() if gpu.parent == "0000:9a:00.0"]
    assert [gpu.memory_mib for gpu in vfs] == [4096, 2048]
    assert refused(host, f"{pf}/sriov_admin/vf1/profile/vram_quota", "1") == errno.EIO
    assert refused(host, f"{pf}/sriov_admin/vf1/profile/exec_quantum_ms", "soon") == errno.EINVAL


# --------------------------------------------------------------------------- SR-IOV


@pytest.mark.parametrize(("profile", "pf"), [("desktop", "0000:00:02.0"), ("two-gpus", "0000:4d:00.0")])
def test_mainline_i915_shows_a_number_and_makes_no_vfs(boot: Boot, profile: str, pf: str) -> None:
    host = boot(profile)
    total = int(host.sysfs.read(f"{device(pf)}/sriov_totalvfs"))
    assert total > 0
    assert refused(host, f"{device(pf)}/sriov_numvfs", "1") == errno.ENOENT
    assert refused(host, f"{device(pf)}/sriov_numvfs", str(total + 1)) == errno.ERANGE
    host.sysfs.write(f"{device(pf)}/sriov_numvfs", "0")


@pytest.mark.parametrize(
    ("profile", "pf", "mib"), [("flex-sriov", "0000:b3:00.0", 8080), ("battlemage-pro", "0000:9a:00.0", 8192)]
)
def test_vfs_come_with_nodes_and_memory_and_go_without_a_trace(
    boot: Boot, profile: str, pf: str, mib: int
) -> None:
    host = boot(profile)
    before = gpus(host)
    host.sysfs.write(f"{device(pf)}/sriov_numvfs", "2")
    vfs = [gpu for gpu in gpus(host).values() if gpu.parent == pf]
    assert [(gpu.kind, gpu.vf_index, gpu.drm, bool(gpu.by_path)) for gpu in vfs] == [
        ("vf", 0, True, True),
        ("vf", 1, True, True),
    ]
    assert [gpu.memory_mib for gpu in vfs] == [mib, mib]
    assert refused(host, f"{device(pf)}/sriov_numvfs", "3") == errno.EBUSY
    host.sysfs.write(f"{device(pf)}/sriov_numvfs", "0")
    assert gpus(host) == before
    host.sysfs.write(f"{device(pf)}/sriov_numvfs", "1")
    assert [gpu.vf_index for gpu in gpus(host).values() if gpu.parent == pf] == [0]


@pytest.mark.parametrize("device_id", ["0xe212", "0x56c0"])
def test_vfs_without_memory_for_them(boot: Boot, tmp_path: Path, device_id: str) -> None:
    more = f", sriov: {{total: 2, vf_device: {device_id}}}"
    file = Path(write_profile(tmp_path, device_id, f"{{vram: {130 * MIB}}}", more=more))
    file.write_text(file.read_text().replace("[i915, xe,", "[i915-backport, xe,"))
    host = boot(str(file))
    assert refused(host, f"{device('0000:03:00.0')}/sriov_numvfs", "2") == errno.ENOSPC
    assert len(gpus(host)) == 1


def test_xe_lowers_the_total_while_it_is_bound(boot: Boot) -> None:
    host = boot("two-gpus")
    pf = device("0000:9a:00.0")
    assert host.sysfs.read(f"{pf}/sriov_totalvfs") == "7"
    assert refused(host, f"{pf}/sriov_numvfs", "8") == errno.ERANGE
    host.sysfs.write("bus/pci/drivers/xe/unbind", "0000:9a:00.0")
    assert host.sysfs.read(f"{pf}/sriov_totalvfs") == "12"
    assert gpus(host)["0000:9a:00.0"].max_vfs is None


# --------------------------------------------------------------------------- binding


@pytest.mark.parametrize(
    ("profile", "bdf", "native"),
    [("two-gpus", "0000:4d:00.0", "i915"), ("battlemage-pro", "0000:9a:00.0", "xe")],
)
def test_unbinding_takes_everything_away_and_binding_brings_it_back(
    boot: Boot, profile: str, bdf: str, native: str
) -> None:
    host = boot(profile)
    before = gpus(host)[bdf]
    host.sysfs.write(f"bus/pci/drivers/{native}/unbind", bdf)
    unbound = gpus(host)[bdf]
    assert (unbound.driver, unbound.card, unbound.render, unbound.by_path, unbound.mei) == (
        "",
        "",
        "",
        (),
        (),
    )
    assert (unbound.native_driver, unbound.memory_mib, unbound.sriov) == (native, None, False)
    left = set(host.sysfs.listdir(device(bdf)))
    assert not left & {"drm", "hwmon", "tile0", "sriov_admin", "vram_d3cold_threshold", "driver"}
    assert not [name for name in left if "mei" in name]
    assert not host.devfs.exists(f"dri/{before.card}")
    host.sysfs.write(f"bus/pci/drivers/{native}/bind", bdf)
    assert gpus(host)[bdf] == before


def test_a_gpu_given_to_a_virtual_machine(boot: Boot) -> None:
    host = boot("two-gpus")
    bdf = "0000:9a:00.0"
    host.sysfs.write(f"{device(bdf)}/driver_override", "xe-vfio-pci")
    host.sysfs.write("bus/pci/drivers/xe/unbind", bdf)
    host.sysfs.write("bus/pci/drivers_probe", bdf)
    gpu = gpus(host)[bdf]
    assert (gpu.driver, gpu.vfio, gpu.iommu_group, gpu.drm) == ("xe-vfio-pci", "vfio0", "22", False)
    assert "drm/0000:9a" not in host.sysfs.read("fs/cgroup/dmem.capacity")


def test_each_driver_takes_its_own_products_only(boot: Boot) -> None:
    host = boot("two-gpus")
    host.sysfs.write("bus/pci/drivers/xe/unbind", "0000:9a:00.0")
    assert refused(host, "bus/pci/drivers/i915/bind", "0000:9a:00.0") == errno.ENODEV


def test_a_card_pulled_out_and_put_back(boot: Boot) -> None:
    host = boot("two-gpus")
    before = gpus(host)
    assert hand(host, "unplug", bdf="0000:4d:00.0")["ok"] is True
    assert list(gpus(host)) == ["0000:9a:00.0"]
    assert hand(host, "plug", bdf="0000:4d:00.0")["ok"] is True
    assert gpus(host) == before


def test_numbers_change_over_a_reboot_and_names_do_not(boot: Boot) -> None:
    host = boot("two-gpus")
    before, boot_id = gpus(host), host.boot_id()
    assert hand(host, "reboot")["ok"] is True
    after = gpus(host)
    assert host.boot_id() != boot_id
    assert [gpu.name for gpu in after.values()] == [gpu.name for gpu in before.values()]
    assert [gpu.card for gpu in after.values()] != [gpu.card for gpu in before.values()]
