"""A cluster with the driver on a large machine, its records on a disk, and claims that have devices."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dra_common.model import ClaimRef
from dra_common.testing.process import wait_at_rest
from harness.api import Json
from harness.cluster import Cluster
from harness.driver import DRIVER, PLUGINS, Driver, claim, exactly
from harness.namespace import Namespace
from harness.node import NAME
from harness.release import build_image
from harness.settings import Settings
from harness.waiting import wait_for

from bench.caller import Caller

PROFILE = "large"
DISK = "disk-"
CLAIMS = "resource.k8s.io/v1/resourceclaims"
WRITERS = 4
GONE = 180.0
# Probes of the kubelet, one in two seconds.
PROBES = 0.03


@dataclass(frozen=True, slots=True)
class World:
    """What is measured.

    Args:
        cluster: a node with the driver; nobody else uses it.
        driver: as installed by its chart.
        disk: the folder on the host in which the driver keeps its records.
        devices: names of what it publishes.
    """

    cluster: Cluster
    driver: Driver
    disk: Path
    devices: tuple[str, ...]

    def pid(self) -> int:
        """Return the driver's process id on the host."""
        return self.cluster.sandbox.host_pid(self.driver.pid())

    def settle(self) -> None:
        """Wait until the driver has nothing to do."""
        self.driver.wait_idle()
        wait_at_rest(self.pid(), most=PROBES)

    @contextmanager
    def caller(self) -> Iterator[Caller]:
        """Connect to the driver's socket."""
        (socket,) = self.driver.data.glob("dra*.sock")
        with Caller(socket) as made:
            yield made

    @contextmanager
    def namespace(self) -> Iterator[Namespace]:
        """Have a namespace for a while; its pods and claims are gone afterwards."""
        made = Namespace(self.cluster, f"bench-{os.urandom(3).hex()}")
        try:
            yield made
        finally:
            made.delete(GONE)

    @contextmanager
    def claims(self, count: int) -> Iterator[list[ClaimRef]]:
        """Have claims that are allocated one device each, one device after the other, for a while."""
        devices = [self.devices[number % len(self.devices)] for number in range(count)]
        with self.namespace() as namespace, ThreadPoolExecutor(WRITERS) as pool:
            yield list(pool.map(lambda each: _allocated(namespace, *each), enumerate(devices)))


def _allocated(namespace: Namespace, number: int, device: str) -> ClaimRef:
    """Create a claim and write down in its status what a scheduler would."""
    api, path = namespace.cluster.api, namespace.path(CLAIMS)
    made: Json = api.create(path, claim(f"claim-{number}", exactly()))
    result = {"request": "gpu", "driver": DRIVER, "pool": NAME, "device": device}
    made["status"] = {"allocation": {"devices": {"results": [result]}}}
    name = made["metadata"]["name"]
    api.replace(f"{path}/{name}/status", made)
    return ClaimRef(namespace.name, name, made["metadata"]["uid"])


@contextmanager
def world(settings: Settings, folder: Path) -> Iterator[World]:
    """Make a cluster, install the driver, and wait until it has nothing to do; ``folder`` is on a disk.

    What a run that was killed has left in the folder goes.
    """
    for left in folder.glob(f"{DISK}*"):
        _removed(left)
    disk = Path(tempfile.mkdtemp(prefix=DISK, dir=folder))
    try:
        with Cluster(settings) as cluster:
            # What plays the node's disk is memory, on which nothing waits for fsync.
            cluster.run("mkdir", "-p", PLUGINS)
            cluster.run("mount", "--bind", str(disk), PLUGINS)
            cluster.load_image(build_image())
            driver = Driver(cluster)
            driver.move_to(PROFILE)
            here = World(cluster, driver, disk, tuple(sorted(driver.devices())))
            here.settle()
            yield here
    finally:
        # Of a cluster whose end was cut short, by a signal, something may write a little longer.
        wait_for(lambda: _removed(disk), f"{disk} to be gone")


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
