"""What of the daemon's state is shown as gauges, and where its metrics and probes are served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from dra_common.errors import DraError
from dra_common.inventory import CORDONED, absent_taint, cordoned_taint
from dra_common.model import Device, DeviceHealth, HealthState, Phase, Snapshot, TaintEffect
from dra_common.ports import Records
from dra_common.settings import parse_endpoint
from dra_common.telemetry import Samples

if TYPE_CHECKING:
    from dra_common.metrics import HttpEndpoint, Metrics
    from dra_common.readiness import Readiness

SET_ASIDE: Final = "set-aside"
UNREADABLE: Final = "unreadable"
"""Values of the label ``phase`` beside the phases: a damaged record put aside, and one that nobody has met yet."""

HEALTHS: Final = ("healthy", "unhealthy", "unknown", "absent", CORDONED)
"""Values of the label ``health``."""

_HARMLESS: Final = TaintEffect.NONE


class ClaimPhases:
    """Counts the records on disk; only those are read again that have changed. Used by one scrape at a time."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: dict[str, tuple[object, str]] = {}

    def count(self) -> Samples:
        """Return (phase,) -> claims; one that ends meanwhile is in no phase. Raises StateError."""
        self._known = {uid: self._look(uid) for uid in self._records.uids()}
        found = Counter(phase for _, phase in self._known.values())
        found[SET_ASIDE] += len(self._records.set_aside_uids())
        return {(name,): found[name] for name in (*Phase, SET_ASIDE, UNREADABLE)}

    def _look(self, uid: str) -> tuple[object, str]:
        # Before the record is read: a write in between is then noticed by the next scrape.
        version = self._records.version(uid)
        before = self._known.get(uid)
        return before if before and before[0] == version else (version, _phase(self._records, uid))


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
    keys = {taint.key for taint in device.taints if taint.effect is not _HARMLESS}
    if keys:
        return CORDONED if keys == {cordoned_taint(driver).key} else "unhealthy"
    told = str(device.attributes.get("health", "")).lower()
    return told if told in HEALTHS else "unknown"


def unhealthy_devices(healths: Mapping[str, DeviceHealth]) -> Samples:
    """Return (device, reason) -> 1 for each that is unhealthy."""
    return {
        (name, health.reason): 1 for name, health in healths.items() if health.state is HealthState.UNHEALTHY
    }


def open_metrics(driver: str, version: str) -> Metrics:
    """Return metrics that count nothing yet; loads prometheus-client."""
    from dra_common.metrics import Metrics  # noqa: PLC0415 - 1 MiB that most nodes do not need

    return Metrics(driver, version)


def open_endpoint(address: str, metrics: Metrics, readiness: Readiness) -> HttpEndpoint:
    """Return the endpoint that serves ``metrics`` and probes, not yet listening. Raises SettingsError."""
    from dra_common.metrics import HttpEndpoint, routes  # noqa: PLC0415 - see above

    host, port = parse_endpoint(address)
    return HttpEndpoint(host, port, routes(metrics, readiness))
