"""A machine with 72 GPUs: many pods at once, GPUs that are near one another, and an update under load."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from harness.api import Json
from harness.driver import DRIVER, Driver, exactly, template
from harness.gpu_pods import CLAIMS, allocated, claim_of, nodes_of, seen
from harness.namespace import Namespace, pod_manifest
from harness.waiting import wait_for

pytestmark = pytest.mark.machine("large")
ONE = {"gpu": {"resourceClaimTemplateName": "one"}}
PODS = 64
ROOT = "resource.kubernetes.io/pcieRoot"


@pytest.mark.defect(17)
def test_all_devices_are_published(gpus: Driver) -> None:
    assert Counter(each["attributes"]["type"]["string"] for each in gpus.devices().values()) == {
        "gpu": 8,
        "vf": 64,
    }


@pytest.mark.parametrize("attribute", [ROOT, f"{DRIVER}/pciRoot"])
def test_two_gpus_below_one_root(gpus: Driver, namespace: Namespace, attribute: str) -> None:
    together = {"matchAttribute": attribute, "requests": ["gpu"]}
    namespace.apply(template("one", exactly(count=2), constraints=[together]))
    namespace.run_pod(pod_manifest("aligned", claims=ONE))
    given = allocated(claim_of(namespace, "aligned"))
    devices = gpus.devices()
    assert len(given) == 2
    assert len({devices[name]["attributes"][ROOT]["string"] for name in given}) == 1
    assert seen(namespace, "aligned") == nodes_of(gpus, *given)


def test_64_pods_at_once(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    pods = [pod_manifest(f"pod-{index}", claims=ONE) for index in range(PODS)]
    namespace.apply(*pods)

    def running() -> bool:
        phases = Counter(each["status"].get("phase") for each in pods_of(namespace))
        assert phases == {"Running": PODS}, phases
        return True

    wait_for(running, "all pods to run", 180)
    claims = namespace.cluster.api.items(namespace.path(CLAIMS))
    given = [device for claim in claims for device in allocated(claim)]
    assert len(set(given)) == PODS
    assert set(gpus.held()) == set(given)
    assert failures(namespace) == []
    for index in (0, PODS - 1):
        name = f"pod-{index}"
        assert seen(namespace, name) == nodes_of(gpus, *allocated(claim_of(namespace, name)))
    namespace.cluster.api.delete(namespace.path("pods"))
    wait_for(lambda: not pods_of(namespace), "all pods to be gone", 180)
    gpus.wait_idle()


@pytest.mark.scenario(48, 54, 58)
def test_an_update_under_load_goes_unnoticed(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    namespace.run_pod(pod_manifest("steady", claims=ONE))
    steady = claim_of(namespace, "steady")["metadata"]["uid"]
    old, slices = gpus.pod(), gpus.slices()
    with storm(namespace, workers=6) as lived:
        wait_for(lambda: len(lived) >= 6, "the first pods to have run", 120)
        gpus.change("logging.verbosity=4")
        new = gpus.wait_ready()
        done = len(lived)
        wait_for(lambda: len(lived) >= done + 6, "more pods to have run", 120)
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert failures(namespace) == []
    assert gpus.slices() == slices
    assert seen(namespace, "steady") == nodes_of(gpus, *allocated(claim_of(namespace, "steady")))
    namespace.delete_pod("steady")
    assert steady not in gpus.records()
    gpus.wait_idle()


@pytest.mark.scenario(56)
def test_an_update_that_cannot_start_leaves_the_old_one_serving(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    old, slices = gpus.pod(), gpus.slices()
    small = (f"kubeletPlugin.resources.{each}.memory=12Mi" for each in ("requests", "limits"))
    gpus.change(*small, wait=False)
    try:
        wait_for(lambda: fallen(gpus), "the new pod to fail", 60)
        namespace.run_pod(pod_manifest("user", claims=ONE))
        assert old["metadata"]["uid"] in {each["metadata"]["uid"] for each in gpus.pods("kubelet-plugin")}
        namespace.delete_pod("user")
    finally:
        gpus.change()
    assert gpus.slices() == slices


def fallen(gpus: Driver) -> bool:
    """Whether a container of a driver's pod has ended: it has less memory than Python needs."""
    statuses = [
        status for pod in gpus.pods("kubelet-plugin") for status in pod["status"].get("containerStatuses", [])
    ]
    return any(status["restartCount"] or status["lastState"] for status in statuses)


def pods_of(namespace: Namespace) -> list[Json]:
    return namespace.cluster.api.items(namespace.path("pods"))


def failures(namespace: Namespace) -> list[str]:
    """What went wrong with pods of a namespace on the node.

    Not that the API server's authorizer of nodes hears late of a binding: the kubelet asks again, before any driver.
    """
    found = namespace.cluster.api.items(namespace.path("events"), fieldSelector="type=Warning")
    told = [each["message"] for each in found if each["reason"] != "FailedScheduling"]
    return [message for message in told if "no relationship found between node" not in message]


@contextmanager
def storm(namespace: Namespace, workers: int) -> Iterator[list[str]]:
    """Let pods with a GPU come and go all the time; the names of those that have lived."""
    over = threading.Event()
    lived: list[str] = []

    def work(worker: int) -> None:
        number = 0
        while not over.is_set():
            name = f"pod-{worker}-{number}"
            namespace.run_pod(pod_manifest(name, claims=ONE), timeout=120)
            namespace.delete_pod(name)
            lived.append(name)
            number += 1

    with ThreadPoolExecutor(workers) as pool:
        working = [pool.submit(work, worker) for worker in range(workers)]
        try:
            yield lived
        finally:
            over.set()
        for each in working:
            each.result()
