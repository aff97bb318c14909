"""What the daemon tells of itself beyond its log: metrics, and Events for what an operator must see.

The core names a row of the table below and never knows who counts; :class:`Silent` counts nothing. Names follow the
Prometheus conventions: base units, ``_total`` for counters, no label whose values grow without bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Row:
    """One metric; code, documentation and tests read it from here.

    ``labels`` maps each label's name to what its values are.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


RECORDS_SET_ASIDE = Row(
    "dra_claim_records_set_aside_total", "counter", "Claim records that could not be read."
)
RECOVERY_ACTIONS = Row(
    "dra_recovery_actions_total", "counter", "What the start did with claims found on disk.", ("action",)
)
GC_ACTIONS = Row("dra_gc_actions_total", "counter", "What garbage collection did.", ("action",))
ADOPTED_CLAIMS = Row(
    "dra_adopted_claims_total", "counter", "Claims taken over from another driver's checkpoint.", ("result",)
)
SLICE_WRITES = Row("dra_slice_writes_total", "counter", "ResourceSlices written, by verb.", ("verb",))
PUBLISH_ERRORS = Row(
    "dra_publish_errors_total",
    "counter",
    "Passes of the publisher that failed, by kind of error.",
    ("error",),
)


class Reason(Enum):
    """Reasons of Events, as `kubectl get events` shows them."""

    RECORD_SET_ASIDE = "ClaimRecordSetAside"
    RECORD_TOO_NEW = "ClaimRecordTooNew"
    REVERT_FAILED = "RevertFailed"
    CLAIM_GONE = "ClaimGone"
    CLAIM_ADOPTED = "ClaimAdopted"
    ADOPTION_FAILED = "AdoptionFailed"
    FIELDS_DROPPED = "SliceFieldsDropped"
    SLICES_REFUSED = "ResourceSlicesRefused"
    PUBLISHER_FROZEN = "PublisherFrozen"


class Telemetry(Protocol):
    """Takes what happens. No method blocks or raises: telling must never stop what is told of."""

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        """Put a value (seconds, bytes) into a histogram."""

    def event(self, reason: Reason, note: str) -> None:
        """Tell the cluster, as a Warning or Normal Event on this node's object; rate-limited, best effort."""


class Silent:
    """A telemetry that tells nobody."""

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        """Count nothing."""

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        """Keep nothing."""

    def event(self, reason: Reason, note: str) -> None:
        """Tell nobody."""


SILENT = Silent()
