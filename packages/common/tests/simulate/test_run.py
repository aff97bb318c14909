from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dra_common.errors import HostWriteError, SettingsError
from dra_common.simulate import (
    ControlClient,
    SimulatedHost,
    Simulation,
    Simulator,
    find_profile,
    list_profiles,
    remove,
    require_vacant,
    write_tree,
)

HERE = Path(__file__).parent
PCI = "bus/pci/devices"
PF = "0000:01:00.0"

Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, root: Path) -> Iterator[Start]:
    """Start the simulator as a process and return when it is ready."""
    running: list[subprocess.Popen[str]] = []

    def start_() -> subprocess.Popen[str]:
        command = [sys.executable, str(HERE / "process.py"), str(HERE), str(tmp_path / "nic.yaml"), str(root)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    yield start_
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_asked_to_end(start: Start, root: Path, number: int) -> None:
    process = start()
    host = SimulatedHost(root)
    host.sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "2")
    process.send_signal(number)
    assert process.wait(60) == 0
    assert not (root / "control.sock").exists()
    # What it left can still be read.
    assert host.sysfs.read(f"{PCI}/{PF}/sriov_numvfs") == "2"


def test_a_process_that_is_told_to_stop(start: Start, root: Path) -> None:
    process = start()
    assert ControlClient(root).request("status")["pid"] == process.pid
    assert ControlClient(root).request("stop")["ok"]
    assert process.wait(60) == 0


def test_killed_and_started_again(start: Start, root: Path) -> None:
    process = start()
    host = SimulatedHost(root)
    boot_id = host.boot_id()
    host.sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "2")
    process.kill()
    process.wait()
    assert (root / "control.sock").exists()
    with pytest.raises(HostWriteError, match="no simulated kernel behind"):
        host.sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "0")
    start()
    # The same host object goes on with a machine that was switched on anew.
    assert host.sysfs.read(f"{PCI}/{PF}/sriov_numvfs") == "0"
    assert host.boot_id() != boot_id
    host.sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "1")


def test_a_second_simulator_is_refused_and_harms_nothing(
    start: Start, simulation: Simulation, root: Path
) -> None:
    process = start()
    profile = find_profile(simulation, "nic")
    expected = re.escape(f"a simulator is running in {root} (process {process.pid})")
    with pytest.raises(SettingsError, match=expected), Simulator(simulation, profile, root):
        pass
    with pytest.raises(SettingsError, match=expected):
        write_tree(simulation, profile, root)
    SimulatedHost(root).sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "1")


# --------------------------------------------------------------------------- folders


def test_a_folder_with_other_things_is_refused(simulation: Simulation, root: Path) -> None:
    root.mkdir()
    (root / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="holds files that are not a simulated machine"):
        write_tree(simulation, find_profile(simulation, "nic"), root)
    assert [path.name for path in root.iterdir()] == ["thesis.txt"]


def test_a_tree_of_ours_is_made_anew_and_what_lies_beside_it_stays(
    simulation: Simulation, root: Path
) -> None:
    profile = find_profile(simulation, "nic")
    write_tree(simulation, profile, root)
    (root / "sys" / "old").write_text("from before")
    (root / "state").mkdir()
    write_tree(simulation, profile, root)
    assert not (root / "sys" / "old").exists()
    assert (root / "state").is_dir()
    assert not (root / "control.sock").exists()


def test_a_folder_that_cannot_be(simulation: Simulation, root: Path) -> None:
    root.write_text("a file")
    with pytest.raises(SettingsError, match=re.escape(f"cannot simulate in {root}")):
        write_tree(simulation, find_profile(simulation, "nic"), root)


def test_a_relative_folder(simulation: Simulation, short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(short_tmp)
    with Simulator(simulation, find_profile(simulation, "nic"), Path("m")):
        SimulatedHost(Path("m")).sysfs.write(f"{PCI}/{PF}/sriov_numvfs", "1")
    assert (short_tmp / "m/sys" / PCI / PF / "virtfn0").exists()


# --------------------------------------------------------------------------- profiles


def test_list(simulation: Simulation) -> None:
    assert list_profiles(simulation) == (("nic", "An igb card, a display and a toy"),)


def test_an_unknown_profile_names_the_known(simulation: Simulation) -> None:
    with pytest.raises(SettingsError) as caught:
        find_profile(simulation, "nick")
    assert str(caught.value) == "no profile 'nick' (one of nic, or the path of a YAML file)"


def test_a_profile_of_ones_own(simulation: Simulation, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "nic.yaml", tmp_path / "own.yaml")
    assert find_profile(simulation, str(tmp_path / "own.yaml")).name == "nic"


# --------------------------------------------------------------------------- its end


def test_a_machine_is_removed_with_its_folder(simulation: Simulation, root: Path) -> None:
    write_tree(simulation, find_profile(simulation, "nic"), root)
    remove(root)
    assert not root.exists()
    remove(root)


def test_a_removal_that_was_killed_is_finished_by_the_next(simulation: Simulation, root: Path) -> None:
    write_tree(simulation, find_profile(simulation, "nic"), root)
    shutil.rmtree(root / "sys")
    (root / "control.sock").touch()
    remove(root)
    assert not root.exists()
    root.mkdir()
    remove(root)
    assert not root.exists()


def test_a_machine_that_runs_is_not_removed(simulation: Simulation, root: Path) -> None:
    with Simulator(simulation, find_profile(simulation, "nic"), root):
        for refuse in (remove, require_vacant):
            with pytest.raises(SettingsError, match="a simulator is running"):
                refuse(root)
    require_vacant(root)
    assert (root / "sys").is_dir()
