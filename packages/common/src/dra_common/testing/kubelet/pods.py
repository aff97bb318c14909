"""What a kubelet remembers of claims, and which calls that makes it send (kubelet, ``pkg/kubelet/cm/dra``).

.. code-block:: python

    pods = Pods(kubelet, lambda namespace, name: api.get("ResourceClaim", name, namespace))
    pods.start(Pod("train", "pod-uid", claims=("my-claim",)))  # one call to each driver for what is not prepared yet
    pods.devices("pod-uid", "my-claim")  # CDI ids for a container with this claim
    pods.stop("pod-uid")  # a call only when the last pod of a claim ends
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.kubelet.answers import KubeletCallError
from dra_common.testing.kubelet.fake import FakeKubelet

ReadClaim = Callable[[str, str], Mapping[str, Any] | None]
"""Namespace and name -> the ResourceClaim as the API server has it, or None."""


class PodFailed(Exception):
    """A pod did not start or end; ``str()`` is what the kubelet tells. It tries again."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of this node.

    Args:
        claims: names of the ResourceClaims that it refers to, whether a container uses them or not.
    """

    name: str
    uid: str
    claims: Sequence[str] = ()
    namespace: str = "default"


@dataclass(slots=True)
class _ClaimInfo:
    ref: ClaimRef
    drivers: frozenset[str]
    pods: set[str] = field(default_factory=set)
    prepared: bool = False
    ending: bool = False
    devices: dict[str, tuple[PreparedDevice, ...]] = field(default_factory=dict)


class Pods:
    """The pods of one node and their claims; used by one thread, as a pod's worker is.

    Args:
        kubelet: calls the drivers.
        read: how claims are read from the API server.
    """

    def __init__(self, kubelet: FakeKubelet, read: ReadClaim) -> None:
        self._kubelet = kubelet
        self._read = read
        self._claims: dict[tuple[str, str], _ClaimInfo] = {}

    def start(self, pod: Pod) -> None:
        """Prepare all claims of a pod. Raises PodFailed; then nothing that succeeded is taken back."""
        infos = [self._admit(pod, name) for name in pod.claims]
        for info in infos:
            self._claims[info.ref.namespace, info.ref.name] = info
            info.pods.add(pod.uid)
        waiting = [info for info in infos if not info.prepared]
        for driver in sorted({driver for info in waiting for driver in info.drivers}):
            self._prepare(driver, [info for info in waiting if driver in info.drivers])
        for info in waiting:
            info.prepared = True

    def stop(self, pod_uid: str) -> None:
        """Unprepare the claims of which this pod was the last. Raises PodFailed: the pod stays, call again."""
        mine = [info for info in self._claims.values() if pod_uid in info.pods]
        last = [info for info in mine if info.pods == {pod_uid}]
        for info in mine:
            if info not in last:
                info.pods.discard(pod_uid)
        for info in last:
            info.prepared, info.ending = False, True
        self._require_registered(frozenset(driver for info in last for driver in info.drivers))
        for driver in sorted({driver for info in last for driver in info.drivers}):
            self._unprepare(driver, [info for info in last if driver in info.drivers])
        for info in last:
            del self._claims[info.ref.namespace, info.ref.name]

    def reconcile(self, active: Collection[str]) -> None:
        """Unprepare for every pod that is not active (any more), as a kubelet does each minute. Raises PodFailed."""
        known = {pod for info in self._claims.values() for pod in info.pods}
        for pod_uid in sorted(known - set(active)):
            self.stop(pod_uid)

    def restart(self) -> None:
        """Start the kubelet again: it remembers its claims, but not that they are prepared."""
        self._kubelet.restart()
        for info in self._claims.values():
            info.prepared = False

    def devices(self, pod_uid: str, claim: str, request: str = "") -> list[str]:
        """CDI ids for a container of the pod that uses the claim, or one request of it."""
        infos = (info for info in self._claims.values() if pod_uid in info.pods and info.ref.name == claim)
        return [
            cdi_id
            for info in infos
            for devices in info.devices.values()
            for device in devices
            if not (request and device.requests) or request in device.requests
            for cdi_id in device.cdi_ids
        ]

    def _admit(self, pod: Pod, name: str) -> _ClaimInfo:
        """Return what is known of a claim of the pod, old or new; changes nothing. Raises PodFailed."""
        claim = self._read(pod.namespace, name)
        if claim is None:
            raise PodFailed(f"failed to fetch ResourceClaim {name} referenced by pod {pod.name}: not found")
        uid, status = claim["metadata"]["uid"], claim.get("status") or {}
        if pod.uid not in [consumer.get("uid") for consumer in status.get("reservedFor", ())]:
            raise PodFailed(f"pod {pod.name} ({pod.uid}) is not allowed to use ResourceClaim {name} ({uid})")
        if not status.get("allocation"):
            raise PodFailed(f"ResourceClaim {name} is not allocated")
        drivers = frozenset(result["driver"] for result in status["allocation"]["devices"]["results"])
        self._require_registered(drivers)
        known = self._claims.get((pod.namespace, name))
        if known and known.ref.uid != uid:
            msg = f"old ResourceClaim with same name {name} and different UID {known.ref.uid} still exists"
            raise PodFailed(f"{msg} (new claim has UID {uid})")
        if known and known.ending:
            raise PodFailed(f"ResourceClaim {name} is being unprepared")
        return known or _ClaimInfo(ClaimRef(pod.namespace, name, uid), drivers)

    def _require_registered(self, drivers: frozenset[str]) -> None:
        known = {each.driver for each in self._kubelet.registered}
        for driver in sorted(drivers - known):
            raise PodFailed(f"DRA driver {driver} is not registered")

    def _prepare(self, driver: str, infos: Sequence[_ClaimInfo]) -> None:
        try:
            answers = self._kubelet.prepare([info.ref for info in infos], driver)
        except KubeletCallError as error:
            raise PodFailed(f"NodePrepareResources failed: {error}") from None
        for info in infos:
            if why := answers[info.ref.uid].error:
                raise PodFailed(f"NodePrepareResources failed for ResourceClaim {info.ref.name}: {why}")
            info.devices[driver] = answers[info.ref.uid].devices

    def _unprepare(self, driver: str, infos: Sequence[_ClaimInfo]) -> None:
        try:
            answers = self._kubelet.unprepare([info.ref for info in infos], driver)
        except KubeletCallError as error:
            raise PodFailed(f"NodeUnprepareResources failed: {error}") from None
        for info in infos:
            if why := answers[info.ref.uid]:
                raise PodFailed(f"NodeUnprepareResources failed for ResourceClaim {info.ref.name}: {why}")
