"""A publisher on a fake API server over real HTTP, shared by its tests."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dra_common.cluster import ClusterClient, connect, node_uid
from dra_common.ports import ApiServer, EventStream
from dra_common.publisher import SLICES, Dropped, Publisher, Timing
from dra_common.slices import SliceContent
from dra_common.testing.apiserver import FakeApiServer
from notebook import Notebook

DRIVER, NODE = "gpu.intel.com", "n1"
QUICK = Timing(settle=0.01, first=0.02, most=0.1, burst=1000)
"""Nobody is paced: tests of many turns are about something else."""
TAINT = {"key": "gpu.intel.com/unhealthy", "effect": "NoSchedule"}


def part(*names: str, **fields: Any) -> SliceContent:
    return SliceContent(tuple({"name": name, **fields} for name in names))


class Bench:
    """One server, one client, one node; publishers are made on it."""

    def __init__(self, server: FakeApiServer, client: ClusterClient) -> None:
        self.server, self.client = server, client
        self.dropped: list[Dropped] = []
        self.notes = Notebook()

    @contextmanager
    def running(self, timing: Timing = QUICK, api: ApiServer | None = None) -> Iterator[Publisher]:
        publisher = Publisher(
            api or self.client,
            driver=DRIVER,
            node=NODE,
            node_uid=partial(node_uid, self.client, NODE),
            on_dropped=self.dropped.append,
            timing=timing,
            telemetry=self.notes,
        )
        publisher.start()
        try:
            yield publisher
        finally:
            publisher.stop()

    def publish(self, publisher: Publisher, *contents: SliceContent) -> None:
        """Publish and wait until the server holds it and a watch is there to guard it."""
        publisher.publish(contents)
        self.settled(publisher)

    def settled(self, publisher: Publisher) -> None:
        self.wait(
            lambda: publisher.status().synced and self.server.watches, "a pool that is in order and watched"
        )

    def heard(self, publisher: Publisher) -> int:
        """Wait until the publisher's watch has told all there is, by a bookmark; returns the version it is at."""
        last = self.server.put("Node", {"metadata": {"name": "elsewhere"}})
        version = int(last["metadata"]["resourceVersion"])

        def caught_up() -> bool:
            # Again and again: one may go to a watch that is just ending.
            self.server.bookmark()
            return int(publisher._watcher._version or 0) >= version

        self.wait(caught_up, "a bookmark to be heard")
        return version

    def wait(self, predicate: Callable[[], object], what: str) -> None:
        self.server.wait_for(predicate, timeout=60, what=what)

    def own(self) -> list[dict[str, Any]]:
        return [item for item in self.server.objects("ResourceSlice") if item["spec"]["driver"] == DRIVER]

    def devices(self) -> list[str]:
        return [device["name"] for item in self.own() for device in item["spec"].get("devices", ())]

    def pools(self) -> set[tuple[int, int]]:
        return {
            (item["spec"]["pool"]["generation"], item["spec"]["pool"]["resourceSliceCount"])
            for item in self.own()
        }

    def whole(self, *devices: str) -> bool:
        """Whether a consumer sees a complete pool with exactly these devices."""
        return self.devices() == list(devices) and [count for _, count in self.pools()] == [len(self.own())]

    def holds(self, *contents: SliceContent) -> bool:
        return [item["spec"]["devices"] for item in self.own()] == [
            list(content.devices) for content in contents
        ]

    def wipe(self) -> None:
        """What every kubelet start does: DeleteCollection of all slices of its node."""
        url = f"{self.server.url}{SLICES}?fieldSelector=spec.nodeName%3D{NODE}"
        with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60) as answer:  # noqa: S310
            assert answer.status == 200

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the first of our slices, as a human with kubectl does."""
        item = self.own()[0]
        change(item["spec"])
        self.server.put("ResourceSlice", item)

    def asked(self) -> list[str]:
        """The requests since the log was emptied, without watches."""
        return [request.method for request in self.server.requests if not request.is_watch]


@contextmanager
def bench(tmp_path: Path, **options: Any) -> Iterator[Bench]:
    with FakeApiServer(**options) as server:
        server.create("Node", {"metadata": {"name": NODE}})
        client = connect(str(server.kubeconfig(tmp_path / "kubeconfig")))
        try:
            yield Bench(server, client)
        finally:
            client.close()


class Between:
    """An API server with somebody in between; this one changes nothing."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api

    def get(self, path: str, *, timeout: float = 10.0) -> dict[str, Any]:
        return self.api.get(path, timeout=timeout)

    def list(
        self, path: str, *, query: Mapping[str, str] | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        return self.api.list(path, query=query, timeout=timeout)

    def create(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        return self.api.create(path, body, dry_run=dry_run)

    def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self.api.replace(path, body)

    def delete(self, path: str, *, uid: str | None = None, resource_version: str | None = None) -> None:
        self.api.delete(path, uid=uid, resource_version=resource_version)

    def watch(
        self, path: str, *, query: Mapping[str, str] | None = None, resource_version: str
    ) -> EventStream:
        return self.api.watch(path, query=query, resource_version=resource_version)

    def close(self) -> None:
        self.api.close()
