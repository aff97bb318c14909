"""ResourceClaims: an immutable spec, an allocation that is written once, device status that belongs to the driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dra_common.testing.apiserver import gates, schema
from dra_common.testing.apiserver.features import Features
from dra_common.testing.apiserver.names import check_label
from dra_common.testing.apiserver.resources import Json, Rules
from dra_common.testing.apiserver.schema import ANY, BOOL, QUANTITY, STRING, ListOf, MapOf, Record
from dra_common.testing.apiserver.status import Cause, duplicate, invalid, required, too_many

REQUESTS = 32
RESULTS = 32
CONFIGS = 64
RESERVATIONS = 256

_OPAQUE = Record({"driver": STRING, "parameters": ANY})
_RESULT = Record(
    {
        "request": STRING,
        "driver": STRING,
        "pool": STRING,
        "device": STRING,
        "adminAccess": BOOL,
        "tolerations": ANY,
        "bindingConditions": ListOf(STRING),
        "bindingFailureConditions": ListOf(STRING),
        "shareID": STRING,
        "consumedCapacity": MapOf(QUANTITY),
        "skipNodeOperations": ListOf(STRING),
    }
)
SPEC = Record(
    {
        "devices": Record(
            {
                "requests": ListOf(Record({"name": STRING, "exactly": ANY, "firstAvailable": ANY})),
                "constraints": ANY,
                "config": ListOf(Record({"requests": ListOf(STRING), "opaque": _OPAQUE})),
            }
        )
    }
)
STATUS = Record(
    {
        "allocation": Record(
            {
                "devices": Record(
                    {
                        "results": ListOf(_RESULT),
                        "config": ListOf(
                            Record({"source": STRING, "requests": ListOf(STRING), "opaque": _OPAQUE})
                        ),
                    }
                ),
                "nodeSelector": ANY,
                "allocationTimestamp": schema.TIME,
            }
        ),
        "reservedFor": ListOf(
            Record({"apiGroup": STRING, "resource": STRING, "name": STRING, "uid": STRING})
        ),
        "devices": ListOf(
            Record(
                {
                    "driver": STRING,
                    "pool": STRING,
                    "device": STRING,
                    "shareID": STRING,
                    "conditions": ANY,
                    "data": ANY,
                    "networkData": ANY,
                }
            )
        ),
    }
)


class ClaimRules(Rules):
    """Decoding, gates and validation for one server version."""

    def __init__(self, features: Features) -> None:
        self._features = features

    def admit(self, new: Json, old: Json | None) -> Json:
        """Prune spec and status, drop what gates forbid; an allocation that is gone takes the device status along."""
        stored: Json = {"apiVersion": new["apiVersion"], "kind": new["kind"], "metadata": new["metadata"]}
        stored["spec"] = schema.decode(SPEC, new.get("spec") or {}, "ResourceClaim.spec")
        if not isinstance(new.get("status"), dict):
            return stored
        # An allocation without results is one: it must outlive the rule that empty fields vanish.
        allocated = new["status"].get("allocation") is not None
        status = schema.decode(STATUS, new["status"], "ResourceClaim.status")
        if allocated:
            status.setdefault("allocation", {})
        else:
            status.pop("devices", None)
        gates.drop_from_claim(status, (old or {}).get("status", {}), self._features)
        return {**stored, "status": status} if status else stored

    def check(self, new: Json, old: Json | None) -> Sequence[Cause]:
        """Return the broken rules of spec and status."""
        causes = [*_requests(new["spec"]), *_status(new.get("status", {}))]
        return causes + (_immutable(new, old) if old else [])


def _requests(spec: Json) -> list[Cause]:
    path = "spec.devices.requests"
    requests = spec.get("devices", {}).get("requests", [])
    causes = [too_many(path, len(requests), REQUESTS)] if len(requests) > REQUESTS else []
    for index, request in enumerate(requests):
        causes += check_label(f"{path}[{index}].name", request.get("name", ""))
        if request.get("name") in [other.get("name") for other in requests[:index]]:
            causes.append(duplicate(f"{path}[{index}].name", request.get("name")))
        if ("exactly" in request) == ("firstAvailable" in request):
            causes.append(
                required(f"{path}[{index}]", "exactly one of `exactly` or `firstAvailable` is required")
            )
    return causes


def _status(status: Json) -> list[Cause]:
    devices = status.get("allocation", {}).get("devices", {})
    limits = (
        ("status.allocation.devices.results", devices.get("results", []), RESULTS),
        ("status.allocation.devices.config", devices.get("config", []), CONFIGS),
        ("status.reservedFor", status.get("reservedFor", []), RESERVATIONS),
    )
    causes = [too_many(path, len(entries), limit) for path, entries, limit in limits if len(entries) > limit]
    for index, result in enumerate(devices.get("results", [])):
        at = f"status.allocation.devices.results[{index}]"
        causes += [
            required(f"{at}.{name}") for name in ("request", "driver", "pool", "device") if name not in result
        ]
    return causes + _reported(status, devices.get("results", []))


def _reported(status: Json, results: list[Json]) -> list[Cause]:
    allocated = [_identity(result) for result in results]
    causes = []
    for index, device in enumerate(status.get("devices", [])):
        if _identity(device) not in allocated:
            detail = "must be an allocated device in the claim"
            causes.append(invalid(f"status.devices[{index}]", "/".join(map(str, _identity(device))), detail))
    return causes


def _identity(item: Json) -> tuple[Any, ...]:
    return tuple(item[name] for name in ("driver", "pool", "device", "shareID") if name in item)


def _immutable(new: Json, old: Json) -> list[Cause]:
    causes = []
    if new["spec"] != old["spec"]:
        causes.append(invalid("spec", "…", "field is immutable"))
    before, after = old.get("status", {}).get("allocation"), new.get("status", {}).get("allocation")
    if before is not None and after is not None and before != after:
        causes.append(invalid("status.allocation", "…", "field is immutable"))
    return causes
