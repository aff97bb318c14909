"""What a ResourceClaim asks for (resource.k8s.io/v1 ``spec.devices``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dra_common.testing.allocator.outcome import Reason, Stop


@dataclass(frozen=True, eq=False)
class Request:
    """One way to satisfy a request.

    Args:
        name: as it will stand in the results: ``request`` or ``request/subrequest``.
        base: the request's own name.
        device_class: the DeviceClass object.
        selectors: CEL expressions of the request.
        count: number of devices; without meaning for mode All.
        capacity: name -> least amount of it that a device must give (KEP-5075).
    """

    name: str
    base: str
    device_class: Mapping[str, Any]
    selectors: tuple[str, ...]
    mode: Literal["ExactCount", "All"]
    count: int
    admin: bool
    tolerations: Sequence[Mapping[str, Any]]
    capacity: Mapping[str, str]

    @property
    def class_name(self) -> str:
        """The DeviceClass's name."""
        return str(self.device_class["metadata"]["name"])

    @property
    def class_selectors(self) -> tuple[str, ...]:
        """CEL expressions of the DeviceClass."""
        return _expressions(self.device_class.get("spec", {}), f"DeviceClass {self.class_name}")


Alternatives = tuple[Request, ...]
"""The ways to satisfy one request, the best first; one only for ``exactly``."""


def read_requests(
    claim: Mapping[str, Any], classes: Mapping[str, Mapping[str, Any]]
) -> tuple[Alternatives, ...]:
    """Return what ``claim`` asks for. Raises Stop for what the scheduler would not accept either."""
    return tuple(
        tuple(_alternatives(request, classes))
        for request in claim["spec"].get("devices", {}).get("requests", ())
    )


def _alternatives(request: Mapping[str, Any], classes: Mapping[str, Mapping[str, Any]]) -> Iterator[Request]:
    name = request["name"]
    if "exactly" in request:
        yield _request(name, name, request["exactly"], classes)
    elif request.get("firstAvailable"):
        for entry in request["firstAvailable"]:
            yield _request(f"{name}/{entry['name']}", name, entry, classes)
    else:
        raise Stop(Reason("claim", "has neither 'exactly' nor 'firstAvailable'", name))


def _request(
    name: str, base: str, entry: Mapping[str, Any], classes: Mapping[str, Mapping[str, Any]]
) -> Request:
    class_name, mode = str(entry.get("deviceClassName")), entry.get("allocationMode", "ExactCount")
    if class_name not in classes:
        raise Stop(Reason("class", f"DeviceClass {class_name} does not exist", name))
    if mode not in ("ExactCount", "All"):
        raise Stop(Reason("claim", f"allocationMode {mode!r} is not known", name))
    capacity = entry.get("capacity", {}).get("requests", {})
    return Request(
        name=name,
        base=base,
        device_class=classes[class_name],
        selectors=_expressions(entry, f"request {name}"),
        mode=mode,
        count=entry.get("count", 1),
        admin=entry.get("adminAccess") is True,
        tolerations=entry.get("tolerations", ()),
        capacity={key: str(value) for key, value in capacity.items()},
    )


def _expressions(owner: Mapping[str, Any], what: str) -> tuple[str, ...]:
    selectors = owner.get("selectors", ())
    if any("cel" not in selector for selector in selectors):
        raise Stop(Reason("claim", f"{what} has a selector that is not CEL"))
    return tuple(selector["cel"]["expression"] for selector in selectors)
