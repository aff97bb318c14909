"""Our allocator (dra_common.testing.allocator) against the real scheduler; see docs/dev/testing.md."""

import os
import sys
from collections.abc import Iterator

import pytest
from allocation.case import traits_of
from allocation.generator import generate
from allocation.play import Play
from allocation.stage import Stage
from harness.cluster import Cluster
from harness.namespace import Namespace

SEED = os.environ.get("ALLOCATOR_SEED", "1")
CASES = int(os.environ.get("ALLOCATOR_CASES", "300"))
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
