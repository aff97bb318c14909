"""Which fields a server stores, asked with dry runs: admitted, validated, shown, and not kept.

Asking with a real slice would for a moment offer a device without the taint or the counter that keeps it safe.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dra_common.ports import ApiServer
from dra_common.publisher.compare import dropped_fields
from dra_common.publisher.drops import Dropped, Drops
from dra_common.publisher.sync import API_VERSION, SLICES, index_prefix
from dra_common.slices import FeatureName

_NAME = "probe"


class Probe:
    """Asks one API server on behalf of one driver on one node. For any thread."""

    def __init__(self, api: ApiServer, *, driver: str, node: str, drops: Drops) -> None:
        self._api, self._driver, self._node, self._drops = api, driver, node, drops

    def __call__(self, features: Collection[FeatureName]) -> frozenset[FeatureName]:
        """Return those of ``features`` that are off, and tell what changed. No features: no request.

        Raises ClusterError if the server cannot be asked, as where an admission webhook allows no dry runs.
        """
        lost = set[str]()
        for spec in self._samples(features):
            stored = self._api.create(SLICES, self._body(spec), dry_run=True)
            lost |= set(dropped_fields(spec, stored["spec"]))
        dropped = Dropped(tuple(sorted(lost)))
        off = frozenset(dropped.features) & frozenset(features)
        if off:
            self._drops.tell(dropped)
        self._drops.back(frozenset(features) - off)
        return off

    def _samples(self, features: Collection[FeatureName]) -> list[dict[str, Any]]:
        """Return the least that has all these fields; devices and counter sets exclude each other in one slice."""
        device: dict[str, Any] = {}
        if "taints" in features:
            device["taints"] = [{"key": f"{self._driver}/{_NAME}", "effect": "NoSchedule"}]
        if "consumable_capacity" in features:
            device["allowMultipleAllocations"] = True
        counters = {"name": _NAME, "counters": {_NAME: {"value": "1"}}}
        return [
            *([{"devices": [{"name": _NAME, **device}]}] if device else ()),
            *([{"sharedCounters": [counters]}] if "partitionable" in features else ()),
        ]

    def _body(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        pool = {"name": self._node, "generation": 1, "resourceSliceCount": 1}
        return {
            "apiVersion": API_VERSION,
            "kind": "ResourceSlice",
            "metadata": {"generateName": f"{index_prefix(0, 1)}{self._driver}-{self._node}-"},
            "spec": {"driver": self._driver, "nodeName": self._node, "pool": pool, **spec},
        }
