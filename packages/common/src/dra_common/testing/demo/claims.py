"""What stories of all drivers say and do with claims on devices that they choose by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dra_common.driver import ConfigKind
from dra_common.model import ClaimRef
from dra_common.pci import split_name
from dra_common.simulate import ControlClient
from dra_common.testing.allocator import Allocation, Unsatisfiable
from dra_common.testing.demo.narrator import Narrator
from dra_common.testing.node import SimulatedNode


def bdf(device: str) -> str:
    """Return the PCI address that is in the name of a device."""
    place = split_name(device)
    return place[0] if place else ""


def at(device: str) -> str:
    """Return a selector of one device."""
    return f'device.attributes["resource.kubernetes.io"].pciBusID == "{bdf(device)}"'


def spec(
    driver: str,
    selector: str = "",
    config: Mapping[str, Any] | None = None,
    **exactly: Any,  # noqa: ANN401 - fields of the API
) -> dict[str, Any]:
    """Return a claim with one request, which is named as the driver is.

    Args:
        driver: the driver's name, which its DeviceClass has too.
        selector: what devices have to be, in CEL; empty = any.
        config: opaque parameters.
        exactly: more fields of the request.
    """
    chosen = {"selectors": [{"cel": {"expression": selector}}]} if selector else {}
    wanted = {"deviceClassName": driver, **chosen, **exactly}
    devices: dict[str, Any] = {"requests": [{"name": driver.partition(".")[0], "exactly": wanted}]}
    if config:
        devices["config"] = [{"opaque": {"driver": driver, "parameters": dict(config)}}]
    return {"devices": devices}


def opaque(kind: ConfigKind, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return opaque parameters of a kind."""
    return {"apiVersion": kind.api_version, "kind": kind.kind, **fields}


def device(node: SimulatedNode, name: str) -> Mapping[str, Any]:
    """Return a published device."""
    (found,) = (one for one in node.devices() if one["name"] == name)
    return found


def result(node: SimulatedNode, ref: ClaimRef) -> Mapping[str, Any]:
    """Return the one result of a claim's allocation."""
    claim: Any = node.api.get("ResourceClaim", ref.name, ref.namespace)
    (found,) = claim["status"]["allocation"]["devices"]["results"]
    return dict(found)


def allocated(node: SimulatedNode, narrator: Narrator, ref: ClaimRef, statement: str = "") -> None:
    """Have the allocator choose devices, and state that it could."""
    outcome = node.allocate(ref)
    narrator.check(
        statement or f"claim {ref.name} is allocated", isinstance(outcome, Allocation), str(outcome)
    )


def pending(node: SimulatedNode, narrator: Narrator, ref: ClaimRef, statement: str = "") -> str:
    """State that the allocator finds nothing; return why."""
    outcome = node.allocate(ref)
    narrator.check(
        statement or f"claim {ref.name} stays pending", isinstance(outcome, Unsatisfiable), str(outcome)
    )
    return str(outcome)


def take_back(node: SimulatedNode, narrator: Narrator, ref: ClaimRef) -> None:
    """End a claim, and state that nothing of it is left."""
    with narrator.waiting(f"claim {ref.name} ends"):
        node.unprepare(ref)
    narrator.check(f"claim {ref.name} is unprepared", not node.leftovers_of(ref), node.leftovers())
    node.delete_claim(ref)


def hand(node: SimulatedNode, operation: str, **fields: str) -> None:
    """Do something to the simulated machine."""
    ControlClient(node.machine).request(operation, **fields)


def nothing_left(node: SimulatedNode, narrator: Narrator) -> None:
    """State that no claim left anything, and that the driver ends in order."""
    narrator.check("nothing is left", node.leftovers() == [], node.leftovers())
    narrator.check("the driver ends with exit code 0 on SIGTERM", node.stop_driver() == 0)
