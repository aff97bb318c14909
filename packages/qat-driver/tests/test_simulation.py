"""The simulated QAT drivers: what goes up, down and away, and with which errno a write is refused."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest
from dra_common.errors import HostWriteError
from dra_common.simulate import ControlClient, SimulatedHost
from dra_common.testing.waiting import wait_until
from machines import Boot, folder, hand
from qat_driver.products import PFS
from qat_driver.services import KNOWN, legal_sets
from qat_machines import DEBUG, PF, device, has, read, refused, to_vfio, vfs, write, write_profile

PFS_OF_THE_SERVER = [f"0000:{bus}:00.0" for bus in ("6b", "70", "75", "7a", "e8", "ed", "f2", "f7")]
ADDRESSES = [
    *(f"0000:6b:00.{number}" for number in range(1, 8)),
    *(f"0000:6b:01.{number}" for number in range(8)),
    "0000:6b:02.0",
]


@pytest.fixture
def fresh(boot: Boot) -> SimulatedHost:
    """The server after its first start: no VFs."""
    return boot("xeon-fresh")


@pytest.fixture
def in_use(boot: Boot) -> SimulatedHost:
    """The server with all VFs on vfio-pci."""
    return boot("xeon-2s")


def running(host: SimulatedHost, bdf: str = PF) -> list[bool]:
    """Whether the three things are there that exist only while the device is up."""
    debug = f"qat_4xxx_{bdf}" in host.debugfs.listdir("")
    return [has(host, "qat_ras", bdf), has(host, "qat_rl", bdf), debug]


def configured(host: SimulatedHost, services: str) -> str:
    """What is read back of services that are written while it is down."""
    write(host, "qat/state", "down")
    write(host, "qat/cfg_services", services)
    return read(host, "qat/cfg_services")


# --------------------------------------------------------------------------- the machine


def test_a_fresh_server_offers_cryptography_and_compression_in_turn(fresh: SimulatedHost) -> None:
    assert [read(fresh, "qat/cfg_services", bdf) for bdf in PFS_OF_THE_SERVER] == ["sym;asym", "dc"] * 4
    assert [read(fresh, "numa_node", bdf) for bdf in PFS_OF_THE_SERVER] == ["0"] * 4 + ["1"] * 4
    assert [vfs(fresh, bdf) for bdf in PFS_OF_THE_SERVER] == [[]] * 8


def test_the_attributes_of_a_pf(fresh: SimulatedHost) -> None:
    texts = {
        "state": "up",
        "cfg_services": "sym;asym",
        "pm_idle_enabled": "1",
        "auto_reset": "off",
        "num_rps": "64",
        "rp2srv": "",
    }
    assert {name: read(fresh, f"qat/{name}") for name in fresh.sysfs.listdir(f"{device()}/qat")} == texts
    assert fresh.sysfs.readlink(f"{device()}/driver").endswith("bus/pci/drivers/4xxx")
    assert fresh.sysfs.readlink("bus/pci/drivers/4xxx/module").endswith("module/qat_4xxx")


def test_vfs_are_where_they_are_on_real_ones_and_each_has_a_group(in_use: SimulatedHost) -> None:
    assert vfs(in_use) == ADDRESSES
    every = [vf for pf in PFS_OF_THE_SERVER for vf in vfs(in_use, pf)]
    groups = {in_use.sysfs.readlink(f"{device(vf)}/iommu_group").rpartition("/")[2] for vf in every}
    assert (len(every), len(groups)) == (128, 128)
    assert groups == set(in_use.devfs.listdir("vfio")) - {"vfio", "devices"}
    assert len(in_use.devfs.listdir("vfio/devices")) == 128


@pytest.mark.parametrize(
    ("kernel", "names"),
    [
        ("6.5.0", {"state", "cfg_services", "pm_idle_enabled"}),
        ("6.9.0", {"state", "cfg_services", "pm_idle_enabled", "auto_reset", "num_rps", "rp2srv"}),
    ],
)
def test_older_kernels_have_less(boot: Boot, tmp_path: Path, kernel: str, names: set[str]) -> None:
    host = boot(write_profile(tmp_path, kernel=kernel))
    assert set(host.sysfs.listdir(f"{device()}/qat")) == names
    assert running(host) == [kernel == "6.9.0", kernel == "6.9.0", True]
    assert host.debugfs.exists(f"{DEBUG}/heartbeat") == (kernel == "6.9.0")


def test_before_6_0_nothing_can_be_chosen(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, kernel="5.15.0"))
    assert not has(host, "qat")
    write(host, "sriov_numvfs", "16")
    assert len(vfs(host)) == 16


@pytest.mark.parametrize(
    ("driver", "module", "pf", "vf"),
    [
        ("4xxx", "qat_4xxx", "0x4944", "0x4945"),
        ("420xx", "qat_420xx", "0x4946", "0x4947"),
        ("6xxx", "qat_6xxx", "0x4948", "0x4949"),
        ("c6xx", "qat_c62x", "0x37c8", "0x37c9"),
        ("c3xxx", "qat_c3xxx", "0x19e2", "0x19e3"),
        ("dh895xcc", "qat_dh895xcc", "0x0435", "0x0443"),
    ],
)
def test_every_driver_takes_its_own_products_only(
    boot: Boot, tmp_path: Path, driver: str, module: str, pf: str, vf: str
) -> None:
    drivers = ", ".join(sorted({"4xxx", "420xx", "6xxx", "c6xx", "c3xxx", "dh895xcc"}))
    host = boot(write_profile(tmp_path, kernel="6.17.0", device=pf, vf=vf, drivers=drivers))
    assert host.sysfs.listdir(f"bus/pci/drivers/{driver}")[0] == PF
    assert host.sysfs.readlink(f"bus/pci/drivers/{driver}/module").endswith(f"module/{module}")
    assert host.debugfs.listdir("") == (f"qat_{driver}_{PF}",)
    assert has(host, "qat") == PFS[pf].configurable


@pytest.mark.parametrize(
    ("driver", "pf", "vf", "total"),
    [
        ("c6xx", "0x37c8", "0x37c9", 16),
        ("c3xxx", "0x19e2", "0x19e3", 16),
        ("dh895xcc", "0x0435", "0x0443", 32),
        ("4xxx", "0x4940", "0x4941", 16),
    ],
)
def test_vfs_go_to_their_own_driver_where_one_is_loaded(
    boot: Boot, tmp_path: Path, driver: str, pf: str, vf: str, total: int
) -> None:
    host = boot(write_profile(tmp_path, device=pf, vf=vf, drivers=f"{driver}, {driver}vf", total=total))
    write(host, "sriov_numvfs", "1")
    drivers = {host.sysfs.readlink(f"{device(each)}/driver").rpartition("/")[2] for each in vfs(host)}
    assert (len(vfs(host)), drivers) == (total, {f"{driver}vf"})


def test_the_variant_of_vfio_takes_a_vf_that_is_told_to(boot: Boot) -> None:
    host = boot("gen6")
    vf = vfs(host)[0]
    host.sysfs.write("bus/pci/drivers/vfio-pci/unbind", vf)
    write(host, "driver_override", "qat_vfio_pci", vf)
    host.sysfs.write("bus/pci/drivers_probe", vf)
    assert host.sysfs.readlink(f"{device(vf)}/driver").endswith("/qat_vfio_pci")


def test_a_pf_without_a_numa_node_is_not_taken_on_a_machine_that_has_several(boot: Boot) -> None:
    host = boot("broken")
    assert not has(host, "driver", "0000:f7:00.0")
    with pytest.raises(HostWriteError) as caught:
        host.sysfs.write("bus/pci/drivers/4xxx/bind", "0000:f7:00.0")
    assert caught.value.errno == errno.EINVAL


# --------------------------------------------------------------------------- VFs


@pytest.mark.parametrize("count", ["1", "4", "16"])
def test_any_number_of_vfs_is_all_of_them(fresh: SimulatedHost, count: str) -> None:
    write(fresh, "sriov_numvfs", count)
    assert vfs(fresh) == ADDRESSES
    assert read(fresh, "sriov_numvfs") == "16"
    assert [has(fresh, "driver", vf) for vf in vfs(fresh)] == [False] * 16
    assert running(fresh) == [True] * 3


def test_another_number_is_refused_while_there_are_vfs(fresh: SimulatedHost) -> None:
    write(fresh, "sriov_numvfs", "4")
    assert refused(fresh, "sriov_numvfs", "8") == errno.EBUSY
    write(fresh, "sriov_numvfs", "16")
    write(fresh, "sriov_numvfs", "0")
    assert vfs(fresh) == []
    assert refused(fresh, "sriov_numvfs", "17") == errno.ERANGE


def test_without_an_iommu_there_are_no_vfs(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, group=""))
    assert refused(host, "sriov_numvfs", "1") == errno.EINVAL
    assert (vfs(host), running(host)) == ([], [True] * 3)


def test_a_pf_that_is_in_use_can_neither_stop_nor_have_vfs(boot: Boot, tmp_path: Path) -> None:
    host = boot(write_profile(tmp_path, "busy: true"))
    assert refused(host, "sriov_numvfs", "1") == errno.EBUSY
    assert refused(host, "qat/state", "down") == errno.EBUSY
    write(host, "qat/state", "up")
    assert read(host, "qat/state") == "up"


def test_vfs_of_a_pf_that_is_down_bring_it_up(fresh: SimulatedHost) -> None:
    assert configured(fresh, "dc") == "dc"
    write(fresh, "sriov_numvfs", "16")
    assert (read(fresh, "qat/state"), read(fresh, "qat/cfg_services"), len(vfs(fresh))) == ("up", "dc", 16)


def test_the_device_is_started_anew_for_vfs(fresh: SimulatedHost) -> None:
    hand(fresh, "sense", path=f"{device()}/qat_ras/errors_correctable", value="3")
    write(fresh, "sriov_numvfs", "16")
    assert read(fresh, "qat_ras/errors_correctable") == "0"


def test_a_vf_goes_to_vfio_and_away_with_all_that_it_had(fresh: SimulatedHost) -> None:
    write(fresh, "sriov_numvfs", "16")
    vf = vfs(fresh)[3]
    to_vfio(fresh, vf)
    group = fresh.sysfs.readlink(f"{device(vf)}/iommu_group").rpartition("/")[2]
    assert fresh.sysfs.listdir(f"{device(vf)}/vfio-dev") == ("vfio0",)
    assert fresh.devfs.exists(f"vfio/{group}")
    write(fresh, "sriov_numvfs", "0")
    assert not fresh.devfs.exists(f"vfio/{group}")
    assert not fresh.sysfs.exists(f"kernel/iommu_groups/{group}")
    write(fresh, "sriov_numvfs", "16")
    assert read(fresh, "driver_override", vf) == "(null)"
    assert not has(fresh, "driver", vf)


def test_unbinding_the_pf_leaves_nothing(in_use: SimulatedHost) -> None:
    in_use.sysfs.write("bus/pci/drivers/4xxx/unbind", PF)
    assert running(in_use) == [False] * 3
    assert (has(in_use, "qat"), vfs(in_use)) == (False, [])
    in_use.sysfs.write("bus/pci/drivers/4xxx/bind", PF)
    assert (running(in_use), vfs(in_use), read(in_use, "qat/state")) == ([True] * 3, [], "up")


# --------------------------------------------------------------------------- state


def test_going_down_takes_vfs_and_more_and_coming_up_brings_no_vfs_back(in_use: SimulatedHost) -> None:
    write(in_use, "qat/state", "down")
    assert (read(in_use, "qat/state"), read(in_use, "sriov_numvfs"), vfs(in_use)) == ("down", "0", [])
    assert running(in_use) == [False] * 3
    write(in_use, "qat/state", "up\n")
    assert (read(in_use, "qat/state"), vfs(in_use)) == ("up", [])
    assert running(in_use) == [True] * 3
    assert len(vfs(in_use, "0000:70:00.0")) == 16


def test_the_state_that_it_has_already_is_no_change(in_use: SimulatedHost) -> None:
    write(in_use, "qat/state", "up")
    assert len(vfs(in_use)) == 16
    write(in_use, "qat/state", "down")
    write(in_use, "qat/state", "down")
    assert read(in_use, "qat/state") == "down"


@pytest.mark.parametrize("text", ["UP", "on", "", "\n", "up down"])
def test_other_states_are_refused(fresh: SimulatedHost, text: str) -> None:
    if text:
        assert refused(fresh, "qat/state", text) == errno.EINVAL
    assert read(fresh, "qat/state") == "up"


def test_who_brings_it_up_waits_until_it_is_down(in_use: SimulatedHost) -> None:
    vf = vfs(in_use)[0]
    group = in_use.sysfs.readlink(f"{device(vf)}/iommu_group").rpartition("/")[2]
    client = ControlClient(folder(in_use))
    with client.connect() as connection, connection.makefile("rwb") as stream:
        assert client.exchange(stream, "open", node=f"vfio/{group}", bdf=vf)["ok"]
        down = threading.Thread(target=write, args=(in_use, "qat/state", "down"))
        down.start()
        wait_until(lambda: not has(in_use, "virtfn0"), "the first VF going")
        with client.connect() as other, other.makefile("rwb") as waiting:
            request = b'{"op": "write", "path": "%s/qat/state", "value": "up"}\n' % device().encode()
            waiting.write(request)
            waiting.flush()
            assert client.exchange(stream, "close", node=f"vfio/{group}")["ok"]
            assert b'"ok": true' in waiting.readline()
    down.join(30)
    assert (read(in_use, "qat/state"), vfs(in_use), running(in_use)) == ("up", [], [True] * 3)


def test_going_down_waits_for_who_uses_a_vf(in_use: SimulatedHost) -> None:
    vf = vfs(in_use)[0]
    group = in_use.sysfs.readlink(f"{device(vf)}/iommu_group").rpartition("/")[2]
    client = ControlClient(folder(in_use))
    with client.connect() as connection, connection.makefile("rwb") as stream:
        assert client.exchange(stream, "open", node=f"vfio/{group}", bdf=vf)["ok"]
        going = threading.Thread(target=write, args=(in_use, "qat/state", "down"))
        going.start()
        wait_until(lambda: not has(in_use, "virtfn0"), "the first VF going")
        assert (going.is_alive(), read(in_use, "qat/state")) == (True, "up")
        assert client.exchange(stream, "close", node=f"vfio/{group}")["ok"]
    going.join(30)
    assert (read(in_use, "qat/state"), vfs(in_use)) == ("down", [])


# --------------------------------------------------------------------------- services


def test_services_are_changed_only_while_it_is_down(fresh: SimulatedHost) -> None:
    assert refused(fresh, "qat/cfg_services", "dc") == errno.EINVAL
    assert configured(fresh, "dc\n") == "dc"
    write(fresh, "qat/state", "up")
    assert read(fresh, "qat/cfg_services") == "dc"
    assert "ServicesEnabled = dc" in fresh.debugfs.read(f"{DEBUG}/dev_cfg")


@pytest.mark.parametrize(
    ("kernel", "written", "shown"),
    [
        ("6.12.0", "sym;asym", "sym;asym"),
        ("6.12.0", "dc;sym", "dc;sym"),
        ("6.16.0", "sym;asym", "asym;sym"),
        ("6.16.0", "dc;sym", "sym;dc"),
        ("6.16.0", "dcc", "dcc"),
    ],
)
def test_the_order_in_which_kernels_show_services(
    boot: Boot, tmp_path: Path, kernel: str, written: str, shown: str
) -> None:
    assert configured(boot(write_profile(tmp_path, kernel=kernel)), written) == shown


@pytest.mark.parametrize("kernel", ["6.12.0", "6.17.0"])
@pytest.mark.parametrize(("driver", "pf"), [("4xxx", "0x4940"), ("420xx", "0x4946"), ("6xxx", "0x4948")])
def test_every_set_that_is_legal_is_taken(
    boot: Boot, tmp_path: Path, kernel: str, driver: str, pf: str
) -> None:
    version = (6, int(kernel[2:4]))
    host = boot(write_profile(tmp_path, kernel=kernel, device=pf, drivers=driver))
    sets = [each.text for each in legal_sets(PFS[pf], version)]
    assert len(sets) == {("6xxx", 12): 0, ("6xxx", 17): 15}.get((driver, version[1]), 7)
    for services in sets:
        assert set(configured(host, services).split(";")) == set(services.split(";"))


@pytest.mark.parametrize("kernel", ["6.12.0", "6.17.0"])
@pytest.mark.parametrize(
    "text",
    [
        "sym;asym;dc",
        "sym;sym",
        "decomp",
        "sym;dcc",
        "crypto",
        "sym;",
        ";sym",
        "sym asym",
        "SYM",
        "\n",
        "sym\n\n",
    ],
)
def test_what_the_fourth_generation_refuses(boot: Boot, tmp_path: Path, kernel: str, text: str) -> None:
    host = boot(write_profile(tmp_path, "state: down", kernel=kernel))
    assert refused(host, "qat/cfg_services", text) == errno.EINVAL
    assert read(host, "qat/cfg_services") == "sym;asym"


@pytest.mark.parametrize("text", [";".join(KNOWN[:4]), "dc;dcc", "sym;asym;sym", "crypto"])
def test_what_the_sixth_generation_refuses(boot: Boot, text: str) -> None:
    host = boot("gen6")
    write(host, "qat/state", "down")
    assert refused(host, "qat/cfg_services", text) == errno.EINVAL


# --------------------------------------------------------------------------- other attributes


def test_power_saving_is_changed_only_while_it_is_down(fresh: SimulatedHost) -> None:
    assert refused(fresh, "qat/pm_idle_enabled", "0") == errno.EINVAL
    write(fresh, "qat/state", "down")
    assert refused(fresh, "qat/pm_idle_enabled", "x") == errno.EINVAL
    write(fresh, "qat/pm_idle_enabled", "0")
    assert read(fresh, "qat/pm_idle_enabled") == "0"


@pytest.mark.parametrize(
    ("text", "shown"), [("on", "on"), ("1", "on"), ("y\n", "on"), ("off", "off"), ("0", "off")]
)
def test_auto_reset_takes_what_is_a_truth_value(fresh: SimulatedHost, text: str, shown: str) -> None:
    write(fresh, "qat/auto_reset", text)
    assert read(fresh, "qat/auto_reset") == shown
    assert refused(fresh, "qat/auto_reset", "maybe") == errno.EINVAL


def test_the_service_of_a_ring_pair(fresh: SimulatedHost) -> None:
    assert read(fresh, "qat/rp2srv") == ""
    for number, service in (("0", "asym"), ("1", "sym"), ("2", "asym"), ("63", "sym")):
        write(fresh, "qat/rp2srv", number)
        assert read(fresh, "qat/rp2srv") == service
    for text in ("64", "-1", "x"):
        assert refused(fresh, "qat/rp2srv", text) == errno.EINVAL


def test_chained_compression_is_compression_to_ring_pairs(fresh: SimulatedHost) -> None:
    configured(fresh, "dcc")
    write(fresh, "qat/rp2srv", "5")
    assert read(fresh, "qat/rp2srv") == "dc"


def test_counters_of_errors_are_reset_by_two_bytes(fresh: SimulatedHost) -> None:
    hand(fresh, "sense", path=f"{device()}/qat_ras/errors_fatal", value="2")
    assert read(fresh, "qat_ras/errors_fatal") == "2"
    for text in ("1", "0\n", "1\n\n", "2\n"):
        assert refused(fresh, "qat_ras/reset_error_counters", text) == errno.EINVAL
    write(fresh, "qat_ras/reset_error_counters", "1\n")
    assert read(fresh, "qat_ras/errors_fatal") == "0"


def agree(host: SimulatedHost, operation: str = "add", **values: str) -> None:
    for name, text in values.items():
        write(host, f"qat_rl/{name}", text)
    write(host, "qat_rl/sla_op", operation)


def left(host: SimulatedHost, service: str) -> str:
    write(host, "qat_rl/cap_rem", service)
    return read(host, "qat_rl/cap_rem")


def test_rates_of_ring_pairs_are_agreed_on(fresh: SimulatedHost) -> None:
    assert [read(fresh, f"qat_rl/{name}") for name in ("rp", "srv", "cap_rem")] == ["0x0", "", "1000"]
    agree(fresh, rp="0x5", srv="sym", cir="300", pir="500")
    agree(fresh, rp="0x2", srv="asym", cir="900", pir="1000")
    assert (read(fresh, "qat_rl/id"), left(fresh, "sym"), left(fresh, "asym")) == ("1", "700", "100")
    agree(fresh, "update", id="0", cir="1000", pir="1000")
    agree(fresh, "get", id="0")
    assert [read(fresh, f"qat_rl/{name}") for name in ("rp", "srv", "cir", "pir")] == [
        "0x5",
        "sym",
        "1000",
        "1000",
    ]
    agree(fresh, "rm", id="0")
    assert (left(fresh, "sym"), left(fresh, "asym")) == ("1000", "100")
    agree(fresh, "rm_all")
    assert left(fresh, "asym") == "1000"


@pytest.mark.parametrize(
    "values",
    [
        {"rp": "0x0"},
        {"rp": "0x1"},
        {"cir": "500", "pir": "400"},
        {"pir": "1001"},
        {"cir": "701", "pir": "800"},
    ],
)
def test_rates_that_cannot_be_kept_are_refused(fresh: SimulatedHost, values: dict[str, str]) -> None:
    agree(fresh, rp="0x1", srv="sym", cir="300", pir="300")
    with pytest.raises(HostWriteError, match="EINVAL"):
        agree(fresh, **{"rp": "0x2", "srv": "sym", "cir": "1", "pir": "100", **values})
    assert left(fresh, "sym") == "700"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("srv", "dc"),
        ("srv", "x"),
        ("rp", "x"),
        ("cir", "-1"),
        ("sla_op", "set"),
        ("sla_op", "rm"),
        ("sla_op", "add"),
    ],
)
def test_rate_limits_refuse_what_makes_no_sense(fresh: SimulatedHost, name: str, text: str) -> None:
    assert refused(fresh, f"qat_rl/{name}", text) == errno.EINVAL


def test_agreements_go_with_the_state(fresh: SimulatedHost) -> None:
    agree(fresh, rp="0x1", srv="sym", cir="300", pir="300")
    write(fresh, "qat/state", "down")
    write(fresh, "qat/state", "up")
    assert left(fresh, "sym") == "1000"


# --------------------------------------------------------------------------- debugfs and errors


def debug(host: SimulatedHost, name: str) -> str:
    return host.debugfs.read(f"{DEBUG}/{name}").strip()


def test_what_is_in_debugfs(fresh: SimulatedHost) -> None:
    names = {"dev_cfg", "fw_counters", "cnv_errors", "pm_status", "heartbeat", "telemetry"}
    assert set(fresh.debugfs.listdir(DEBUG)) == names
    assert [debug(fresh, f"heartbeat/{name}") for name in ("config", "queries_sent", "status")] == [
        "200",
        "0",
        "0",
    ]
    assert debug(fresh, "telemetry/control") == "0"


def test_telemetry_is_switched_on(fresh: SimulatedHost) -> None:
    assert debug(fresh, "telemetry/device_data") == ""
    fresh.debugfs.write(f"{DEBUG}/telemetry/control", "4")
    assert "pci_trans_cnt" in debug(fresh, "telemetry/device_data")
    fresh.debugfs.write(f"{DEBUG}/telemetry/rp_A_data", "63")
    assert debug(fresh, "telemetry/rp_A_data") == "rp_num 63"
    for name, text in (("control", "5"), ("rp_B_data", "64")):
        with pytest.raises(HostWriteError, match="EINVAL"):
            fresh.debugfs.write(f"{DEBUG}/telemetry/{name}", text)


def test_the_period_of_the_heartbeat_has_a_lower_bound(fresh: SimulatedHost) -> None:
    fresh.debugfs.write(f"{DEBUG}/heartbeat/config", "1000")
    assert debug(fresh, "heartbeat/config") == "1000"
    with pytest.raises(HostWriteError, match="EINVAL"):
        fresh.debugfs.write(f"{DEBUG}/heartbeat/config", "199")


def test_a_device_that_hangs_does_so_until_it_is_started_again(in_use: SimulatedHost) -> None:
    in_use.debugfs.write(f"{DEBUG}/heartbeat/inject_error", "1")
    assert debug(in_use, "heartbeat/status") == "-1"
    assert len(vfs(in_use)) == 16
    write(in_use, "qat/state", "down")
    write(in_use, "qat/state", "up")
    assert debug(in_use, "heartbeat/status") == "0"


def test_with_auto_reset_a_fatal_error_makes_vfs_anew_without_bindings(in_use: SimulatedHost) -> None:
    write(in_use, "qat/auto_reset", "on")
    in_use.debugfs.write(f"{DEBUG}/heartbeat/inject_error", "1")
    assert (debug(in_use, "heartbeat/status"), vfs(in_use)) == ("0", ADDRESSES)
    assert {read(in_use, "driver_override", vf) for vf in vfs(in_use)} == {"(null)"}
    assert [has(in_use, "driver", vf) for vf in vfs(in_use)] == [False] * 16
    assert (read(in_use, "qat/state"), read(in_use, "qat/auto_reset")) == ("up", "on")
    assert has(in_use, "driver", "0000:70:00.1")


def test_recovery_from_a_pcie_error_makes_vfs_anew_without_bindings(in_use: SimulatedHost) -> None:
    assert hand(in_use, "error", bdf=PF, severity="correctable", name="RxErr")["ok"]
    assert has(in_use, "driver", "0000:6b:00.1")
    assert hand(in_use, "error", bdf=PF, severity="fatal", name="MalfTLP")["ok"]
    assert vfs(in_use) == ADDRESSES
    assert [has(in_use, "driver", vf) for vf in vfs(in_use)] == [False] * 16
    assert read(in_use, "aer_dev_fatal").splitlines()[-1] == "TOTAL_ERR_FATAL 1"


def test_a_pcie_error_of_a_pf_that_is_down_leaves_it_down(fresh: SimulatedHost) -> None:
    write(fresh, "qat/state", "down")
    assert hand(fresh, "error", bdf=PF, severity="fatal", name="MalfTLP")["ok"]
    assert (read(fresh, "qat/state"), running(fresh)) == ("down", [False] * 3)


# --------------------------------------------------------------------------- other machines


def test_an_old_one_has_no_folder_and_nothing_to_choose(boot: Boot) -> None:
    host = boot("c6xx")
    bdf = "0000:da:00.0"
    assert [has(host, name, bdf) for name in ("qat", "qat_ras", "qat_rl")] == [False] * 3
    assert host.debugfs.listdir(f"qat_c6xx_{bdf}") == ("dev_cfg",)
    write(host, "sriov_numvfs", "3", bdf)
    assert vfs(host, bdf)[:2] == ["0000:da:01.0", "0000:da:01.1"]
    assert {host.sysfs.readlink(f"{device(vf)}/driver").rpartition("/")[2] for vf in vfs(host, bdf)} == {
        "c6xxvf"
    }


def test_a_machine_without_an_iommu_has_nodes_of_its_own_names(boot: Boot) -> None:
    host = boot("vm-noiommu")
    assert host.devfs.listdir("vfio") == ("devices", "noiommu-0", "noiommu-1", "vfio")
    assert host.sysfs.read("kernel/iommu_groups/0/name").strip() == "vfio-noiommu"
    host.sysfs.write("bus/pci/drivers/vfio-pci/unbind", "0000:06:00.0")
    assert host.devfs.listdir("vfio") == ("devices", "noiommu-1", "vfio")
    assert not has(host, "iommu_group", "0000:06:00.0")
    assert host.sysfs.listdir("kernel/iommu_groups") == ("1",)


def test_an_attribute_that_says_something_odd_is_put_right_by_a_write(boot: Boot) -> None:
    host = boot("broken")
    assert read(host, "qat/state") == "restarting"
    write(host, "qat/state", "down")
    write(host, "qat/state", "up")
    assert (read(host, "qat/state"), running(host)) == ("up", [True] * 3)
    odd = "0000:75:00.0"
    assert read(host, "qat/cfg_services", odd) == "sym;chacha"
    write(host, "qat/state", "down", odd)
    write(host, "qat/cfg_services", "dc", odd)
    assert read(host, "qat/cfg_services", odd) == "dc"


def test_a_reboot_begins_from_the_hardware(in_use: SimulatedHost) -> None:
    write(in_use, "qat/state", "down")
    assert hand(in_use, "reboot")["ok"]
    assert (read(in_use, "qat/state"), vfs(in_use), running(in_use)) == ("up", [], [True] * 3)
