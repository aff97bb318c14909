"""Event objects (events.k8s.io/v1) as the API server's validation wants them.

Facts of ``pkg/apis/core/validation/events.go`` of Kubernetes: an Event on a cluster-scoped object is in the namespace
``default`` (or ``kube-system``); ``eventTime``, ``reason``, ``action``, ``type``, ``reportingController`` (a qualified
name) and ``reportingInstance`` (at most 128 bytes) are required; ``note`` has at most 1024 bytes; of a stored Event
only ``series`` may change, and its count is at least 2.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from dra_common.events.waiting import Occurrence

EVENTS_PATH: Final = "/apis/events.k8s.io/v1/namespaces/default/events"
_NOTE_BYTES: Final = 1024
_INSTANCE_BYTES: Final = 128
_NAME_ROOM: Final = 253 - len(f".{2**64:x}")

Json = dict[str, Any]


def new_event(occurrence: Occurrence, *, driver: str, node: str, number: int) -> Json:
    """Return the object to POST; ``number`` makes its name unique, as client-go's nanoseconds do."""
    event: Json = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{node[:_NAME_ROOM]}.{number:x}", "namespace": "default"},
        "eventTime": micro_time(occurrence.last),
        "type": occurrence.reason.type,
        "reason": occurrence.reason.value,
        "action": "Report",
        "note": shortened(occurrence.note),
        # The kubelet's own node events have the name as the UID, and `kubectl describe node` looks for that, too.
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node},
        "reportingController": driver,
        "reportingInstance": node[:_INSTANCE_BYTES],
    }
    return with_more(event, occurrence) if occurrence.count > 1 else event


def with_more(stored: Mapping[str, Any], occurrence: Occurrence) -> Json:
    """Return the stored Event with its series counted on."""
    before = int((stored.get("series") or {}).get("count", 1)) if "uid" in stored["metadata"] else 0
    series = {"count": before + occurrence.count, "lastObservedTime": micro_time(occurrence.last)}
    return {**stored, "series": series}


def micro_time(seconds: float) -> str:
    """Return a time as a MicroTime: six digits after the second, UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def shortened(note: str) -> str:
    """Return at most 1024 bytes of UTF-8, cut between two characters."""
    data = note.encode()
    return note if len(data) <= _NOTE_BYTES else data[: _NOTE_BYTES - 3].decode(errors="ignore") + "…"
