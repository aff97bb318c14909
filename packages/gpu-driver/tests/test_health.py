"""What the kernel shows of a GPU's health, on simulated machines and on trees that no kernel would make."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from dra_common.model import Finding, Severity
from dra_common.ports import Host
from gpu_driver.device import Gpu
from gpu_driver.discovery import discover
from gpu_driver.health import GpuHealth
from gpu_driver.queries import QUERIES
from gpu_driver.simulation import SIMULATION
from gpu_trees import SysTree, xe_blob
from machines import hand, machines
from trees import TreeHost

BDF = "0000:9a:00.0"
FINE = Finding("kernel", Severity.OK)
SENSOR = f"bus/pci/devices/{BDF}/hwmon/hwmon0"


@pytest.fixture
def tree(tmp_path: Path) -> SysTree:
    """An xe GPU that is awake, cool and answers."""
    tree = SysTree(tmp_path)
    tree.gpu(BDF, "0xe211")
    tree.bind(BDF, "xe", card=1, render=128)
    tree.answers["dri/renderD128", QUERIES["xe"].name] = xe_blob((1, 1 << 30))
    tree.file(f"sys/{SENSOR}/temp2_input", "45000\n")
    return tree


def gpu(host: Host, bdf: str = BDF) -> Gpu:
    return next(one for one in discover(host).hardware.values() if one.bdf == bdf)


def signs(host: Host, bdf: str = BDF) -> list[tuple[str, Severity]]:
    return [(one.what, one.severity) for one in GpuHealth().signs(gpu(host, bdf), host)]


def test_a_gpu_that_works_is_fine(tree: SysTree) -> None:
    assert GpuHealth().signs(gpu(tree.host), tree.host) == (FINE,)


def test_a_vf_is_known_by_its_address_and_its_card_s(tree: SysTree) -> None:
    tree.vf(BDF, "0000:9a:00.1", 0)
    assert GpuHealth().names(gpu(tree.host)) == (BDF,)
    assert GpuHealth().names(gpu(tree.host, "0000:9a:00.1")) == ("0000:9a:00.1", BDF)


@pytest.mark.parametrize(
    ("files", "severity"),
    [
        ({"temp2_crit": "110000", "temp2_max": "100000"}, None),
        ({"temp2_crit": "110000", "temp2_max": "45000"}, Severity.WARNING),
        ({"temp2_crit": "45000", "temp2_max": "40000"}, Severity.CRITICAL),
        ({"temp2_crit": "0"}, None),
        ({"temp2_crit": "a lot"}, None),
        ({"temp2_input": "-5000", "temp2_crit": "1000"}, None),
        ({"temp2_crit": "110000", "temp3_input": "96000", "temp3_crit": "95000"}, Severity.CRITICAL),
        ({"temp2_label": "pkg", "temp2_crit": "44999"}, Severity.CRITICAL),
    ],
)
def test_temperatures_are_compared_with_the_limits_beside_them(
    tree: SysTree, files: dict[str, str], severity: Severity | None
) -> None:
    for name, text in files.items():
        tree.file(f"sys/{SENSOR}/{name}", f"{text}\n")
    found = [("temperature", severity)] if severity else []
    assert signs(tree.host) == [("kernel", Severity.OK), *found]


def test_a_limit_is_told_with_its_sensor_and_in_degrees(tree: SysTree) -> None:
    for name, text in {"temp2_label": "pkg", "temp2_crit": "44000"}.items():
        tree.file(f"sys/{SENSOR}/{name}", f"{text}\n")
    (_, hot) = GpuHealth().signs(gpu(tree.host), tree.host)
    assert hot.message == "sensor pkg is at 45 °C, its limit (crit) is 44 °C"


def test_a_gpu_that_sleeps_is_not_woken(tree: SysTree) -> None:
    tree.file(f"sys/{SENSOR}/temp2_crit", "1000\n")
    tree.file(f"sys/bus/pci/devices/{BDF}/power/runtime_status", "suspended\n")
    host = tree.host
    known = gpu(host)
    host.asked.clear()
    assert GpuHealth().signs(known, host) == (FINE,)
    assert host.asked == []
    tree.file(f"sys/bus/pci/devices/{BDF}/power/runtime_status", "active\n")
    assert [one.what for one in GpuHealth().signs(known, host)] == ["kernel", "temperature"]
    assert host.asked == [("dri/renderD128", QUERIES["xe"].name)]


@pytest.mark.parametrize(
    ("code", "is_wedged"), [(errno.ECANCELED, True), (errno.EACCES, False), (errno.EINVAL, False)]
)
def test_a_driver_that_refuses_everything_has_given_the_gpu_up(
    tree: SysTree, code: int, *, is_wedged: bool
) -> None:
    known = gpu(tree.host)
    tree.answers["dri/renderD128", QUERIES["xe"].name] = code
    found = GpuHealth().signs(known, tree.host)
    assert [one.what for one in found] == ["kernel", *["wedged"] * is_wedged]


def _unbound(tree: SysTree) -> None:
    (tree.root / tree.folders[BDF] / "driver").unlink()


def _no_card(tree: SysTree) -> None:
    for name in ("card1", "renderD128"):
        (tree.root / tree.folders[BDF] / "drm" / name / "dev").unlink()
        (tree.root / tree.folders[BDF] / "drm" / name).rmdir()


@pytest.mark.parametrize("change", [_unbound, _no_card])
def test_of_a_gpu_that_nobody_looks_after_nothing_is_known(
    tree: SysTree, change: Callable[[SysTree], None]
) -> None:
    change(tree)
    assert signs(tree.host) == []


def test_a_gpu_that_a_virtual_machine_has_is_not_asked(tree: SysTree) -> None:
    tree.bind(BDF, "vfio-pci")
    host: TreeHost = tree.host
    assert signs(host) == [("kernel", Severity.OK)]
    assert host.asked == []


def test_a_gpu_that_went_meanwhile_is_nobody_s(tree: SysTree) -> None:
    known = gpu(tree.host)
    (tree.root / f"sys/bus/pci/devices/{BDF}").unlink()
    assert GpuHealth().signs(known, tree.host) == ()


def test_firmware_that_does_not_start_is_a_failure() -> None:
    with machines(SIMULATION) as boot:
        host = boot("unbound-and-vfio")
        (failed,) = GpuHealth().signs(gpu(host, "0000:25:00.0"), host)
    assert (failed.what, failed.severity) == ("survivability", Severity.FAILED)
    assert "survivability mode Boot" in failed.message


def test_a_simulated_gpu_gets_hot_and_hangs_and_recovers() -> None:
    with machines(SIMULATION) as boot:
        host = boot("battlemage-pro")
        known = gpu(host)
        (folder,) = host.sysfs.listdir(f"bus/pci/devices/{BDF}/hwmon")
        sensor = f"bus/pci/devices/{BDF}/hwmon/{folder}/temp3_input"
        assert GpuHealth().signs(known, host) == (FINE,)
        assert hand(host, "sense", path=sensor, value="107000")["ok"]
        assert signs(host)[1:] == [("temperature", Severity.CRITICAL)]
        assert hand(host, "sense", path=sensor, value="50000")["ok"]
        assert hand(host, "wedge", bdf=BDF, methods="none")["ok"]
        assert signs(host)[1:] == []
        assert hand(host, "wedge", bdf=BDF, methods="rebind,bus-reset")["ok"]
        assert signs(host)[1:] == [("wedged", Severity.CRITICAL)]
        host.sysfs.write("bus/pci/drivers/xe/unbind", BDF)
        host.sysfs.write("bus/pci/drivers/xe/bind", BDF)
        assert signs(host)[1:] == []
