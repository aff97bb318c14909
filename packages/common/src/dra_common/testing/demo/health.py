"""What stories of all drivers say of health: in ResourceSlices, and in the status of pods."""

from __future__ import annotations

from dra_common.testing.demo.claims import device
from dra_common.testing.demo.narrator import Narrator
from dra_common.testing.node import SimulatedNode


def published(node: SimulatedNode, name: str) -> tuple[str, str]:
    """Return the attribute ``health`` of a device, and the value of the taint."""
    found = device(node, name)
    taints = [taint["value"] for taint in found.get("taints", ()) if taint["key"] == taint_key(node)]
    return str(found["attributes"]["health"]["string"]), "".join(taints)


def seen(node: SimulatedNode, name: str) -> tuple[str, str]:
    """Return what the status of a pod with this device says: health and message."""
    found = node.kubelet.health(node.driver, node.name, name)
    return found.status, found.message


def taint_key(node: SimulatedNode) -> str:
    """Return the key of the taint of an unhealthy device."""
    return f"{node.driver}/unhealthy"


def wait(node: SimulatedNode, narrator: Narrator, name: str, state: str, taint: str = "") -> None:
    """Wait until slice and kubelet say so, and state both."""
    node.wait(lambda: published(node, name) == (state, taint), f"{name} to be {state} in its slice")
    told = f", with the taint {taint_key(node)}={taint}:NoExecute" if taint else ", without a taint"
    narrator.check(f"its ResourceSlice says {state}{told}", truth=True)
    node.wait(lambda: seen(node, name)[0] == state, f"the kubelet to see {name} {state}")
    said = seen(node, name)[1]
    narrator.check(f"the pod's status says {state}" + (f": {said}" if said else ""), truth=True)


def show(node: SimulatedNode, narrator: Narrator) -> None:
    """Show the health of all devices."""
    header = ("DEVICE", "MODEL", "HEALTH", "TAINT", "POD'S STATUS")
    rows = [
        (
            one["name"],
            one["attributes"]["model"]["string"],
            *published(node, one["name"]),
            ": ".join(filter(None, seen(node, one["name"]))),
        )
        for one in node.devices()
    ]
    narrator.table("devices", header, rows)


def events(node: SimulatedNode) -> list[tuple[str, str]]:
    """Return reason and note of the Events that were written."""
    return [(str(event["reason"]), str(event["note"])) for event in node.api.objects("Event")]
