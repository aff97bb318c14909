"""What is told of the health of a running driver's devices: in the slices, and to the kubelet."""

from __future__ import annotations

from typing import Any

from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until

Status = tuple[str, list[tuple[str, str]]]


def device(node: SimulatedNode, name: str) -> dict[str, Any]:
    """A published device."""
    (found,) = (each for each in node.devices() if each["name"] == name)
    return found


def attribute(node: SimulatedNode, name: str, attribute: str) -> Any:
    """The value of a published attribute, None without it."""
    return next(iter(device(node, name)["attributes"].get(attribute, {}).values()), None)


def published(node: SimulatedNode, name: str) -> Status:
    """The attribute ``health`` of a device, and value and effect of the taint of health."""
    key = f"{node.driver}/unhealthy"
    taints = [taint for taint in device(node, name).get("taints", ()) if taint["key"] == key]
    return attribute(node, name, "health"), [(taint["value"], taint["effect"]) for taint in taints]


def wait_published(node: SimulatedNode, name: str, state: str, reason: str = "") -> None:
    wanted = (state, [(reason, "NoExecute")] if reason else [])
    wait_until(lambda: published(node, name) == wanted, f"{name} to be {state}")


def wait_seen(node: SimulatedNode, name: str, status: str, words: str = "") -> None:
    def look() -> bool:
        seen = node.kubelet.health(node.driver, node.name, name)
        return seen.status == status and words in seen.message

    wait_until(look, f"the kubelet to see {name} {status}")


def written(node: SimulatedNode, name: str) -> list[list[str]]:
    """What was written of a device, in this order: keys of its taints, or that it is removed."""
    bodies = [request.body for request in node.api.writes if "/resourceslices" in request.path]
    found = [
        [device for device in body["spec"].get("devices", ()) if device["name"] == name]
        for body in bodies
        if body is not None
    ]
    return [
        [taint["key"].rpartition("/")[2] for taint in devices[0].get("taints", ())]
        if devices
        else ["removed"]
        for devices in found
    ]
