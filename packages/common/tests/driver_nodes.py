"""A simulated node with a real driver on it: what the tests of all drivers have in common."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef, PreparedDevice
from dra_common.simulate.client import ControlClient
from dra_common.testing.allocator import Allocation
from dra_common.testing.cdi import ResolvedEdits
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


def given(node: SimulatedNode, name: str, spec: Mapping[str, Any]) -> ClaimRef:
    """Create a claim, and allocate it as the scheduler does."""
    ref = node.create_claim(name, spec)
    outcome = node.allocate(ref)
    assert isinstance(outcome, Allocation), outcome
    return ref


def container(node: SimulatedNode, answer: Sequence[PreparedDevice], request: str = "") -> ResolvedEdits:
    """What a container gets that names this request of the claim, or none and so uses all of it: as kubelets do."""
    return node.resolve(
        [each for each in answer if not (request and each.requests) or request in each.requests]
    )


def metadata(node: SimulatedNode, edits: ResolvedEdits, path: str) -> dict[str, Any]:
    """What a container reads in its metadata file for ``path``, a request: the first object of the stream."""
    mount = edits.mounts[f"/var/run/kubernetes.io/dra-device-attributes/{path}/{node.driver}-metadata.json"]
    assert mount["options"] == ["ro", "bind"]
    assert str(node.state) in mount["hostPath"]
    found, _ = json.JSONDecoder().raw_decode(Path(mount["hostPath"]).read_text())
    assert found["apiVersion"] == "metadata.resource.k8s.io/v1beta1"
    read: dict[str, Any] = found
    return read


def told(node: SimulatedNode, ref: ClaimRef) -> list[dict[str, Any]]:
    """What the claim's status says of its devices."""
    found = node.api.get("ResourceClaim", ref.name, ref.namespace) or {}
    devices: list[dict[str, Any]] = found.get("status", {}).get("devices", [])
    return devices


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


def contents(node: SimulatedNode) -> dict[str, str]:
    """The records and CDI files of claims, with their text."""
    return {name: (node.root / name).read_text() for name in node.leftovers() if name.endswith(".json")}


def record_of(node: SimulatedNode, ref: ClaimRef) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((node.state / f"claims/{ref.uid}.json").read_text())["record"]
    return record


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
