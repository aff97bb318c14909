"""Rules that look at one device at a time: its selectors and its taints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dra_common.testing.allocator.cel import SelectorError, compiled
from dra_common.testing.allocator.outcome import Clause, Reason, Stop
from dra_common.testing.allocator.pools import Candidate
from dra_common.testing.allocator.requests import Request

_BLOCKING = ("NoSchedule", "NoExecute")


def deselected(request: Request, candidate: Candidate) -> Reason | None:
    """Return the first selector of class and request that is false; None if all are true.

    Raises Stop for an expression that does not compile or fails: the scheduler gives up on the node then.
    """
    of_class = f"of DeviceClass {request.class_name}"
    return _first_false(
        request, candidate, request.class_selectors, "class selector", of_class
    ) or _first_false(request, candidate, request.selectors, "request selector", "of the request")


def tainted(request: Request, candidate: Candidate) -> Reason | None:
    """Return the first taint that keeps the request away; None if all are tolerated (KEP-5055)."""
    for taint in candidate.raw.get("taints", ()):
        if taint["effect"] in _BLOCKING and not any(_tolerates(one, taint) for one in request.tolerations):
            pair = f"{taint['key']}={taint['value']}" if taint.get("value") else taint["key"]
            return Reason(
                "taint", f"taint {pair}:{taint['effect']} is not tolerated", request.name, candidate.id
            )
    return None


def _first_false(
    request: Request, candidate: Candidate, expressions: Sequence[str], clause: Clause, owner: str
) -> Reason | None:
    for index, expression in enumerate(expressions, 1):
        name = f"selector {index} {owner}"
        try:
            if compiled(expression).matches(candidate.facts):
                continue
        except SelectorError as error:
            raise Stop(
                Reason(clause, f"{name}: CEL error: {error}: `{expression}`", request.name, candidate.id)
            ) from error
        values = candidate.facts.mentioned(expression)
        detail = f"{name} is false: `{expression}`" + (f" ({values})" if values else "")
        return Reason(clause, detail, request.name, candidate.id)
    return None


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """An empty key tolerates every key, an empty effect every effect."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    exists = toleration.get("operator", "Equal") == "Exists"
    return exists or bool(toleration.get("value", "") == taint.get("value", ""))
