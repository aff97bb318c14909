"""A second driver beside the GPUs': a process of the node whose devices are knobs, and which misbehaves when told."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.api import Json
from harness.closing import Closing
from harness.cluster import Cluster
from harness.components import CONF
from harness.driver import CDI, PLUGINS, SLICES
from harness.node import DISK, NAME
from harness.waiting import wait_for

KNOB = "knob.example.com"
DEVICES = ("a", "b")
STARTED = 60.0
PLACES = ("sys/knobs", "dev", "proc/sys/kernel/random", "orders")


class Visitor(Closing):
    """One driver, with a DeviceClass of its name; instances of it come and go, and nothing is left at the end."""

    def __init__(self, cluster: Cluster, name: str = KNOB) -> None:
        self.cluster, self.name = cluster, name
        self._instances: set[str] = set()
        self._folder = DISK / "visitor"
        for place in PLACES:
            cluster.path(str(self._folder / place)).mkdir(parents=True, exist_ok=True)
        for device in DEVICES:
            cluster.path(str(self._folder / "sys/knobs" / device)).write_text("1\n")
            cluster.run("mknod", str(self._folder / "dev" / device), "c", "1", "3")
        boot_id = cluster.path(str(self._folder / "proc/sys/kernel/random/boot_id"))
        boot_id.write_text(f"{cluster.boot_id}\n")
        selector = {"cel": {"expression": f'device.driver == "{name}"'}}
        device_class = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": name}}
        cluster.apply(device_class | {"spec": {"selectors": [selector]}})

    def start(self, instance: str = "") -> None:
        """Start an instance, for the pod of this UID, and wait until the kubelet has registered it."""
        program = self._process(instance)
        log = self.cluster.settings.logs / f"{program}.log"
        before = log.stat().st_size if log.exists() else 0
        uid = [f"--pod-uid={instance}"] if instance else []
        self.cluster.sandbox.start(
            program, self._command("run", "--healthcheck-port=-1", *self._roots(), *uid)
        )
        self._instances.add(instance)

        def registered() -> bool:
            said = log.read_bytes()[before:].decode()
            assert f"the kubelet registered {self.name}" in said, said[-1000:]  # noqa: S101 # what is said if it is late
            return True

        wait_for(registered, f"the kubelet to register {self.name}", STARTED)

    def stop(self, instance: str = "") -> None:
        """End an instance in good order."""
        self._instances.remove(instance)
        program = self._process(instance)
        self.cluster.sandbox.signal(program, signal.SIGTERM)
        wait_for(lambda: self.cluster.sandbox.exit_code(program) is not None, f"{program} to end", STARTED)

    def close(self) -> None:
        """End its instances, and take everything of it off the node and out of the cluster."""
        for instance in sorted(self._instances):
            self.stop(instance)
        self.cluster.run(*self._command("cleanup"))
        self.cluster.api.delete(f"/apis/resource.k8s.io/v1/deviceclasses/{self.name}")
        self.cluster.run("rm", "-r", str(self._folder))

    # What is there.

    def slices(self) -> list[Json]:
        """Read its ResourceSlices."""
        return self.cluster.api.items(SLICES, fieldSelector=f"spec.driver={self.name}")

    def claims(self) -> set[str]:
        """Give the UIDs of the claims that it has records of."""
        folder = self.cluster.path(f"{PLUGINS}/{self.name}/claims")
        return {path.stem for path in folder.glob("*.json")}

    def specs(self) -> list[Path]:
        """Name its CDI files."""
        return sorted(self.cluster.path(CDI).glob("example.com-*"))

    def sockets(self) -> list[str]:
        """Name what it has in the folder where the kubelet looks for drivers."""
        return [path.name for path in self.cluster.path("/var/lib/kubelet/plugins_registry").iterdir()]

    def level(self, device: str) -> int:
        """Read what a knob is set to."""
        return int(self.cluster.path(str(self._folder / "sys/knobs" / device)).read_text())

    # What it is told.

    @contextmanager
    def failing(self, *what: str) -> Iterator[None]:
        """Let steps fail for a while, such as ``apply:a`` and ``revert:a``."""
        with self._ordered("fail", " ".join(what)):
            yield

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """Let answers to the kubelet be without any claim for a while."""
        with self._ordered("skip"):
            yield

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Let whoever prepares wait, in the middle of its work."""
        with self._ordered("hold"):
            yield

    def wait_entered(self) -> None:
        """Wait until somebody prepares while we are holding."""
        wait_for(self._order("entered").exists, f"{self.name} to be in the middle of a call", STARTED)

    @contextmanager
    def _ordered(self, name: str, text: str = "") -> Iterator[None]:
        order = self._order(name)
        order.write_text(text)
        try:
            yield
        finally:
            order.unlink()

    def _order(self, name: str) -> Path:
        return self.cluster.path(str(self._folder / "orders" / name))

    def _process(self, instance: str) -> str:
        return f"visitor-{instance}" if instance else "visitor"

    def _command(self, action: str, *options: str) -> list[str]:
        environment = {
            "PYTHONPATH": ":".join(filter(None, sys.path)),
            "PYTHONUNBUFFERED": "1",
            "VISITOR_NAME": self.name,
            "VISITOR_ORDERS": str(self._folder / "orders"),
        }
        settings = (f"{name}={value}" for name, value in environment.items())
        program = [sys.executable, "-m", "harness.visitor_program", action]
        cluster = [f"--node-name={NAME}", f"--kubeconfig={CONF / 'admin.kubeconfig'}"]
        return ["/usr/bin/env", *settings, *program, *cluster, *options]

    def _roots(self) -> Iterator[str]:
        for name, place in {"sysfs": "sys", "devfs": "dev", "procfs": "proc", "cdi-devfs": "dev"}.items():
            yield f"--{name}-root={self._folder / place}"


def turned(driver: str, level: int) -> Json:
    """Describe the configuration of a claim that turns the knobs it gets."""
    parameters = {"apiVersion": f"{KNOB}/v1", "kind": "KnobConfig", "level": level}
    return {"opaque": {"driver": driver, "parameters": parameters}}
