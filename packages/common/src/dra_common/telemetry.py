"""What the daemon tells of itself beyond its log: metrics, and Events for what an operator must see.

The core names a row of the table below and never knows who counts; :class:`Silent` counts nothing. Names follow the
Prometheus conventions: base units, ``_total`` for counters, no label whose values grow without bound. The prefix is our
own, since ``dra_`` is what the kubelet calls its metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, Self


@dataclass(frozen=True, slots=True)
class Row:
    """One metric; code, documentation and tests read it from here.

    Args:
        labels: names of its labels; every metric of ours also has the label ``driver``.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 45.0)
"""Upper bounds of a histogram's buckets: from a claim answered from its record to the kubelet's deadline."""

CLAIM_OPERATIONS = Row(
    "intel_dra_claim_operations_total",
    "counter",
    "Claims that the kubelet asked to prepare or unprepare, by what it was answered: success, or the kind of error.",
    ("operation", "result"),
)
CLAIM_SECONDS = Row(
    "intel_dra_claim_operation_duration_seconds",
    "histogram",
    "From the kubelet's call to the result of one of its claims; result is success or error.",
    ("operation", "result"),
)
CLAIMS_IN_FLIGHT = Row(
    "intel_dra_claim_operations_in_flight",
    "gauge",
    "Claims being prepared or unprepared now, also those whose kubelet no longer waits.",
    ("operation",),
)
CLAIMS = Row("intel_dra_claims", "gauge", "Claims on this node by the phase of their record.", ("phase",))
DEVICES = Row("intel_dra_devices", "gauge", "Devices of this node by health.", ("health",))
DEVICES_HELD = Row("intel_dra_devices_held", "gauge", "Devices that a claim holds.")
HEALTH_CHANGES = Row(
    "intel_dra_health_changes_total",
    "counter",
    "Changes of a device's health, by what it became.",
    ("state",),
)
HEALTH_SOURCES = Row(
    "intel_dra_health_source_connected",
    "gauge",
    "1 while a source of device health can tell, else 0.",
    ("source",),
)
DEVICE_UNHEALTHY = Row(
    "intel_dra_device_unhealthy",
    "gauge",
    "Always 1; one for each unhealthy device, with why.",
    ("device", "reason"),
)
SLICES_SYNCED = Row(
    "intel_dra_slices_synced",
    "gauge",
    "1 while the API server holds the ResourceSlices that this node wants, as far as is known; else 0.",
)
RECORDS_SET_ASIDE = Row(
    "intel_dra_claim_records_set_aside_total", "counter", "Claim records that could not be read."
)
RECOVERY_ACTIONS = Row(
    "intel_dra_recovery_actions_total",
    "counter",
    "What the start did with claims found on disk.",
    ("action",),
)
GC_ACTIONS = Row("intel_dra_gc_actions_total", "counter", "What garbage collection did.", ("action",))
ADOPTED_CLAIMS = Row(
    "intel_dra_adopted_claims_total",
    "counter",
    "Claims taken over from another driver's checkpoint.",
    ("result",),
)
SLICE_WRITES = Row("intel_dra_slice_writes_total", "counter", "ResourceSlices written, by verb.", ("verb",))
PUBLISH_ERRORS = Row(
    "intel_dra_publish_errors_total",
    "counter",
    "Passes of the publisher that failed, by kind of error.",
    ("error",),
)
API_REQUESTS = Row(
    "intel_dra_api_requests_total",
    "counter",
    "Requests to the API server, by verb and HTTP status; code is <error> where no answer came.",
    ("verb", "code"),
)
API_SECONDS = Row(
    "intel_dra_api_request_duration_seconds",
    "histogram",
    "From a request to the API server to the head of its answer; a watch ends there.",
    ("verb",),
)
EVENTS = Row(
    "intel_dra_events_total",
    "counter",
    "Kubernetes Events by what became of them: written, failed (tried again), dropped.",
    ("result",),
)
CONFIG_LOADS = Row(
    "intel_dra_config_loads_total",
    "counter",
    "Times that the configuration file was read, by result: success, error (what was in use stays).",
    ("result",),
)
CONFIG_CURRENT = Row(
    "intel_dra_config_current",
    "gauge",
    "1 while the configuration in use is what its file says, 0 since a change of the file that was refused.",
)
CLAIM_STATUSES = Row(
    "intel_dra_claim_statuses_total",
    "counter",
    "Reports of claims to the API server (--claim-status), by what became of them: written, unchanged, over (the claim "
    "is), failed (tried again), dropped.",
    ("result",),
)
BUILD_INFO = Row(
    "intel_dra_build_info", "gauge", "Always 1; the labels say what runs.", ("version", "python")
)

PROCESS_ROWS = (
    Row("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes."),
    Row("process_resident_memory_bytes", "gauge", "Resident memory size in bytes."),
    Row("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds."),
    Row("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds."),
    Row("process_max_fds", "gauge", "Maximum number of open file descriptors."),
    Row("process_open_fds", "gauge", "Number of open file descriptors."),
)
"""What Prometheus' client tells of the process; without the label ``driver``, as everybody else's."""


def rows() -> tuple[Row, ...]:
    """Return every metric of ours, in the order of this page."""
    return tuple(value for value in globals().values() if isinstance(value, Row))


class Reason(Enum):
    """Reasons of Events, as `kubectl get events` shows them, with what each means."""

    RECORD_SET_ASIDE = (
        "ClaimRecordSetAside",
        "A claim's record is damaged and was put aside under another name.",
    )
    RECORD_TOO_NEW = "ClaimRecordTooNew", "A newer release wrote a claim's record; this one leaves it alone."
    REVERT_FAILED = "RevertFailed", "Hardware could not be given back; its devices are tainted until it is."
    CLAIM_GONE = "ClaimGone", "A prepared claim is no longer in the API server; its devices stay held."
    CLAIM_ADOPTED = "ClaimAdopted", "A claim was taken over from another driver's checkpoint."
    ADOPTION_FAILED = "AdoptionFailed", "Another driver's checkpoint, or a claim of it, cannot be taken over."
    FIELDS_DROPPED = "SliceFieldsDropped", "The API server does not store all fields of the ResourceSlices."
    SLICES_REFUSED = "ResourceSlicesRefused", "The API server refuses the ResourceSlices of this node."
    CONFIG_REFUSED = (
        "ConfigurationRefused",
        "The configuration file was changed and cannot be used; what was in use before stays.",
    )
    PUBLISHER_FROZEN = "PublisherFrozen", "Another instance has the turn to publish and does not answer."

    DEVICE_UNHEALTHY = "DeviceUnhealthy", "A device became unhealthy, or for another reason; it is tainted."
    DEVICE_RECOVERED = "DeviceRecovered", "A device is no longer unhealthy; its taint is gone."

    HEALTH_SOURCE_AWAY = (
        "HealthSourceAway",
        "Who watches the devices' health is away for minutes, without --health-monitoring-optional.",
    )

    OLD_TAINT_RULE = (
        "OldDeviceTaintRule",
        "A DeviceTaintRule of the driver that this one replaced still taints a device of this node.",
    )

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Make a member whose value is the reason alone."""
        member = object.__new__(cls)
        member._value_ = value
        member._meaning = meaning
        return member

    _meaning: str

    @property
    def meaning(self) -> str:
        """One sentence for an operator."""
        return self._meaning

    @property
    def type(self) -> Literal["Normal", "Warning"]:
        """The Event's type: a Warning unless nothing has to be done."""
        return "Normal" if self in {Reason.CLAIM_ADOPTED, Reason.DEVICE_RECOVERED} else "Warning"


class Counts(Protocol):
    """Takes numbers. No method blocks or raises."""

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        """Put a value (seconds, bytes) into a histogram."""


class Tells(Protocol):
    """Takes words. No method blocks or raises."""

    def event(self, reason: Reason, note: str) -> None:
        """Tell the cluster, as a Warning or Normal Event on this node's object; rate-limited, best effort."""


class Telemetry(Counts, Tells, Protocol):
    """Takes what happens. No method blocks or raises: telling must never stop what is told of."""


class Silent:
    """A telemetry that tells nobody."""

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        """Count nothing."""

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        """Keep nothing."""

    def event(self, reason: Reason, note: str) -> None:
        """Tell nobody."""


SILENT = Silent()


@dataclass(frozen=True, slots=True)
class Together:
    """A telemetry made of two."""

    counts: Counts
    tells: Tells

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        self.counts.count(row, amount, **labels)

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        """Put a value into a histogram."""
        self.counts.observe(row, value, **labels)

    def event(self, reason: Reason, note: str) -> None:
        """Tell the cluster."""
        self.tells.event(reason, note)


Samples = Mapping[tuple[str, ...], float]
"""What a gauge reads: label values, in the order of its row's labels -> number."""
