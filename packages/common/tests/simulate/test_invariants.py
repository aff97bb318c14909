"""Whatever is written in whatever order, the tree stays a machine."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from dra_common.simulate import Simulation, find_profile
from dra_common.simulate.kernel import Kernel
from dra_common.simulate.run import _boot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PCI = "bus/pci/devices"
PF = "0000:01:00.0"
BDFS = [PF, "0000:01:10.0", "0000:01:10.2", "0000:01:10.4", "0000:07:00.0", "0000:08:00.0"]
DRIVERS = ["igb", "igbvf", "vfio-pci", "pci-stub", "toy", "ast"]

Action = Callable[[Kernel], None]

bdfs = st.sampled_from(BDFS)
drivers = st.sampled_from(DRIVERS)


def write(path: str, value: str) -> Action:
    return lambda kernel: kernel.write(path, value)


actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(lambda d, b: write(f"bus/pci/drivers/{d}/bind", b), drivers, bdfs),
    st.builds(lambda d, b: write(f"bus/pci/drivers/{d}/unbind", b), drivers, bdfs),
    st.builds(lambda b, d: write(f"{PCI}/{b}/driver_override", d), bdfs, st.sampled_from([*DRIVERS, "\n"])),
    st.builds(lambda b: write("bus/pci/drivers_probe", b), bdfs),
    st.builds(
        lambda n: write(f"{PCI}/{PF}/sriov_numvfs", n), st.sampled_from(["0", "1", "3", "7", "8", "x"])
    ),
    st.builds(lambda n: write(f"{PCI}/{PF}/sriov_drivers_autoprobe", n), st.sampled_from("01")),
    st.builds(
        lambda b: write(f"{PCI}/{b}/remove", "1"), st.sampled_from([PF, "0000:07:00.0", "0000:06:01.0"])
    ),
    st.builds(
        lambda n: write(f"bus/pci/drivers/vfio-pci/{n}", "8086 10ca"),
        st.sampled_from(["new_id", "remove_id"]),
    ),
    st.just(write("bus/pci/rescan", "1")),
    st.builds(lambda b: lambda kernel: kernel.unplug(b), bdfs),
    st.builds(lambda b: lambda kernel: kernel.plug(b), bdfs),
    st.just(lambda kernel: kernel.reboot()),
)


def check(kernel: Kernel) -> None:
    sysfs = kernel.machine.sys.root
    devices = {path.name: path for path in (sysfs / PCI).iterdir()}
    assert set(devices) == set(kernel.machine.functions)
    check_bindings(kernel, sysfs, devices)
    check_vfs(devices)
    check_links(sysfs)
    check_nodes(kernel, sysfs)


def check_bindings(kernel: Kernel, sysfs: Path, devices: dict[str, Path]) -> None:
    listed = [
        (path.parent.name, path.name)
        for path in (sysfs / "bus/pci/drivers").glob("*/*:*")
        if path.is_symlink()
    ]
    bound = [
        (path.joinpath("driver").resolve().name, bdf)
        for bdf, path in devices.items()
        if (path / "driver").exists()
    ]
    assert sorted(listed) == sorted(bound)
    for bdf, path in devices.items():
        says = [line for line in (path / "uevent").read_text().splitlines() if line.startswith("DRIVER=")]
        assert says == [f"DRIVER={driver}" for driver, name in bound if name == bdf]


def check_vfs(devices: dict[str, Path]) -> None:
    if PF not in devices:
        assert not [bdf for bdf in devices if bdf.startswith("0000:01:10")]
        return
    count = int((devices[PF] / "sriov_numvfs").read_text())
    vfs = sorted(path.resolve().name for path in devices[PF].glob("virtfn*"))
    assert len(vfs) == count
    assert vfs == sorted(bdf for bdf, path in devices.items() if (path / "physfn").exists())
    assert all((devices[vf] / "physfn").resolve().name == PF for vf in vfs)
    if count:
        assert (devices[PF] / "driver").exists()


def check_links(sysfs: Path) -> None:
    for path in sysfs.rglob("*"):
        assert not path.is_symlink() or path.exists(), f"{path} -> {path.readlink()}"


def check_nodes(kernel: Kernel, sysfs: Path) -> None:
    dev = kernel.machine.dev.root
    nodes = {
        path.relative_to(dev).as_posix()
        for path in dev.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    named = {
        line.removeprefix("DEVNAME=")
        for file in (sysfs / "devices").rglob("uevent")
        for line in file.read_text().splitlines()
        if line.startswith("DEVNAME=")
    }
    assert nodes == named
    assert len(list((sysfs / "dev/char").iterdir())) == len(nodes)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(actions, max_size=12))
def test_the_tree_stays_a_machine(simulation: Simulation, steps: list[Action]) -> None:
    with tempfile.TemporaryDirectory(prefix="dra") as folder:
        kernel = _boot(simulation, find_profile(simulation, "nic"), Path(folder), device_nodes=False)
        for step in steps:
            with contextlib.suppress(OSError):
                step(kernel)
        check(kernel)
