"""The time of a divided GPU is given to its VFs as the policy says: the real process on the simulated kernel (6.19)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.simulate import SimulatedHost
from dra_common.testing.killer import Killer
from dra_common.testing.mortal import Orders
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import assert_no_surprise, reboot, write
from gpu_nodes import gpu_cli, machine_only
from modes_world import B60, B60_BDF, FOUND, claim, config, devices, divisible, machine, make_class, state

POLICY = (
    "devices: [{match: {}, sriov: {modes: [2, 4], profile: {execQuantumMs: 20, schedPriority: normal}}}]\n"
)
PLAIN = "devices: [{match: {}, sriov: {modes: [2, 4]}}]\n"
FUNCTIONS = ("pf", *(f"vf{number}" for number in range(1, 8)))
ADMIN = f"bus/pci/devices/{B60_BDF}/sriov_admin"
LOW, NORMAL, HIGH = "[low] normal", "low [normal]", "low normal [high]"


def scheduled(node: SimulatedNode, name: str) -> list[str]:
    """The setting of the PF and of each VF that it could have."""
    sysfs = SimulatedHost(node.machine).sysfs
    return [sysfs.read(f"{ADMIN}/{who}/profile/{name}") for who in FUNCTIONS]


def as_found(node: SimulatedNode) -> bool:
    """Whether nothing is left of a profile, of VFs, of claims."""
    quanta, timeouts = scheduled(node, "exec_quantum_ms"), scheduled(node, "preempt_timeout_us")
    idle = scheduled(node, "sched_priority") == [f"{LOW} high", *[LOW] * 7]
    return (state(node), node.leftovers(), quanta, timeouts, idle) == (FOUND, [], ["0"] * 8, ["0"] * 8, True)


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with divisible(policy=POLICY) as node:
        yield node


def test_the_first_claim_sets_the_profile_and_the_last_one_gives_it_back(node: SimulatedNode) -> None:
    first, second = claim(node, "first", "vf2"), claim(node, "second", "vf2")
    node.prepare(first)
    assert scheduled(node, "exec_quantum_ms") == ["20"] * 8
    assert scheduled(node, "sched_priority") == [f"{NORMAL} high", *[NORMAL] * 7]
    assert scheduled(node, "preempt_timeout_us") == ["0"] * 8, "the policy says nothing of it"
    node.prepare(second)
    node.unprepare(first)
    assert scheduled(node, "exec_quantum_ms") == ["20"] * 8
    node.unprepare(second)
    assert as_found(node)
    assert_no_surprise(node)


def test_what_somebody_had_set_by_hand_is_there_again_afterwards(node: SimulatedNode) -> None:
    write(node, f"{ADMIN}/pf/profile/sched_priority", "high")
    write(node, f"{ADMIN}/vf2/profile/exec_quantum_ms", "7")
    write(node, f"{ADMIN}/vf5/profile/exec_quantum_ms", "9")
    found = {name: scheduled(node, name) for name in ("exec_quantum_ms", "sched_priority")}
    ref = claim(node, "one", "vf4")
    node.prepare(ref)
    assert scheduled(node, "exec_quantum_ms") == ["20"] * 8
    node.unprepare(ref)
    assert {name: scheduled(node, name) for name in found} == found
    assert found["sched_priority"][0] == HIGH
    assert state(node) == FOUND


def test_a_profile_that_comes_or_goes_is_for_the_next_division(node: SimulatedNode) -> None:
    first, second = claim(node, "first", "vf2"), claim(node, "second", "vf2")
    node.prepare(first)
    node.kill_driver()
    node.start_driver(config(node.root, PLAIN))
    node.wait_published()
    node.prepare(second)
    assert scheduled(node, "exec_quantum_ms") == ["20"] * 8
    node.unprepare(first)
    node.unprepare(second)
    assert as_found(node)
    node.prepare(first)
    assert scheduled(node, "exec_quantum_ms") == ["0"] * 8
    # Made by a release that knew no profiles, for all that the files say.
    node.kill_driver()
    node.start_driver(config(node.root, POLICY))
    node.prepare(second)
    assert scheduled(node, "exec_quantum_ms") == ["0"] * 8
    node.unprepare(first)
    node.unprepare(second)
    assert as_found(node)


def test_a_vf_that_somebody_schedules_otherwise_is_given_to_nobody(node: SimulatedNode) -> None:
    first, second = claim(node, "first", "vf2"), claim(node, "second", "vf2")
    node.prepare(first)
    write(node, f"{ADMIN}/vf2/profile/exec_quantum_ms", "90")
    said = node.refusal(second)
    assert f"{B60_BDF}: sriov_admin/vf2/profile/exec_quantum_ms is '90', and not '20'" in said
    write(node, f"{ADMIN}/vf2/profile/exec_quantum_ms", "20")
    node.prepare(second)
    node.unprepare(second)
    node.unprepare(first)
    assert as_found(node)


def test_after_a_reboot_the_profile_is_set_again(node: SimulatedNode) -> None:
    ref = claim(node, "one", "vf2")
    answer = node.prepare(ref)
    node.kill_driver()
    reboot(node)
    node.start_driver(config(node.root, POLICY))
    assert scheduled(node, "exec_quantum_ms") == ["0"] * 8
    assert node.prepare(ref) == answer
    assert scheduled(node, "exec_quantum_ms") == ["20"] * 8
    node.unprepare(ref)
    assert as_found(node)


def test_a_kernel_without_profiles_divides_without_them_and_the_log_says_so_once(tmp_path: Path) -> None:
    with divisible(machine(tmp_path, "kernel: 6.19.0", "kernel: 6.18.0"), POLICY) as node:
        why = f"device {B60} is divided without `sriov.profile` (exec_quantum_ms, sched_priority)"
        ref = claim(node, "one", "vf2")
        node.prepare(ref)
        assert state(node)[0] == 2
        node.unprepare(ref)
        assert (state(node), node.leftovers()) == (FOUND, [])
        write(node, f"bus/pci/devices/{B60_BDF}/uevent", "change")
        assert why in gpu_cli("devices", config(node.root, POLICY), f"--simulated-root={node.machine}").stderr
        assert node.log.read_text().count(why) == 1
        assert_no_surprise(node, [why])


def test_a_gpu_that_is_not_divided_needs_no_profile(tmp_path: Path) -> None:
    policy = POLICY.replace("modes: [2, 4]", "modes: []")
    with divisible(machine(tmp_path, "kernel: 6.19.0", "kernel: 6.18.0"), policy) as node:
        assert f"{B60}-vf2" not in devices(node)
        assert_no_surprise(node)


# --------------------------------------------------------------------------- killed, and failures


@pytest.fixture
def killer() -> Iterator[Killer]:
    with machine_only("two-gpus") as node:
        make_class(node)
        killer = Killer(node, config(node.root, POLICY))
        killer.start()
        node.wait_published()
        yield killer


def profile_changes(killer: Killer) -> list[int]:
    """The numbers of these among the changes of hardware: other threads change files meanwhile."""
    hardware = [line for line in killer.changes() if " hardware " in line]
    return [at for at, line in enumerate(hardware, 1) if "/sriov_admin/" in line]


def test_a_failure_to_set_the_profile_gives_all_back(killer: Killer) -> None:
    node, ref = killer.node, claim(killer.node, "one", "vf2")
    killer.order(Orders())
    node.prepare(ref)
    changes = profile_changes(killer)
    node.unprepare(ref)
    assert len(changes) == 2
    for at in changes:
        killer.order(Orders("fail", at, errno.EIO, only="hardware"))
        assert "the device or its firmware failed, or refused (EIO)" in node.refusal(ref)
        assert as_found(node)


@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_killed_while_the_profile_is_set_all_is_as_found(killer: Killer, kind: str) -> None:
    node, ref = killer.node, claim(killer.node, "one", "vf2")
    killer.order(Orders())
    node.prepare(ref)
    changes = profile_changes(killer)
    node.unprepare(ref)
    for at in changes:
        assert killer.dies(Orders.parse(f"{kind} {at} only=hardware"), node.prepare, ref)
        killer.start()
        wait_until(lambda: as_found(node), "recovery")


@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_killed_while_the_profile_is_given_back(killer: Killer, kind: str) -> None:
    node, ref = killer.node, claim(killer.node, "one", "vf2")
    node.prepare(ref)
    killer.order(Orders())
    node.unprepare(ref)
    changes = profile_changes(killer)
    assert len(changes) == 2
    for at in changes:
        node.prepare(ref)
        assert killer.dies(Orders.parse(f"{kind} {at} only=hardware"), node.unprepare, ref)
        killer.start()
        wait_until(lambda: as_found(node), "recovery")
        node.unprepare(ref)
