"""Fields that a server does not store as they are sent: what that says of it, and telling it once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dra_common.slices import GATES, FeatureName
from dra_common.telemetry import SILENT, Reason, Telemetry

log = logging.getLogger(__name__)

_FEATURES: Mapping[str, FeatureName] = {
    "sharedCounters": "partitionable",
    "devices[].consumesCounters": "partitionable",
    "devices[].taints": "taints",
    "devices[].allowMultipleAllocations": "consumable_capacity",
    "devices[].capacity[].requestPolicy": "consumable_capacity",
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """Fields that the server stored differently from what it was sent, and the features they tell to be off."""

    fields: tuple[str, ...]

    @property
    def features(self) -> tuple[FeatureName, ...]:
        """Names for ``ServerFeatures.without``; a field of no known feature has none."""
        return tuple(sorted({_FEATURES[field] for field in self.fields if field in _FEATURES}))


class Drops:
    """Tells each feature that turns out to be off once, until it is on again. For any thread."""

    def __init__(self, node: str, telemetry: Telemetry = SILENT) -> None:
        self._node, self._telemetry = node, telemetry
        self._lock = threading.Lock()
        self._told = set[FeatureName]()

    def tell(self, dropped: Dropped) -> None:
        """Say which fields are lost and why; nothing if that was said of all their features."""
        features = set(dropped.features)
        with self._lock:
            if features and features <= self._told:
                return
            self._told |= features
        gates = ", ".join(GATES[feature] for feature in dropped.features)
        cause = f"feature gates that are off: {gates}" if gates else "see its mutating admission webhooks"
        text = (
            f"the API server does not store {', '.join(dropped.fields)} of the ResourceSlices of node {self._node} "
            f"as they are sent ({cause})"
        )
        log.warning("%s", text)
        self._telemetry.event(Reason.FIELDS_DROPPED, text)

    def back(self, features: Collection[FeatureName]) -> None:
        """Say which of ``features`` are on again, of those that were told to be off."""
        with self._lock:
            news = self._told & set(features)
            self._told -= news
        if news:
            gates = ", ".join(sorted(GATES[feature] for feature in news))
            log.info(
                "the API server stores all of the ResourceSlices again (feature gates that are on: %s)", gates
            )
