"""What publishing costs by the number of devices, and what an unchanged inventory costs: nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dra_common.cluster import connect, node_uid
from dra_common.model import Attribute, Capacity, Device, Quantity, Snapshot
from dra_common.publisher import Publisher
from dra_common.slices import ServerFeatures, to_slices
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.benchmark.figures import Figure, runs, timed

DEVICES = (8, 72, 512)
_RUNS = 15
_NODE, _DRIVER = "node-1", "gpu.intel.com"


def measure() -> Iterator[Figure]:
    """Build and publish pools of several sizes on a fake API server over HTTP."""
    for count in DEVICES:
        yield from _size(count)


def _size(count: int) -> Iterator[Figure]:
    snapshot = Snapshot(1, _devices(count, 0))
    features = ServerFeatures.of((1, 36))
    build = [
        timed(lambda: to_slices(snapshot, driver=_DRIVER, features=features)) * 1000 for _ in range(_RUNS)
    ]
    yield runs("slices", f"{count:3} devices, built", build, "ms")
    with tempfile.TemporaryDirectory() as folder, FakeApiServer() as server:
        server.create("Node", {"metadata": {"name": _NODE}})
        client = connect(str(server.kubeconfig(Path(folder) / "kubeconfig")))
        publisher = Publisher(client, driver=_DRIVER, node=_NODE, node_uid=partial(node_uid, client, _NODE))
        publisher.start()
        try:
            yield from _publish(server, publisher, count)
        finally:
            publisher.stop()
            client.close()


def _publish(server: FakeApiServer, publisher: Publisher, count: int) -> Iterator[Figure]:
    features = ServerFeatures.of((1, 36))

    def publish(version: int) -> float:
        contents = to_slices(
            Snapshot(version, _devices(count, version)), driver=_DRIVER, features=features
        ).contents
        began = time.perf_counter()
        publisher.publish(contents)
        server.wait_for(lambda: publisher.status().synced, timeout=30, what="the pool to be published")
        return (time.perf_counter() - began) * 1000

    yield Figure("publish", f"{count:3} devices, first time", publish(0), "ms")
    server.wait_for(lambda: server.watches, timeout=30, what="a watch")
    server.forget_requests()
    changes = [publish(version) for version in range(1, 4)]
    yield runs("publish", f"{count:3} devices, one changed", changes, "ms")
    yield Figure("publish", f"{count:3} devices, one changed", len(server.writes) / 3, "writes each")
    server.forget_requests()
    publish(3)
    yield Figure("publish", f"{count:3} devices, unchanged", len(server.requests), "requests", 0)


def _devices(count: int, version: int) -> tuple[Device, ...]:
    made = []
    for number in range(count):
        news = 0 if number else version
        attributes: dict[str, Attribute] = {"model": "Flex 170", "index": number, "version": news}
        made.append(
            Device(
                name=f"dev-{number:03}",
                attributes=attributes,
                capacity={"memory": Capacity(Quantity.mebibytes(16384))},
            )
        )
    return tuple(made)
