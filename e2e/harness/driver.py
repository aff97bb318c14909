"""A driver on a simulated machine: what it publishes and keeps, and everything that a test does to it."""

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.api import Json
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.node import SERVICE
from harness.release import GPU, Product, Release
from harness.waiting import wait_for

DRIVER = GPU.driver
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
PLUGINS = "/var/lib/kubelet/plugins"
CDI = "/var/run/cdi"
READY = 90.0
GRACE = 30.0
"""Seconds after which a kubelet deletes the ResourceSlices of a driver that does not answer."""


class Driver(Release):
    """One release of the chart, on one machine after the other."""

    def __init__(self, cluster: Cluster, product: Product = GPU) -> None:
        super().__init__(cluster, product)
        self.profile = ""

    def move_to(self, profile: str) -> None:
        """Have the driver on this simulated machine, installed anew if it is on another one."""
        if self.profile != profile:
            self.leave()
            self._values = (
                f"simulatedDevices.profile={profile}",
                "enableDRAExtendedResources=true",
                f"migrationClasses={{{self.product.migration}}}",
            )
            self.install(*self._values)
            self.profile = profile
        self.wait_ready()
        self.wait_published()

    def leave(self) -> None:
        """Take the driver away, from the node and from the cluster."""
        if self.profile:
            self.clean(*self._values)
            self.uninstall()
            self.profile = ""

    def change(self, *values: str, wait: bool = True) -> None:
        """Upgrade with these values besides those of the machine; without ``wait``, what comes of it is seen later."""
        if wait:
            self.upgrade(*self._values, *values)
        else:
            self._helm("upgrade", "--reset-values", *self._sets((*self._values, *values)))

    # What is there.

    def slices(self) -> list[Json]:
        """Read the driver's ResourceSlices."""
        return self.cluster.api.items(SLICES, fieldSelector=f"spec.driver={self.product.driver}")

    def devices(self) -> dict[str, Json]:
        """Read the published devices by name."""
        return {
            device["name"]: device for each in self.slices() for device in each["spec"].get("devices", [])
        }

    def has_extended_resources(self) -> bool:
        """Whether the API server keeps the name of an extended resource in a DeviceClass: not without its gate."""
        found = self.cluster.api.get(f"/apis/resource.k8s.io/v1/deviceclasses/{self.product.driver}")
        return "extendedResourceName" in found["spec"]

    def wait_published(self, timeout: float = READY) -> list[Json]:
        """Wait until the pool is complete and has devices; its slices."""

        def complete() -> list[Json]:
            found = self.slices()
            whole = found and found[0]["spec"]["pool"]["resourceSliceCount"] == len(found)
            return found if whole and self.devices() else []

        return wait_for(complete, f"ResourceSlices of {self.product.driver}", timeout)

    def pod(self) -> Json:
        """Read the driver's pod. Raises ``HarnessError`` if it is not the only one."""
        found = self.pods("kubelet-plugin")
        if len(found) != 1:
            raise HarnessError(f"{len(found)} pods of the driver where one was expected")
        return found[0]

    def wait_ready(self, timeout: float = READY) -> Json:
        """Wait until there is one pod of the driver and it is ready; the pod."""

        def ready() -> Json | None:
            found = [
                each for each in self.pods("kubelet-plugin") if "deletionTimestamp" not in each["metadata"]
            ]
            one = len(found) == 1 and _ready(found[0])
            return found[0] if one else None

        return wait_for(ready, "the driver's pod to be ready", timeout) or {}

    # Its simulated machine.

    def function(self, device: str) -> Path:
        """Return the folder of a published device in the machine's sysfs; its name begins with the PCI address."""
        domain, bus, slot, function, _ = device.split("-")
        return self.machine / f"sys/bus/pci/devices/{domain}:{bus}:{slot}.{function}"

    # What it keeps on the node.

    def records(self) -> dict[str, Json]:
        """Read the claims that the driver has, by UID."""
        folder = self.data / "claims"
        files = folder.glob("*.json") if folder.is_dir() else ()
        return {file.stem: json.loads(file.read_text())["record"] for file in files}

    def held(self) -> dict[str, str]:
        """Read which device, or share of one (``<device>/<share id>``), is held, and by which claim's UID."""
        folder = self.data / "held"
        links = (path for path in folder.rglob("*") if path.is_symlink())
        return {str(link.relative_to(folder)): str(link.readlink()) for link in links}

    def specs(self, uid: str = "") -> list[Path]:
        """Name the CDI files of a claim, or of all claims."""
        return sorted(self.cluster.path(CDI).glob(f"intel.com-{self.product.name}*{uid}.json"))

    @property
    def data(self) -> Path:
        """The driver's folder on the node."""
        return self.cluster.path(f"{PLUGINS}/{self.product.driver}")

    @property
    def machine(self) -> Path:
        """Folder of the simulated machine on the node."""
        return self.cluster.path(f"{PLUGINS}/{self.product.driver}-simulated")

    def wait_idle(self, timeout: float = 30) -> None:
        """Wait until no claim has anything on the node."""

        def idle() -> bool:
            left = [*self.records(), *self.held(), *self.specs()]
            assert not left, str(left)  # noqa: S101 # what is said if it is late
            return True

        wait_for(idle, "the driver to have no claim", timeout)

    # What a test does to it.

    def hardware(self, **request: str) -> None:
        """Do something to the simulated machine, as ``op="write", path=…, value=…`` of its control socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(READY)
            connection.connect(str(self.machine / "control.sock"))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                answer = json.loads(stream.readline())
        if not answer["ok"]:
            raise HarnessError(f"the simulated machine refuses {request}: {answer}")

    def container(self, pod: Json | None = None) -> str:
        """Give the id of the running container of the driver in containerd."""
        (status,) = (pod or self.pod())["status"]["containerStatuses"]
        return str(status["containerID"]).rpartition("/")[2]

    def pid(self, pod: Json | None = None) -> int:
        """Give the process id of the driver inside the node."""
        container = self.container(pod)
        rows = [line.split() for line in self.cluster.run("ctr", "tasks", "ls").splitlines()]
        return next(int(row[1]) for row in rows if row[0] == container)

    def connections(self) -> int:
        """Count the kubelet's connections to its DRA socket.

        The kernel lists the driver's end of each in the network namespace of who connected, with the socket's path.
        """
        established, sockets = "03", f"{PLUGINS}/{self.product.driver}/"
        rows = self.cluster.path("/proc/1/net/unix").read_text().splitlines()
        fields = [row.split() for row in rows]
        return sum(each[5] == established and each[-1].startswith(sockets) for each in fields[1:])

    def kill(self) -> None:
        """Let the driver die of SIGKILL; the kubelet starts its container again."""
        self.cluster.run("kill", "-KILL", str(self.pid()))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the driver stand still for a while, shorter than its probes allow: calls wait for it."""
        pid = str(self.pid())
        self.cluster.run("kill", "-STOP", pid)
        try:
            yield
        finally:
            self.cluster.run("kill", "-CONT", pid)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Have no driver on the node for a while; the simulated machine stays."""
        self._place({"e2e/nowhere": "true"})
        wait_for(lambda: not self.pods("kubelet-plugin"), "the driver's pod to be gone", READY)
        try:
            yield
        finally:
            self._place({"e2e/nowhere": None})
            self.wait_ready()

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Let a component of the cluster be frozen for a while."""
        self.cluster.control.pause(name)
        try:
            yield
        finally:
            self.cluster.control.resume(name)

    def _place(self, selector: dict[str, str | None]) -> None:
        body = {"spec": {"template": {"spec": {"nodeSelector": selector}}}}
        self.cluster.api.merge(f"/apis/apps/v1/namespaces/{self.namespace}/daemonsets/{self.daemonset}", body)

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Let the driver, and nobody else, be without the API server for a while: its packets have no way there."""
        entering = ("nsenter", f"--target={self.pid()}", "--net", "ip", "route")
        route = ("unreachable", f"{SERVICE}/32")
        self.cluster.run(*entering, "add", *route)
        try:
            yield
        finally:
            self.cluster.run(*entering, "del", *route)


def _ready(pod: Json) -> bool:
    conditions: Sequence[Json] = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def claim(name: str, *requests: Json, constraints: Sequence[Json] = ()) -> Json:
    """Describe a ResourceClaim."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": name},
        "spec": {"devices": _devices(requests, constraints)},
    }


def template(
    name: str, *requests: Json, constraints: Sequence[Json] = (), config: Sequence[Json] = ()
) -> Json:
    """Describe a ResourceClaimTemplate."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name},
        "spec": {"spec": {"devices": _devices(requests, constraints, config)}},
    }


def _devices(requests: Sequence[Json], constraints: Sequence[Json], config: Sequence[Json] = ()) -> Json:
    optional = {"constraints": list(constraints), "config": list(config)}
    return {"requests": list(requests)} | {name: value for name, value in optional.items() if value}


def exactly(expression: str = "", *, name: str = "gpu", device_class: str = DRIVER, **more: object) -> Json:
    """Describe a request of a claim; ``expression`` is a CEL selector."""
    return {"name": name, "exactly": exact(expression, device_class, **more)}


def exact(expression: str = "", device_class: str = DRIVER, **more: object) -> Json:
    """Describe what a request or an alternative of one wants."""
    selectors = {"selectors": [{"cel": {"expression": expression}}]} if expression else {}
    return {"deviceClassName": device_class, **selectors, **more}
