"""What of the daemon's state is shown as gauges, and where its metrics and probes are served."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from dra_common.errors import DraError
from dra_common.inventory import absent_taint
from dra_common.model import Device, Phase, Snapshot, TaintEffect
from dra_common.ports import Records
from dra_common.settings import parse_endpoint
from dra_common.telemetry import Samples

if TYPE_CHECKING:
    from dra_common.metrics import HttpEndpoint, Metrics
    from dra_common.readiness import Readiness

SET_ASIDE: Final = "set-aside"
UNREADABLE: Final = "unreadable"
"""Values of the label ``phase`` beside the phases: a damaged record put aside, and one that nobody has met yet."""

HEALTHS: Final = ("healthy", "unhealthy", "unknown", "absent")
"""Values of the label ``health``."""

_HARMLESS: Final = TaintEffect.NONE


def claims_by_phase(records: Records) -> Samples:
    """Count the records on disk; a claim that ends meanwhile is in no phase. Raises StateError."""
    found = Counter(_phase(records, uid) for uid in records.uids())
    found[SET_ASIDE] += len(records.set_aside_uids())
    return {(name,): found[name] for name in (*Phase, SET_ASIDE, UNREADABLE)}


def _phase(records: Records, uid: str) -> str:
    try:
        record = records.load(uid)
    except DraError:
        return UNREADABLE
    return record.phase if record else ""


def devices_by_health(snapshot: Snapshot, driver: str) -> Samples:
    """Count what is published; a taint that keeps claims away says more than the attribute ``health``."""
    found = Counter(_health(device, driver) for device in snapshot.devices)
    return {(name,): found[name] for name in HEALTHS}


def _health(device: Device, driver: str) -> str:
    if absent_taint(driver) in device.taints:
        return "absent"
    if any(taint.effect is not _HARMLESS for taint in device.taints):
        return "unhealthy"
    told = str(device.attributes.get("health", "")).lower()
    return told if told in HEALTHS else "unknown"


def open_metrics(driver: str, version: str) -> Metrics:
    """Return metrics that count nothing yet; loads prometheus-client."""
    from dra_common.metrics import Metrics  # noqa: PLC0415 - 1 MiB that most nodes do not need

    return Metrics(driver, version)


def open_endpoint(address: str, metrics: Metrics, readiness: Readiness) -> HttpEndpoint:
    """Return the endpoint that serves ``metrics`` and probes, not yet listening. Raises SettingsError."""
    from dra_common.metrics import HttpEndpoint, routes  # noqa: PLC0415 - see above

    host, port = parse_endpoint(address)
    return HttpEndpoint(host, port, routes(metrics, readiness))
