"""The simulated habanalabs: trees as on real machines, resets, and what the library's double reads."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from dra_common.errors import HostWriteError, SettingsError
from dra_common.simulate import ControlClient, SimulatedHost, find_profile, list_profiles, write_tree
from gaudi_driver.products import PRODUCTS
from gaudi_driver.simulation import SIMULATION
from gaudi_machines import write_profile
from machines import Boot, folder, hand, machines

FIRST = "0000:43:00.0"
DRIVER = "bus/pci/drivers/habanalabs"
READ_ONLY = {
    *("armcp_kernel_ver", "armcp_ver", "cpucp_kernel_ver", "cpucp_ver", "fw_os_ver", "preboot_btl_ver"),
    *("cpld_ver", "fuse_ver", "thermal_ver", "uboot_ver", "vrm_ver", "eeprom"),
    *("status", "module_id", "pci_addr", "parent_device", "device_type", "security_enabled"),
    *("clk_cur_freq_mhz", "hard_reset_cnt"),
}


@pytest.fixture
def boot() -> Iterator[Boot]:
    with machines(SIMULATION) as start:
        yield start


@pytest.fixture(scope="module")
def shipped() -> Iterator[Boot]:
    """Machines that run already, to look at only."""
    with machines(SIMULATION) as start:
        yield cache(start)


def device(bdf: str = FIRST) -> str:
    return f"bus/pci/devices/{bdf}"


def read_all(host: SimulatedHost, place: str, *names: str) -> list[str]:
    return [host.sysfs.read(f"{place}/{name}") for name in names]


def refused(host: SimulatedHost, path: str, value: str) -> int:
    with pytest.raises(HostWriteError) as caught:
        host.sysfs.write(path, value)
    return caught.value.errno


def index_of(host: SimulatedHost, bdf: str) -> str:
    (name,) = host.sysfs.listdir(f"{device(bdf)}/accel")
    return name.removeprefix("accel")


def known_to_hlml(host: SimulatedHost) -> list[str]:
    return sorted(path.name for path in (folder(host) / "hlml/devices").iterdir())


# --------------------------------------------------------------------------- profiles


def test_the_machines_that_are_shipped() -> None:
    names = [name for name, description in list_profiles(SIMULATION) if description]
    assert names == ["gaudi-and-gpus", "gaudi-broken", "gaudi-missing-port", "gaudi2-hls", "gaudi3"]


@pytest.mark.parametrize(
    ("name", "total", "nodes", "verbs"),
    [("gaudi-and-gpus", 2, 2, 0), ("gaudi-broken", 9, 5, 0), ("gaudi-missing-port", 4, 4, 3),
     ("gaudi2-hls", 8, 8, 8), ("gaudi3", 8, 8, 8)],
)  # fmt: skip
def test_what_each_has(shipped: Boot, name: str, total: int, nodes: int, verbs: int) -> None:
    host = shipped(name)
    vendors = [host.sysfs.read(f"{device(bdf)}/vendor") for bdf in host.sysfs.listdir("bus/pci/devices")]
    assert vendors.count("0x1da3") == total
    numbers = range(nodes)
    assert host.devfs.listdir("accel") == tuple(
        sorted([*(f"accel{each}" for each in numbers), *(f"accel_controlD{each}" for each in numbers)])
    )
    found = host.devfs.listdir("infiniband") if host.devfs.exists("infiniband") else ()
    assert found == tuple(f"uverbs{each}" for each in range(verbs))


@pytest.mark.parametrize(
    ("index", "bdf", "numa", "module"),
    [(0, "43", 0, 0), (1, "44", 0, 1), (2, "1a", 0, 3), (3, "19", 0, 2),
     (4, "b3", 1, 5), (5, "b4", 1, 4), (6, "cc", 1, 7), (7, "cd", 1, 6)],
)  # fmt: skip
def test_the_server_is_as_the_real_one(shipped: Boot, index: int, bdf: str, numa: int, module: int) -> None:
    host = shipped("gaudi2-hls")
    place = device(f"0000:{bdf}:00.0")
    assert host.sysfs.listdir(f"{place}/accel") == (f"accel{index}",)
    assert read_all(host, place, "numa_node", "module_id") == [str(numa), str(module)]


def test_modules_of_a_server_all_differ(shipped: Boot) -> None:
    for name in ("gaudi2-hls", "gaudi3"):
        host = shipped(name)
        places = [device(path.name) for path in (folder(host) / "hlml/devices").iterdir()]
        assert sorted(host.sysfs.read(f"{place}/module_id") for place in places) == list("01234567")


def test_two_drivers_have_devices_on_one_machine(shipped: Boot) -> None:
    host = shipped("gaudi-and-gpus")
    assert read_all(host, device("0000:9a:00.0"), "vendor", "device") == ["0x8086", "0xe211"]
    assert host.sysfs.listdir(f"{device('0000:9a:00.0')}/vfio-dev") == ("vfio0",)


def test_the_states_of_broken_ones(shipped: Boot) -> None:
    host = shipped("gaudi-broken")
    found = {
        bdf: host.sysfs.read(f"{device(bdf)}/status")
        for bdf in host.sysfs.listdir("bus/pci/devices")
        if host.sysfs.exists(f"{device(bdf)}/status")
    }
    assert sorted(found.values()) == [
        "Disabled",
        "In device creation",
        "In reset",
        "In reset after device release",
        "Needs reset",
        "Operational",
    ]
    assert host.sysfs.realpath(f"{device('0000:cd:00.0')}/driver").endswith("vfio-pci")
    for bdf in ("0000:cc:00.0", "0000:e1:00.0"):
        assert not host.sysfs.exists(f"{device(bdf)}/driver")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("module_id: 8", "module_id"),
        ("modul_id: 1", "modul_id"),
        ("status: operational", "status"),
        ("layout: sysfs", "layout"),
        ("ports: 4", "ports"),
        ("reset: maybe", "reset"),
        ("index: -1", "index"),
        ("firmware: a b", "firmware"),
    ],
)
def test_a_profile_with_nonsense_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        find_profile(SIMULATION, write_profile(tmp_path, text))


# --------------------------------------------------------------------------- attributes


def test_attributes_of_a_gaudi2(shipped: Boot) -> None:
    host = shipped("gaudi2-hls")
    names = ["status", "module_id", "pci_addr", "device_type", "parent_device", "security_enabled"]
    assert read_all(host, device(), *names) == ["Operational", "0", FIRST, "GAUDI2", FIRST, "1"]
    numbers = ["clk_max_freq_mhz", "clk_cur_freq_mhz", "max_power", "hard_reset_cnt", "cpld_ver"]
    assert read_all(host, device(), *numbers) == ["1650", "200", "600000", "0", "0x0000000d"]
    assert host.sysfs.read(f"{device()}/thermal_ver") == ""
    assert host.sysfs.read(f"{device()}/eeprom").encode() == bytes(4096)
    assert host.sysfs.read(f"{device()}/uevent").splitlines()[:3] == [
        "DRIVER=habanalabs",
        "PCI_CLASS=120000",
        "PCI_ID=1DA3:1020",
    ]


def test_every_attribute_is_there_with_the_kernels_permissions(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, "layout: virtual"))
    place = folder(host) / "sys/devices/virtual/accel/accel0/device"
    written = {"clk_max_freq_mhz", "hard_reset", "max_power"}
    assert {path.name for path in place.iterdir()} == READ_ONLY | written
    for path in place.iterdir():
        taken = path.name in written
        code = refused(host, f"{path.relative_to(folder(host) / 'sys')}", "x")
        assert code == (errno.EINVAL if taken else errno.EACCES), path.name
    assert (place / "hard_reset").stat().st_mode & 0o444 == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fw_os_ver", "Zephyr 2.7.2-hl-gaudi2-9.8.7-fw-1.2.3-sec-4 ("),
        ("cpucp_kernel_ver", "Linux gaudi2 5.10.18-hl-gaudi2-9.8.7-fw-1.2.3-sec-4 #1 SMP"),
        ("armcp_kernel_ver", "Linux gaudi2 5.10.18-hl-gaudi2-9.8.7-fw-1.2.3-sec-4 #1 SMP"),
        ("preboot_btl_ver", "Preboot version hl-gaudi2-9.8.7-fw-1.2.3-sec-4 ("),
        ("uboot_ver", "U-Boot 2021.04-hl-gaudi2-9.8.7-fw-1.2.3-sec-4 ("),
    ],
)
def test_texts_of_the_firmware(boot: Boot, tmp_path: Path, name: str, text: str) -> None:
    host = boot(write_profile(tmp_path, "firmware: 9.8.7-fw-1.2.3-sec-4"))
    assert host.sysfs.read(f"{device()}/{name}").startswith(text)


@pytest.mark.parametrize(
    ("ids", "revision", "kind"),
    [("0x1000", "0x01", "GAUDI"), ("0x1010", "0x01", "GAUDI SEC"), ("0x1020", "0x01", "GAUDI2"),
     ("0x1020", "0x02", "GAUDI2B"), ("0x1020", "0x03", "GAUDI2C"), ("0x1020", "0x04", "GAUDI2D"),
     ("0x1060", "0x02", "GAUDI3")],
)  # fmt: skip
def test_types_of_devices(boot: Boot, tmp_path: Path, ids: str, revision: str, kind: str) -> None:
    profile = write_profile(tmp_path, device=ids, drivers="habanalabs-oot", more=f", revision: {revision}")
    assert boot(profile).sysfs.read(f"{device()}/device_type") == kind


def test_a_profile_may_name_the_type_and_leave_attributes_out(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, "device_type: GAUDI9, silent: [module_id, fw_os_ver, hard_reset]"))
    assert host.sysfs.read(f"{device()}/device_type") == "GAUDI9"
    for name in ("module_id", "fw_os_ver", "hard_reset"):
        assert not host.sysfs.exists(f"{device()}/{name}")


def test_one_in_creation_has_neither_nodes_nor_firmware(shipped: Boot) -> None:
    host = shipped("gaudi-broken")
    place = device("0000:b3:00.0")
    assert host.sysfs.realpath(f"{place}/driver").endswith("habanalabs")
    assert read_all(host, place, "status", "pci_addr") == ["In device creation", "0000:b3:00.0"]
    for name in ("accel", "hwmon", "module_id", "fw_os_ver", "hard_reset"):
        assert not host.sysfs.exists(f"{place}/{name}")
    assert "0000:b3:00.0" not in known_to_hlml(host)


def test_hwmon_is_named_after_the_card(shipped: Boot) -> None:
    host = shipped("gaudi2-hls")
    (hwmon,) = host.sysfs.listdir(f"{device()}/hwmon")
    assert read_all(host, f"{device()}/hwmon/{hwmon}", "name", "temp1_input") == ["HL225", "31000"]


# --------------------------------------------------------------------------- nodes


def test_devices_of_computing_and_of_control(shipped: Boot) -> None:
    host = shipped("gaudi2-hls")
    place = f"{device('0000:1a:00.0')}/accel/accel2"
    assert read_all(host, place, "dev", "uevent") == [
        "261:2",
        "MAJOR=261\nMINOR=2\nDEVNAME=accel/accel2\nDEVTYPE=accel_minor",
    ]
    assert host.sysfs.readlink(f"{place}/device") == "../../../0000:1a:00.0"
    control = "devices/virtual/accel/accel_controlD2"
    assert host.sysfs.realpath("class/accel/accel_controlD2").endswith(control)
    assert read_all(host, control, "dev", "uevent") == [
        "508:2",
        "MAJOR=508\nMINOR=2\nDEVNAME=accel/accel_controlD2",
    ]
    # Whoever lists the class finds both, and only one leads to hardware.
    assert not host.sysfs.exists(f"{control}/device")


def test_a_module_of_the_kernel_tells_no_version_and_has_no_network(shipped: Boot) -> None:
    host = shipped("gaudi-and-gpus")
    assert not host.sysfs.exists("module/habanalabs/version")
    for name in ("driver_ver", "infiniband", "infiniband_verbs", "net"):
        assert not host.sysfs.exists(f"{device('0000:19:00.0')}/{name}")


def test_a_module_that_is_built_beside_the_kernel_tells_its_version(shipped: Boot) -> None:
    host = shipped("gaudi3")
    assert host.sysfs.read("module/habanalabs/version") == "1.21.0-ca59b5a"
    assert host.sysfs.read("module/habanalabs/taint") == "OE"
    assert host.sysfs.read(f"{device('0000:19:00.0')}/driver_ver") == "1.21.0-ca59b5a"


def test_only_the_one_beside_the_kernel_takes_a_gaudi3(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, device="0x1060"))
    assert not host.sysfs.exists(f"{device()}/driver")
    assert refused(host, f"{DRIVER}/bind", FIRST) == errno.ENODEV


@pytest.mark.parametrize("ids", sorted(PRODUCTS))
def test_the_one_beside_the_kernel_takes_every_product(boot: Boot, tmp_path: Path, ids: str) -> None:
    host = boot(write_profile(tmp_path, device=ids, drivers="habanalabs-oot"))
    assert host.devfs.listdir("accel") == ("accel0", "accel_controlD0")


def test_what_is_no_gaudi_cannot_be_bound_even_by_force(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, device="0x10ff"))
    host.sysfs.write(f"{device()}/driver_override", "habanalabs")
    assert refused(host, f"{DRIVER}/bind", FIRST) == errno.ENODEV
    assert not host.sysfs.exists(f"{device()}/driver")


def test_a_number_that_the_profile_wants(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, "index: 5"))
    assert host.devfs.listdir("accel") == ("accel5", "accel_controlD5")


def test_layout_of_kernels_without_accelerators(shipped: Boot) -> None:
    host = shipped("gaudi-missing-port")
    place = "devices/virtual/accel/accel1/device"
    assert read_all(host, place, "pci_addr", "module_id", "status") == ["0000:20:1d.0", "0", "Operational"]
    # A folder of this name, where elsewhere there is a link.
    assert host.sysfs.realpath(place) == host.sysfs.realpath("devices/virtual/accel/accel1") + "/device"
    assert host.sysfs.read("devices/virtual/accel/accel1/dev") == "508:2"
    assert host.devfs.exists("accel/accel1")
    assert not host.sysfs.exists(f"{device('0000:20:1d.0')}/status")
    assert not host.sysfs.exists(f"{device('0000:20:1d.0')}/accel")


def test_layout_before_there_were_accelerators(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, "layout: habanalabs, module_id: 6"))
    place = "class/habanalabs/hl0"
    assert read_all(host, place, "dev", "pci_addr", "module_id") == ["508:0", FIRST, "6"]
    assert host.sysfs.read("class/habanalabs/hl_controlD0/dev") == "508:1"
    assert host.sysfs.read(f"{place}/infineon_ver") == "0x10"
    assert not host.sysfs.exists(f"{place}/device")
    assert not host.sysfs.exists("class/accel")
    assert (host.devfs.exists("hl0"), host.devfs.exists("hl_controlD0")) == (True, True)
    host.sysfs.write(f"{place}/hard_reset", "1")
    assert host.sysfs.read(f"{place}/hard_reset_cnt") == "1"


# --------------------------------------------------------------------------- network


def test_each_has_a_device_for_rdma(shipped: Boot) -> None:
    host = shipped("gaudi3")
    place = device("0000:b3:00.0")
    index = index_of(host, "0000:b3:00.0")
    assert host.sysfs.listdir(f"{place}/infiniband") == (f"hlib_{index}",)
    (verbs,) = host.sysfs.listdir(f"{place}/infiniband_verbs")
    number = int(verbs.removeprefix("uverbs"))
    assert read_all(host, f"{place}/infiniband_verbs/{verbs}", "ibdev", "dev") == [
        f"hlib_{index}",
        f"231:{192 + number}",
    ]
    assert host.devfs.exists(f"infiniband/{verbs}")


def test_ports_that_lead_out_have_interfaces(shipped: Boot) -> None:
    host = shipped("gaudi3")
    place = f"{device('0000:b3:00.0')}/net"
    assert host.sysfs.listdir(place) == ("enp179s0d22", "enp179s0d23", "enp179s0d8")
    assert read_all(host, f"{place}/enp179s0d22", "dev_port", "operstate", "speed") == ["22", "up", "200000"]
    assert host.sysfs.listdir(f"class/infiniband/hlib_{index_of(host, '0000:b3:00.0')}/device/net")


def test_interfaces_all_differ(shipped: Boot) -> None:
    host = shipped("gaudi3")
    names = host.sysfs.listdir("class/net")
    for fact in ("address", "ifindex"):
        assert len({host.sysfs.read(f"class/net/{name}/{fact}") for name in names}) == len(names) == 24


def test_a_module_may_lack_ports(shipped: Boot) -> None:
    host = shipped("gaudi-missing-port")
    without = device("0000:90:1d.0")
    assert [host.sysfs.exists(f"{without}/{each}") for each in ("net", "infiniband_verbs")] == [False, False]
    assert len(host.sysfs.listdir(f"{device('0000:a0:1d.0')}/net")) == 2
    # So the number of verbs need not be the device's.
    assert host.sysfs.listdir(f"{device('0000:a0:1d.0')}/infiniband_verbs") == ("uverbs2",)
    assert host.sysfs.read("devices/virtual/accel/accel3/device/pci_addr") == "0000:a0:1d.0"


# --------------------------------------------------------------------------- resets and states


@pytest.mark.parametrize("written", ["1", "0", "0x7\n"])
def test_any_number_resets(boot: Boot, written: str) -> None:
    host = boot("gaudi2-hls")
    host.sysfs.write(f"{device()}/hard_reset", written)
    assert read_all(host, device(), "status", "hard_reset_cnt") == ["Operational", "1"]


def test_what_is_no_number_does_not(boot: Boot) -> None:
    host = boot("gaudi2-hls")
    assert refused(host, f"{device()}/hard_reset", "now") == errno.EINVAL
    assert host.sysfs.read(f"{device()}/hard_reset_cnt") == "0"


@pytest.mark.parametrize(
    ("bdf", "after", "count"),
    [
        ("0000:44:00.0", "Operational", "1"),
        ("0000:43:00.0", "Disabled", "1"),
        ("0000:1a:00.0", "In reset", "0"),
        ("0000:b4:00.0", "In reset after device release", "0"),
    ],
)
def test_a_reset_of_a_broken_one(boot: Boot, bdf: str, after: str, count: str) -> None:
    """It mends what needs one, fails where the hardware is broken, and is not heard during another."""
    host = boot("gaudi-broken")
    host.sysfs.write(f"{device(bdf)}/hard_reset", "1")
    assert read_all(host, device(bdf), "status", "hard_reset_cnt") == [after, count]


def test_a_reset_that_does_not_end(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, "reset: hangs"))
    host.sysfs.write(f"{device()}/hard_reset", "1")
    assert read_all(host, device(), "status", "hard_reset_cnt") == ["In reset", "0"]


def test_settings_are_refused_while_it_is_not_operational(boot: Boot) -> None:
    host = boot("gaudi2-hls")
    host.sysfs.write(f"{device()}/max_power", "450000")
    assert refused(host, f"{device()}/clk_max_freq_mhz", "fast") == errno.EINVAL
    assert hand(host, "sense", path=f"{device()}/status", value="Needs reset")["ok"]
    assert refused(host, f"{device()}/max_power", "500000") == errno.ENODEV
    assert refused(host, f"{device()}/clk_max_freq_mhz", "1000") == errno.ENODEV
    assert read_all(host, device(), "status", "max_power") == ["Needs reset", "450000"]
    assert refused(host, f"{device()}/status", "Operational") == errno.EACCES


def test_a_state_changes_without_a_uevent_and_a_driver_with_some(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path))
    client = ControlClient(folder(host))
    with client.connect() as connection, connection.makefile("rwb") as stream:
        assert client.exchange(stream, "subscribe")["ok"]
        hand(host, "sense", path=f"{device()}/status", value="Needs reset")
        host.sysfs.write(f"{device()}/hard_reset", "1")
        host.sysfs.write(f"{DRIVER}/unbind", FIRST)
        seen = [json.loads(stream.readline())["event"] for _ in range(4)]
    assert [(event["action"], event["subsystem"], event["devpath"].rpartition("/")[2]) for event in seen] == [
        ("remove", "hwmon", "hwmon0"),
        ("remove", "accel", "accel_controlD0"),
        ("remove", "accel", "accel0"),
        ("unbind", "pci", FIRST),
    ]


@pytest.mark.parametrize("layout", ["accel", "virtual", "habanalabs"])
def test_unbinding_leaves_nothing_and_binding_brings_all_back(
    boot: Boot, tmp_path: Path, layout: str
) -> None:
    host = boot(write_profile(tmp_path, f"layout: {layout}, serial: A1", drivers="habanalabs-oot"))
    before = tree(host)
    host.sysfs.write(f"{DRIVER}/unbind", FIRST)
    left = tree(host)
    assert not [path for path in left if path.rpartition("/")[2].startswith(("accel", "hl", "uverbs", "enp"))]
    assert not any("devices/virtual/accel" in path or "status" in path for path in left)
    assert known_to_hlml(host) == []
    host.sysfs.write(f"{DRIVER}/bind", FIRST)
    assert tree(host) == before
    assert known_to_hlml(host) == [FIRST]


def tree(host: SimulatedHost) -> set[str]:
    """Everything that is in the trees but empty folders."""
    root = folder(host)
    files = (path for name in ("sys", "dev") for path in (root / name).rglob("*"))
    return {str(path.relative_to(root)) for path in files if path.is_symlink() or not path.is_dir()}


def test_indices_differ_after_a_reboot(boot: Boot) -> None:
    host = boot("gaudi2-hls")
    assert index_of(host, "0000:cd:00.0") == "7"
    assert hand(host, "reboot")["ok"]
    assert index_of(host, "0000:cd:00.0") == "0"
    assert (folder(host) / "hlml/devices/0000:cd:00.0/index").read_text() == "0\n"


# --------------------------------------------------------------------------- the library


def test_what_the_library_knows_of_a_device(boot: Boot) -> None:
    place = folder(boot("gaudi2-hls")) / "hlml/devices" / "0000:1a:00.0"
    assert {path.name: path.read_text() for path in place.iterdir()} == {
        "index": "2\n",
        "minor": "2\n",
        "module_id": "3\n",
        "name": "HL-225\n",
        "serial": "AM50016204\n",
        "uuid": "01P0-HL2080A0-15-TF8A81-11-07-08\n",
        "memory_total": "103079215104\n",
        "events": "",
    }


def test_the_library_does_not_know_what_has_no_serial(boot: Boot, tmp_path: Path) -> None:
    assert known_to_hlml(boot(write_profile(tmp_path, "uuid: 1-2"))) == []


def test_what_the_library_has_no_data_of(boot: Boot, tmp_path: Path) -> None:
    place = folder(boot(write_profile(tmp_path, "serial: A1, memory: 0"))) / "hlml/devices" / FIRST
    assert sorted(path.name for path in place.iterdir()) == [
        "events",
        "index",
        "minor",
        "module_id",
        "name",
        "serial",
    ]


def test_a_device_that_is_pulled_is_gone_from_the_library(boot: Boot) -> None:
    host = boot("gaudi2-hls")
    assert hand(host, "unplug", bdf=FIRST)["ok"]
    assert FIRST not in known_to_hlml(host)
    assert len(known_to_hlml(host)) == 7
    assert hand(host, "plug", bdf=FIRST)["ok"]
    assert FIRST in known_to_hlml(host)


def test_files_of_the_library_may_be_changed_and_removed_by_others(boot: Boot) -> None:
    host = boot("gaudi2-hls")
    place = folder(host) / "hlml/devices" / FIRST
    (place / "serial").write_text("changed\n")
    with (place / "events").open("a") as events:
        events.write("2\n")
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    host.sysfs.write(f"{DRIVER}/unbind", FIRST)
    host.sysfs.write(f"{DRIVER}/bind", FIRST)
    assert (place / "serial").read_text() == "AM50016138\n"


def test_a_reboot_forgets_failures(boot: Boot) -> None:
    host = boot("gaudi2-hls")
    (folder(host) / "hlml/fail").mkdir()
    (folder(host) / "hlml/fail/init").write_text("9\n")
    assert hand(host, "reboot")["ok"]
    assert not (folder(host) / "hlml/fail").exists()
    assert len(known_to_hlml(host)) == 8


def test_files_alone_have_the_librarys_too(tmp_path: Path) -> None:
    root = tmp_path / "m"
    for _ in range(2):
        write_tree(SIMULATION, find_profile(SIMULATION, "gaudi3"), root)
        assert len(list((root / "hlml/devices").iterdir())) == 8
