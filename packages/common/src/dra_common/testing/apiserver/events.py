"""Events of events.k8s.io/v1: what they must say, and that only their series may change."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dra_common.testing.apiserver.resources import Json, Rules
from dra_common.testing.apiserver.status import Cause, Refusal, invalid, required

_FIELDS = (
    "eventTime",
    "type",
    "reason",
    "action",
    "note",
    "series",
    "regarding",
    "related",
    "reportingController",
    "reportingInstance",
)
_LIMITS = {"note": 1024, "reason": 128, "action": 128, "reportingInstance": 128}
_QUALIFIED = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_CLUSTER_NAMESPACES = ("default", "kube-system")


class EventRules(Rules):
    """The rules for ``POST`` and ``PUT``; other fields than those of an Event vanish."""

    def admit(self, new: Json, old: Json | None) -> Json:
        """Keep what an Event has. Raises Refusal (400) for a time that is no MicroTime."""
        del old
        for time in (new.get("eventTime"), (new.get("series") or {}).get("lastObservedTime")):
            if time is not None and not (isinstance(time, str) and _MICRO_TIME.fullmatch(time)):
                raise Refusal(400, f'parsing time "{time}" as "2006-01-02T15:04:05.000000Z07:00"')
        kept = {name: new[name] for name in _FIELDS if new.get(name)}
        return {name: new[name] for name in ("apiVersion", "kind", "metadata")} | kept

    def check(self, new: Json, old: Json | None) -> Sequence[Cause]:
        """Return the broken rules."""
        causes = [*_required(new), *_limits(new), *_namespace(new), *_series(new, old)]
        return causes + (_immutable(new, old) if old else [])


def _required(new: Json) -> list[Cause]:
    names = ("eventTime", "reason", "action", "reportingController", "reportingInstance")
    causes = [required(name) for name in names if not new.get(name)]
    if new.get("type") not in ("Normal", "Warning"):
        causes.append(invalid("type", "", f"has invalid value: {new.get('type', '')}"))
    if new.get("reportingController") and not _QUALIFIED.fullmatch(new["reportingController"]):
        detail = "name part must consist of alphanumeric characters, '-', '_' or '.'"
        causes.append(invalid("reportingController", new["reportingController"], detail))
    return causes


def _limits(new: Json) -> list[Cause]:
    return [
        invalid(name, "", f"can have at most {limit} characters")
        for name, limit in _LIMITS.items()
        if len(new.get(name, "").encode()) > limit
    ]


def _namespace(new: Json) -> list[Cause]:
    about, own = new.get("regarding", {}).get("namespace", ""), new["metadata"]["namespace"]
    if own in _CLUSTER_NAMESPACES if not about else own == about:
        return []
    return [invalid("involvedObject.namespace", about, "does not match event.namespace")]


def _immutable(new: Json, old: Json) -> list[Cause]:
    changed = [name for name in _FIELDS if name != "series" and new.get(name) != old.get(name)]
    return [invalid(name, new.get(name), "field is immutable") for name in changed]


def _series(new: Json, old: Json | None) -> list[Cause]:
    series = new.get("series")
    if not series or (old is not None and series == old.get("series")):
        return []
    causes = [] if series.get("count", 0) > 1 else [invalid("series.count", "", "should be at least 2")]
    return causes if series.get("lastObservedTime") else [*causes, required("series.lastObservedTime")]
