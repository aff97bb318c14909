"""The product's way from a kernel event to what is published, on this kernel, and a record of what it did."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from dra_common.driver import Discovery, Published
from dra_common.hosts import open_host
from dra_common.hotplug import KernelUevents
from dra_common.inventory import Inventory
from dra_common.model import ParentMode, Snapshot
from dra_common.ports import Host, Uevent
from dra_common.reconciler import Reconciler, Timing
from dra_common.settings import HostSettings
from dra_common.testing.waiting import wait_until

SEQNUM = Path("/sys/kernel/uevent_seqnum")
TIMING = Timing(rescan=3600)
"""The product's, but that nothing looks unless it is rung, or has a loss to confirm."""


class Heard(KernelUevents):
    """Keeps what it hands on."""

    heard: list[Uevent]

    def events(self) -> Iterator[Uevent]:
        self.heard = []
        for event in super().events():
            self.heard.append(event)
            yield event


class Looker(Protocol):
    """As much of a driver as a reconciler needs."""

    name: str

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[Any]:
        """Look at the machine."""

    def publish(self, hardware: Mapping[str, Any], modes: Mapping[str, ParentMode]) -> Published:
        """Say what is published of it."""


class Watch:
    """A reconciler with a driver, from :meth:`start` to :meth:`stop`.

    Attributes:
        looks: for each look, how many events this kernel had sent when it began.
        published: what each new snapshot has, device name -> attributes.
        problems: what the last look could not read.
    """

    def __init__(self, driver: Looker, source: KernelUevents, host: Host | None = None) -> None:
        self.looks: list[int] = []
        self.published: list[Mapping[str, Mapping[str, object]]] = []
        self.problems: tuple[str, ...] = ()
        self.name = driver.name
        self._driver = driver
        self._loop = Reconciler(
            self,  # type: ignore[arg-type]  # a Looker
            host or open_host(HostSettings()),
            Inventory(driver.name),
            publish=self._take,
            held=frozenset,
            uevents=source,
            timing=TIMING,
        )

    def start(self) -> None:
        """Look, subscribe, and look again, as what happened in between was not heard."""
        self._loop.start()
        wait_until(lambda: len(self.looks) == 2, "the look that answers the subscription")

    def stop(self) -> None:
        """End it."""
        self._loop.stop()
        assert self._loop.why_dead() == ""

    def discover(self, host: Host, only: Collection[str] | None = None) -> Discovery[Any]:
        """Look as the driver does."""
        assert only is None
        self.looks.append(int(SEQNUM.read_text()))
        found = self._driver.discover(host)
        self.problems = found.problems
        return found

    def publish(self, hardware: Mapping[str, Any], modes: Mapping[str, ParentMode]) -> Published:
        """Publish as the driver does."""
        return self._driver.publish(hardware, modes)

    @property
    def devices(self) -> Mapping[str, Mapping[str, object]]:
        """What is published now."""
        return self.published[-1]

    def until(self, devices: Collection[str], last: int) -> None:
        """Wait until these are published, after a look that began after the kernel's event with this number."""
        wait_until(
            lambda: set(self.devices) == set(devices), f"{sorted(devices)} instead of {sorted(self.devices)}"
        )
        wait_until(lambda: self._looked_since(last), f"a look after event {last}")

    def _looked_since(self, event: int) -> bool:
        return any(began >= event for began in self.looks[: self._loop.reconciles])

    def _take(self, snapshot: Snapshot) -> None:
        self.published.append({device.name: device.attributes for device in snapshot.devices})


class Counter:
    """How often something was looked at since it was made."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._before = len(watch.looks)
        self._began = time.monotonic()

    @property
    def looks(self) -> int:
        """Looks so far."""
        return len(self._watch.looks) - self._before

    @property
    def most(self) -> float:
        """How many there can be: each is preceded by a moment without a ring."""
        return 2 + (time.monotonic() - self._began) / TIMING.quiet
