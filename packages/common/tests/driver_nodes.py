"""A simulated node with a real driver on it: what the tests of all drivers have in common."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef
from dra_common.simulate.client import ControlClient
from dra_common.testing.allocator import Allocation
from dra_common.testing.forks import Forker
from dra_common.testing.node import PrepareFailed, SimulatedNode
from dra_common.testing.waiting import wait_until


@contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a folder whose path leaves room for the sockets below it (107 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix="dra"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


NODE = "node-1"


@dataclass(slots=True)
class Program:
    """A driver's program, on nodes of its own.

    Args:
        module: its package.
        driver: its name.
        request: how the one request of a claim is called.
    """

    module: str
    driver: str
    request: str
    _forkers: list[Forker] = field(default_factory=list)

    def warm(self) -> Forker:
        """A process that has imported the driver, from which others are forked until this process ends."""
        if not self._forkers:
            modules = (f"{self.module}.driver", f"{self.module}.simulation", "dra_common.simulate.run")
            forker = Forker(*modules).__enter__()
            atexit.register(forker.__exit__, None, None, None)
            self._forkers.append(forker)
        return self._forkers[0]

    @contextmanager
    def machine_only(self, profile: str, *, fresh: bool = False, **more: Any) -> Iterator[SimulatedNode]:
        """Yield a node whose driver is not started; no process of it outlives the block.

        ``fresh``: its processes are started from nothing, as a container runtime does.
        """
        more = {"module": self.module, "driver": self.driver, "profile": profile, "name": NODE, **more}
        forker = None if fresh else self.warm()
        with short_folder() as root, SimulatedNode(root, forker=forker, **more) as node:
            yield node

    @contextmanager
    def running(self, profile: str, *arguments: str, **more: Any) -> Iterator[SimulatedNode]:
        """Yield a node whose driver has registered and published."""
        with self.machine_only(profile, **more) as node:
            node.start_driver(*arguments)
            node.wait_published()
            yield node

    def cli(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command as its own process, with none of our own settings in its environment."""
        given = {**SimulatedNode.environment(), "COLUMNS": "200", **environment}
        return self.warm().run(self.module, *arguments, environment=given)

    def spec(self, *selectors: str, **exactly: Any) -> dict[str, Any]:
        """A claim with one request."""
        wanted = {
            "deviceClassName": self.driver,
            "selectors": [{"cel": {"expression": selector}} for selector in selectors],
            **exactly,
        }
        return {"devices": {"requests": [{"name": self.request, "exactly": wanted}]}}

    def allocated(self, node: SimulatedNode, claim: str, *devices: str, **result: Any) -> ClaimRef:
        """Create a claim with an allocation written past the scheduler."""
        ref = node.create_claim(claim, self.spec())
        common = {"request": self.request, "driver": self.driver, "pool": node.name}
        results = [{**common, "device": device, **result} for device in devices]
        put_status(node, ref, {"allocation": {"devices": {"results": results}}})
        return ref

    def devices(self, node: SimulatedNode) -> list[dict[str, Any]]:
        """What ``devices --json`` says: an independent look at the same machine."""
        shown = self.cli("devices", "--json", f"--simulated-root={node.machine}")
        assert shown.returncode == 0, shown.stderr
        found: list[dict[str, Any]] = json.loads(shown.stdout)
        return found


def given(node: SimulatedNode, name: str, spec: Mapping[str, Any]) -> ClaimRef:
    """Create a claim, and allocate it as the scheduler does."""
    ref = node.create_claim(name, spec)
    outcome = node.allocate(ref)
    assert isinstance(outcome, Allocation), outcome
    return ref


def names(node: SimulatedNode) -> list[str]:
    return [device["name"] for device in node.devices()]


def taints(node: SimulatedNode, name: str) -> list[str]:
    """Keys of the published taints of one device."""
    (device,) = (device for device in node.devices() if device["name"] == name)
    return [taint["key"].removeprefix(f"{node.driver}/") for taint in device.get("taints", ())]


def put_status(node: SimulatedNode, ref: ClaimRef, status: Mapping[str, Any]) -> None:
    claim = node.api.get("ResourceClaim", ref.name, ref.namespace)
    assert claim is not None
    node.api.put("ResourceClaim", {**claim, "status": dict(status)})


def refusal(node: SimulatedNode, ref: ClaimRef) -> str:
    """Why the driver does not prepare this claim."""
    try:
        answer = node.prepare(ref)
    except PrepareFailed as error:
        return str(error)
    raise AssertionError(f"claim {ref} was prepared: {answer}")


def control(node: SimulatedNode, op: str, **fields: str) -> None:
    """Do something to the machine itself."""
    answer = ControlClient(node.machine).request(op, **fields)
    assert answer["ok"], answer


def reboot(node: SimulatedNode) -> None:
    """The machine starts again; the driver is not running, and /var/run is a tmpfs."""
    control(node, "reboot")
    for file in node.cdi.iterdir():
        file.unlink()


def write(node: SimulatedNode, path: str, value: str) -> None:
    """Write to the machine's sysfs as an administrator would."""
    control(node, "write", path=path, value=value)


@contextmanager
def virtual_machine(node: SimulatedNode, bdf: str) -> Iterator[None]:
    """Have a function open through VFIO, past Kubernetes; afterwards the simulated kernel knows of the end, too."""
    client = ControlClient(node.machine)
    devices = node.machine / "sys" / "bus" / "pci" / "devices"
    group = (devices / bdf / "iommu_group").resolve().name
    with client.connect() as connection, connection.makefile("rwb") as stream:
        assert client.exchange(stream, "open", node=f"vfio/{group}", bdf=bdf)["ok"]
        yield
    wait_until(lambda: (devices / bdf / "enable").read_text().strip() == "0", "the machine to be gone")


def lines(node: SimulatedNode) -> list[str]:
    """What the driver has logged, without a line that it is still writing."""
    return node.log.read_text().rpartition("\n")[0].splitlines()


def json_lines(node: SimulatedNode, since: int = 0) -> list[dict[str, Any]]:
    """The driver's log, of a driver started with ``--logging-format=json``."""
    return [json.loads(line) for line in lines(node)[since:]]


def host_paths(edits: Mapping[str, Any]) -> list[str]:
    """Host paths of the device nodes that a container gets."""
    return [str(node.get("hostPath", path)) for path, node in edits.items()]


def is_alive(node: SimulatedNode) -> bool:
    return node.process is not None and node.process.poll() is None


def assert_no_surprise(node: SimulatedNode, expected: Sequence[str] = ()) -> None:
    """Nothing that the driver logged is an error nobody foresaw, and no warning is one that the test did not mean."""
    text = node.log.read_text()
    assert "Traceback" not in text, text
    loud = [line for line in text.splitlines() if " WARNING " in line or " ERROR " in line]
    surprising = [line for line in loud if not any(each in line for each in expected)]
    assert not surprising, surprising
