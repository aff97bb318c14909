"""GPUs that go bad under pods and recover: eviction by taint, and health with its reason in the pod's status."""

import time
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from harness.api import Json
from harness.driver import Driver, exactly, template
from harness.gpu_pods import allocated, claim_of
from harness.namespace import Namespace, pod_manifest
from harness.waiting import wait_for

KEY = "gpu.intel.com/unhealthy"
FLEX, B60 = "0000:4d:00.0", "0000:9a:00.0"
DRIVERS = {FLEX: "i915", B60: "xe"}
FIRST_WITH_ALL = (1, 36)
"""Kubernetes that has the feature gates for taints, and for health and its message in the pod's status, on."""
SLOW = 90.0
STALE = 45.0
"""Seconds; longer than a kubelet believes in what it has heard."""
PODS = 12


@pytest.fixture
def watched(gpus: Driver) -> Iterator[Driver]:
    """The driver with its eyes on the GPUs."""
    gpus.change("health.enabled=true", "health.xpumdSocket=")
    gpus.wait_ready()
    gpus.wait_published()
    yield gpus
    for bdf in DRIVERS:
        mend(gpus, bdf)
    gpus.change()
    gpus.wait_ready()


def version(minor: str) -> tuple[int, ...]:
    return tuple(map(int, minor.split(".")))


def hang(gpus: Driver, bdf: str) -> None:
    gpus.hardware(op="wedge", bdf=bdf, methods="rebind,bus-reset")


def mend(gpus: Driver, bdf: str) -> None:
    for step in ("unbind", "bind"):
        gpus.hardware(op="write", path=f"bus/pci/drivers/{DRIVERS[bdf]}/{step}", value=bdf)


def at(bdf: str, tolerations: Sequence[Json] = ()) -> Json:
    wanted = f'device.attributes["gpu.intel.com"].pciAddress == "{bdf}"'
    return exactly(wanted, tolerations=list(tolerations))


def health(namespace: Namespace, pod: str) -> tuple[str, str]:
    """What the status of a pod says of its GPU."""
    (container,) = namespace.pod(pod)["status"].get("containerStatuses") or [{}]
    told = [
        each
        for claimed in container.get("allocatedResourcesStatus", ())
        for each in claimed.get("resources", ())
    ]
    return (told[0].get("health", ""), told[0].get("message", "")) if told else ("", "")


def taints(gpus: Driver, device: str) -> list[tuple[str, str, str]]:
    found = gpus.devices()[device].get("taints", ())
    return [(taint["key"], taint.get("value", ""), taint["effect"]) for taint in found]


@pytest.mark.scenario(72)
def test_a_gpu_that_hangs_evicts_its_pod_and_who_tolerates_it_is_told_why(
    watched: Driver, namespace: Namespace, minor: str
) -> None:
    if version(minor) < FIRST_WITH_ALL:
        withdrawn(watched)
        return
    # Kubernetes 1.37 evicts past a toleration that names no effect.
    stays = [{"key": KEY, "operator": "Exists", "effect": "NoExecute"}]
    namespace.apply(
        template("b60", at(B60)), template("flex", at(FLEX, tolerations=stays)), template("late", at(B60))
    )
    for pod, claim in (("victim", "b60"), ("doctor", "flex")):
        namespace.run_pod(pod_manifest(pod, claims={"gpu": {"resourceClaimTemplateName": claim}}))
    wait_for(lambda: health(namespace, "doctor")[0] == "Healthy", "the pod's status to say healthy", SLOW)
    (device,) = allocated(claim_of(namespace, "victim"))
    for bdf in DRIVERS:
        hang(watched, bdf)
    wait_for(lambda: taints(watched, device) == [(KEY, "wedged", "NoExecute")], "the taint", SLOW)
    namespace.wait_gone("victim", SLOW)
    wait_for(lambda: health(namespace, "doctor")[0] == "Unhealthy", "the pod's status to say so", SLOW)
    assert "given it up after a hang" in health(namespace, "doctor")[1]
    namespace.create_pod(pod_manifest("late", claims={"gpu": {"resourceClaimTemplateName": "late"}}))
    wait_for(lambda: unschedulable(namespace, "late"), "the scheduler to refuse the GPU", SLOW)
    for bdf in DRIVERS:
        mend(watched, bdf)
    namespace.wait_ready("late", SLOW)
    assert taints(watched, device) == []
    wait_for(lambda: health(namespace, "doctor")[0] == "Healthy", "the pod's status to say healthy", SLOW)
    for pod in ("late", "doctor"):
        namespace.delete_pod(pod)


def withdrawn(gpus: Driver) -> None:
    """Without device taints a GPU that is bad is not offered at all, while nobody has it."""
    offered = set(gpus.devices())
    hang(gpus, B60)
    wait_for(lambda: len(gpus.devices()) < len(offered), "the GPU to be withdrawn", SLOW)
    mend(gpus, B60)
    wait_for(lambda: set(gpus.devices()) == offered, "the GPU to be offered again", SLOW)


def unschedulable(namespace: Namespace, pod: str) -> bool:
    conditions = namespace.pod(pod)["status"].get("conditions", [])
    return any(each.get("reason") == "Unschedulable" for each in conditions)


@pytest.mark.scenario(74)
def test_health_lasts_as_long_as_it_is_told_again(watched: Driver, namespace: Namespace, minor: str) -> None:
    """The kubelet believes what it heard for 30 s; the driver's container is started again if it stands still."""
    if version(minor) < FIRST_WITH_ALL:
        return
    namespace.apply(template("one", at(B60)))
    namespace.run_pod(pod_manifest("user", claims={"gpu": {"resourceClaimTemplateName": "one"}}))
    wait_for(lambda: health(namespace, "user")[0] == "Healthy", "the pod's status to say healthy", SLOW)
    until = time.monotonic() + STALE
    heard = partial(health, namespace, "user")
    wait_for(lambda: heard()[0] != "Healthy" or time.monotonic() > until, "the first word to be old", SLOW)
    assert heard()[0] == "Healthy"
    with watched.frozen():
        wait_for(lambda: health(namespace, "user")[0] == "Unknown", "the pod's status to say unknown", SLOW)
    wait_for(lambda: health(namespace, "user")[0] == "Healthy", "the pod's status to say healthy", SLOW)
    namespace.delete_pod("user")


@pytest.mark.scenario(75)
def test_nothing_is_known_of_health_that_nobody_watches(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", at(B60)))
    namespace.run_pod(pod_manifest("user", claims={"gpu": {"resourceClaimTemplateName": "one"}}))
    assert gpus.devices()
    assert health(namespace, "user")[0] in ("", "Unknown")
    said = (gpus.cluster.settings.logs / "kubelet.log").read_text()
    tried = [line for line in said.splitlines() if "health" in line.lower() and "gpu.intel.com" in line]
    assert [line for line in tried if "Unimplemented" in line] == []
    namespace.delete_pod("user")


@pytest.mark.machine("large")
@pytest.mark.scenario(76)
def test_pods_start_while_health_is_told(gpus: Driver, namespace: Namespace, minor: str) -> None:
    gpus.change("health.enabled=true", "health.xpumdSocket=")
    gpus.wait_ready()
    gpus.wait_published()
    stays = [{"key": KEY, "operator": "Exists", "effect": "NoExecute"}]
    namespace.apply(template("one", exactly(tolerations=stays)))
    names = [f"pod-{number}" for number in range(PODS)]
    one = {"gpu": {"resourceClaimTemplateName": "one"}}
    namespace.run_pod(pod_manifest(names[0], claims=one))
    (first,) = allocated(claim_of(namespace, names[0]))
    namespace.apply(*(pod_manifest(name, claims=one) for name in names[1:]))
    bdf = gpus.devices()[first]["attributes"]["pciAddress"]["string"]
    gpus.hardware(op="wedge", bdf=bdf, methods="unknown")
    for name in names:
        namespace.wait_ready(name, SLOW)
    if version(minor) >= FIRST_WITH_ALL:
        wait_for(lambda: health(namespace, names[0])[0] == "Unhealthy", "one to be unhealthy", SLOW)
        for name in names[1:]:
            wait_for(lambda: health(namespace, name)[0], f"the health of {name}'s GPU", SLOW)  # noqa: B023 - at once
    gpus.hardware(op="wedge", bdf=bdf, methods="none")
    for name in names:
        namespace.delete_pod(name)
    gpus.change()
    gpus.wait_ready()


@pytest.mark.scenario(73)
def test_health_is_unknown_while_the_driver_is_away_and_known_again(
    watched: Driver, namespace: Namespace, minor: str
) -> None:
    namespace.apply(template("one", at(B60)))
    namespace.run_pod(pod_manifest("user", claims={"gpu": {"resourceClaimTemplateName": "one"}}))
    if version(minor) < FIRST_WITH_ALL:
        assert health(namespace, "user") == ("", "")
        return
    wait_for(lambda: health(namespace, "user")[0] == "Healthy", "the pod's status to say healthy", SLOW)
    with watched.away():
        wait_for(lambda: health(namespace, "user")[0] == "Unknown", "the pod's status to say unknown", SLOW)
    wait_for(lambda: health(namespace, "user")[0] == "Healthy", "the pod's status to say healthy", SLOW)
    namespace.delete_pod("user")
