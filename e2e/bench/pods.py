"""From ``kubectl apply`` of many pods until all of them run: scheduler, kubelet, driver and runtime together."""

import time
from collections.abc import Iterator, Mapping

from dra_common.testing.benchmark.figures import Figure
from harness.driver import exactly, template
from harness.namespace import pod_manifest

from bench.rows import figure
from bench.world import World

PODS = 64
ONE = {"gpu": {"resourceClaimTemplateName": "one"}}


def measure(here: World) -> Iterator[Figure]:
    """Run pods with a GPU each, then as many without any."""
    yield figure("pods running", f"{PODS} pods, each with one GPU", [_running(here, ONE)])
    yield figure("pods without a claim", f"{PODS} pods", [_running(here, {})])


def _running(here: World, claims: Mapping[str, Mapping[str, str]]) -> float:
    """Return the seconds from apply until the last pod runs; nothing of it is left."""
    manifests = [pod_manifest(f"pod-{number}", claims=claims) for number in range(PODS)]
    running: set[str] = set()
    with here.namespace() as namespace, here.cluster.api.watch(namespace.path("pods")) as events:
        began = time.perf_counter()
        namespace.apply(template("one", exactly()), *manifests)
        while len(running) < PODS:
            pod = next(events)["object"]
            if pod["status"].get("phase") == "Running":
                running.add(pod["metadata"]["name"])
        lasted = time.perf_counter() - began
    here.settle()
    return lasted
