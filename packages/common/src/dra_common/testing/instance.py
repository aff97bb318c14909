"""One of several instances of a driver on a simulated node, each in a pod of its own, as during a rolling update.

.. code-block:: python

    with Instance(node, OLD) as old, Instance(node, NEW, "-v=4") as new:
        assert old.prepare(ref) == new.prepare(ref)
        old.stop()
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Self

from dra_common.kubelet import SocketPaths
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.forks import Process
from dra_common.testing.kubelet.endpoint import Endpoint
from dra_common.testing.node import PrepareFailed, SimulatedNode
from dra_common.testing.waiting import wait_until

_SECONDS = 60.0


class Instance:
    """A process of the node's driver; entering starts it and waits until the kubelet has registered it.

    Args:
        node: whose driver it is.
        pod_uid: of its pod.
        arguments: more of them for ``run``.
        environment: more of it, where a variable and not an argument is what is tried.
    """

    def __init__(
        self,
        node: SimulatedNode,
        pod_uid: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.node, self.pod_uid = node, pod_uid
        self.sockets = SocketPaths.of(node.driver, node.state, node.registry, pod_uid)
        self.log = node.root / f"driver-{pod_uid}.log"
        self.process: Process | None = None
        self._arguments = [*node.run_arguments(), *arguments]
        self._environment = {"POD_UID": pod_uid, **(environment or {})}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # ------------------------------------------------------------------ its life

    def start(self, *, wait: bool = True) -> None:
        """Start the process, again after its end."""
        self.process = self.node.launch(self._arguments, self.log, environment=self._environment)
        if wait:
            self.wait_registered()

    def wait_registered(self) -> None:
        """Wait until the kubelet has a connection to this instance. Raises RuntimeError when it ends before."""

        def registered() -> bool:
            if (code := self.running.poll()) is not None:
                msg = f"the driver of pod {self.pod_uid} ended with exit code {code}:\n{self.lines()[-20:]}"
                raise RuntimeError(msg)
            return self.is_registered()

        wait_until(registered, f"pod {self.pod_uid} to be registered", seconds=_SECONDS)

    def is_registered(self) -> bool:
        """Whether the kubelet would call this instance if it had no other."""
        known = self.node.kubelet.registered
        return any(each.endpoint == str(self.sockets.dra) and each.connected for each in known)

    def kill(self) -> None:
        """SIGKILL: no chance to clean up; returns once the kubelet has noticed, too."""
        self.running.kill()
        self.running.wait()
        self._wait_disconnected()

    def stop(self) -> int:
        """SIGTERM; returns the exit code once the kubelet has noticed, too."""
        self.running.terminate()
        code = self.running.wait(_SECONDS)
        self._wait_disconnected()
        return code

    def freeze(self) -> None:
        """SIGSTOP: it lives, holds what it holds, and answers nobody."""
        self.running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.running.send_signal(signal.SIGCONT)

    @property
    def running(self) -> Process:
        """The process that was started last."""
        if self.process is None:
            msg = f"the driver of pod {self.pod_uid} was not started"
            raise RuntimeError(msg)
        return self.process

    def lines(self, *words: str) -> list[str]:
        """Return the lines of its log that have all these words."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [line for line in lines if all(word in line for word in words)]

    def _wait_disconnected(self) -> None:
        wait_until(
            lambda: not self.is_registered(), "the kubelet to notice the end of a driver", seconds=_SECONDS
        )

    # ------------------------------------------------------------------ calls past the kubelet's choice

    def prepare(self, ref: ClaimRef, timeout: float = 45.0) -> tuple[PreparedDevice, ...]:
        """NodePrepareResources at this instance. Raises PrepareFailed, KubeletCallError."""
        endpoint = Endpoint(str(self.sockets.dra))
        try:
            answer = endpoint.prepare([ref], timeout)[ref.uid]
        finally:
            endpoint.close()
        if answer.error:
            raise PrepareFailed(answer.error)
        return answer.devices

    def unprepare(self, ref: ClaimRef, timeout: float = 45.0) -> None:
        """NodeUnprepareResources at this instance. Raises PrepareFailed, KubeletCallError."""
        endpoint = Endpoint(str(self.sockets.dra))
        try:
            error = endpoint.unprepare([ref], timeout)[ref.uid]
        finally:
            endpoint.close()
        if error:
            raise PrepareFailed(error)
