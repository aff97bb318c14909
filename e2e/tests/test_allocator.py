"""The real scheduler against our allocator (dra_common.testing.allocator) and against hardware: docs/dev/testing.md."""

import os
import sys
from collections.abc import Iterator

import pytest
from allocation.case import Dice, traits_of
from allocation.generator import generate
from allocation.hardware import Pf, pfs_of
from allocation.play import Play
from allocation.stage import Stage
from allocation.tenancy import Tenancy
from bench.caller import Caller
from harness.cluster import Cluster
from harness.driver import Driver
from harness.namespace import Namespace
from harness.waiting import wait_for

SEED = os.environ.get("ALLOCATOR_SEED", "1")
CASES = int(os.environ.get("ALLOCATOR_CASES", "300"))
CLAIMS = int(os.environ.get("ALLOCATOR_CLAIMS", "500"))
# It takes the pods away from devices with a NoExecute taint, see test_scheduler_limits.py.
EVICTION = "device-taint-eviction-controller"
HASTE = {"kube-api-qps": "1000", "kube-api-burst": "2000"}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> Iterator[Cluster]:
    """Let no pod be evicted, so that what was given stays given; and let nobody save requests."""
    cluster.control.restart("kube-controller-manager", HASTE | {"controllers": f"*,-{EVICTION}"})
    cluster.control.restart("kube-scheduler", HASTE)
    yield cluster
    for name in ("kube-scheduler", "kube-controller-manager"):
        cluster.control.restart(name, {})


def test_the_scheduler_and_our_allocator_agree(
    undisturbed: Cluster, namespace: Namespace, minor: str
) -> None:
    traits = traits_of(minor)
    cases = [generate(SEED, number, traits) for number in range(CASES)]
    with Stage(namespace) as stage:
        tally = Play(stage, cases, traits).run()
    sys.stdout.write(f"seed {SEED}, {CASES} machines: {dict(tally.counts)}\n")
    assert not tally.differences, f"seed {SEED}:\n" + "\n\n".join(map(str, tally.differences))
    # The generator is worth nothing if hardly anything fits, or everything.
    kinds = ["given", "refused", "administrators", "alternatives", "constraints"]
    kinds += ["shares", "counters"] if traits.consumable else []
    assert all(tally.counts[kind] >= CASES / 10 for kind in kinds)
    assert not tally.counts["not taken by the API server"]


GPUS = "config.devices[0].match.type=gpu", "config.devices[0].sriov.modes={1,2,4}"
B50 = "bus/pci/devices/0000:18:00.0"


@pytest.fixture
def divisible(gpus: Driver, minor: str) -> Iterator[tuple[Pf, ...]]:
    """Two GPUs that may be divided, on a node that only the test and the driver look after."""
    for name, value in (("sriov_numvfs", "0"), ("sriov_drivers_autoprobe", "1")):
        gpus.hardware(op="write", path=f"{B50}/{name}", value=value)
    gpus.change(*GPUS)
    gpus.wait_ready()
    # Before Kubernetes 1.36 no GPU is offered divided.
    devices = 8 if traits_of(minor).consumable else 2
    wait_for(lambda: len(gpus.devices()) == devices, "the modes", 60)
    control = gpus.cluster.control
    control.kill("kubelet")
    yield pfs_of(gpus.devices())
    # The namespace, which ends first, may have started it.
    control.restore()
    gpus.cluster.wait_node_ready()
    gpus.wait_ready()
    # The machine is not as it was.
    gpus.leave()


@pytest.mark.machine("battlemage-pro")
def test_the_scheduler_gives_nothing_that_divided_gpus_cannot_do(
    undisturbed: Cluster, gpus: Driver, divisible: tuple[Pf, ...], namespace: Namespace
) -> None:
    """And the driver prepares all that it gives, and nobody waits for what is free."""
    assert undisturbed is gpus.cluster
    modes = any(pf.shares for pf in divisible)
    (driver,) = gpus.data.glob("dra*.sock")
    with Stage(namespace) as stage, Caller(driver) as caller:
        tally = Tenancy(stage, gpus, caller, divisible, Dice(SEED)).run(CLAIMS if modes else CLAIMS // 5)
    sys.stdout.write(f"seed {SEED}: {dict(tally)}\n")
    gpus.wait_idle()
    assert tally["prepared"] >= tally["claims"] / 5
    assert tally["waiting"]
