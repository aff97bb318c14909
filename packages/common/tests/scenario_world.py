"""A node for the protocol's scenarios: kubelet and pods, real sockets, the real plugin and claim engine, real files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dra_common.deadline import Deadline
from dra_common.kubelet import KubeletPlugin
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.bench import Bench
from dra_common.testing.knobs import DRIVER
from dra_common.testing.kubelet import FakeKubelet, KubeletNode, Pod, Pods


class CurrentEngine:
    """Calls go to the bench's engine of now: a restart makes a new one on the same files."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def prepare(self, ref: ClaimRef, deadline: Deadline) -> tuple[PreparedDevice, ...]:
        return self._bench.engine.prepare(ref, deadline)

    def unprepare(self, ref: ClaimRef, deadline: Deadline) -> None:
        self._bench.engine.unprepare(ref, deadline)


class World:
    """A driver that the kubelet has registered.

    Args:
        call_timeout: the kubelet's patience; 45 s, but where a test has to see it end.
    """

    def __init__(self, root: Path, stack: ExitStack, call_timeout: float = 45.0) -> None:
        self.bench = Bench(root)
        self.node = stack.enter_context(KubeletNode(root, CurrentEngine(self.bench), driver=DRIVER))
        self.plugin: KubeletPlugin = self.node.start_plugin()
        self.kubelet: FakeKubelet = self.node.start_kubelet(call_timeout)
        self.kubelet.wait_registered(DRIVER, timeout=60)
        self.pods = Pods(
            self.kubelet, lambda namespace, name: self.bench.claims.objects.get((namespace, name))
        )

    def restart_driver(self) -> None:
        """Stop the driver, start it again on what it left."""
        self.plugin.stop(grace=10)
        self.kubelet.wait_deregistered(DRIVER, timeout=60)
        self.bench.start()
        self.bench.recover()
        self.plugin = self.node.start_plugin()
        self.kubelet.wait_registered(DRIVER, timeout=60)

    def claim(
        self,
        name: str,
        *devices: str | dict[str, Any],
        pods: Sequence[str] = (),
        config: Sequence[dict[str, Any]] = (),
        uid: str = "",
    ) -> ClaimRef:
        """Store an allocated claim, reserved for pods of these UIDs."""
        ref = self.bench.claim(name, *devices, config=config, uid=uid)
        reserved = [{"resource": "pods", "name": pod, "uid": pod} for pod in pods]
        self.stored(ref)["status"]["reservedFor"] = reserved
        return ref

    def stored(self, ref: ClaimRef) -> dict[str, Any]:
        """The claim as the API server has it."""
        return self.bench.claims.objects[ref.namespace, ref.name]

    def prepare(self, ref: ClaimRef) -> tuple[PreparedDevice, ...]:
        """Prepare one claim that is expected to succeed."""
        answer = self.kubelet.prepare([ref])[ref.uid]
        assert answer.error == ""
        return answer.devices

    def refusal(self, ref: ClaimRef) -> str:
        """Prepare one claim that is expected to fail."""
        answer = self.kubelet.prepare([ref])[ref.uid]
        assert answer.error, f"prepared: {answer.devices}"
        assert answer.devices == ()
        return answer.error

    def unprepare(self, ref: ClaimRef) -> str:
        """Unprepare one claim; returns the error, empty on success."""
        return self.kubelet.unprepare([ref])[ref.uid]

    def levels(self, devices: str) -> str:
        """The levels of devices with one-letter names, one after another."""
        return " ".join(str(self.bench.level(name)) for name in devices)

    def started(self, name: str, *claims: str) -> Pod:
        """Start a pod; its UID is its name."""
        pod = Pod(name, name, claims)
        self.pods.start(pod)
        return pod


@contextmanager
def world(root: Path, call_timeout: float = 45.0) -> Iterator[World]:
    """Yield a world; every process and socket of it is gone afterwards."""
    with ExitStack() as stack:
        yield World(root, stack, call_timeout)
