"""The kubelet's folders of a node, and what runs in front of and behind the sockets in them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dra_common.kubelet import KubeletPlugin
from dra_common.ports import ClaimService, HealthFeed
from dra_common.readiness import Readiness
from dra_common.telemetry import SILENT, Counts
from dra_common.testing.kubelet.fake import FakeKubelet
from dra_common.testing.kubelet.health import HealthRules

POOL: Final = "node-1"


class KubeletNode:
    """Makes ``plugins`` and ``plugins_registry`` below ``root``; what it started is stopped at the end of the block.

    Args:
        root: an empty folder with a short path, since socket paths have at most 107 bytes.
        claims: what the plugins serve.
        driver: name of the driver.

    Attributes:
        counts: is told of results by plugins made from now on.
        health: what plugins made from now on know of the health of their devices.
    """

    def __init__(self, root: Path, claims: ClaimService, driver: str = "gpu.example.com") -> None:
        self.driver: Final = driver
        self.claims = claims
        self.plugins: Final = root / "plugins"
        self.registry: Final = root / "plugins_registry"
        self.dra_socket: Final = self.plugins / driver / "dra.sock"
        self.registration_socket: Final = self.registry / f"{driver}-reg.sock"
        self.counts: Counts = SILENT
        self.health: HealthFeed | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.plugins.mkdir()
        self.registry.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def make_plugin(
        self, readiness: Readiness | None = None, workers: int = 16, pod_uid: str = ""
    ) -> KubeletPlugin:
        """Make a plugin that is not started."""
        plugin = KubeletPlugin(
            driver_name=self.driver,
            plugin_dir=self.dra_socket.parent,
            registry_dir=self.registry,
            claims=self.claims,
            readiness=readiness or Readiness(),
            pod_uid=pod_uid,
            workers=workers,
            counts=self.counts,
            health=self.health,
            pool=POOL,
        )
        self._stack.callback(plugin.stop, grace=0)
        return plugin

    def start_plugin(
        self, readiness: Readiness | None = None, workers: int = 16, pod_uid: str = ""
    ) -> KubeletPlugin:
        """Make a plugin and start it. Raises KubeletError."""
        plugin = self.make_plugin(readiness, workers, pod_uid)
        plugin.start()
        return plugin

    def start_kubelet(self, call_timeout: float = 45.0, health: HealthRules | None = None) -> FakeKubelet:
        """Start a kubelet that tries failed registrations again soon."""
        kubelet = FakeKubelet(self.registry, call_timeout=call_timeout, retry_delay=0.05, health=health)
        return self._stack.enter_context(kubelet)
