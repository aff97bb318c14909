"""What is served; to serve more, add an entry (and rules, if its objects have any)."""

from __future__ import annotations

from dra_common.testing.apiserver.claims import ClaimRules
from dra_common.testing.apiserver.events import EventRules
from dra_common.testing.apiserver.features import Features
from dra_common.testing.apiserver.resources import Resource
from dra_common.testing.apiserver.slices import SliceRules


def resources(features: Features | None) -> dict[str, Resource]:
    """Return plural name -> resource, for one server version and its gates; None = without ``resource.k8s.io/v1``."""
    entries = (
        Resource("", "v1", "nodes", "Node", has_status=True),
        Resource("", "v1", "pods", "Pod", namespaced=True, selectable=("spec.nodeName",), has_status=True),
        *(_dra(features) if features else ()),
    )
    return {entry.plural: entry for entry in entries}


def _dra(features: Features) -> tuple[Resource, ...]:
    dra = ("resource.k8s.io", "v1")
    return (
        Resource(*dra, "deviceclasses", "DeviceClass", generation=True),
        Resource(
            *dra,
            "resourceslices",
            "ResourceSlice",
            selectable=("spec.nodeName", "spec.driver", "spec.pool.name"),
            generation=True,
            rules=SliceRules(features),
        ),
        Resource(
            *dra,
            "resourceclaims",
            "ResourceClaim",
            namespaced=True,
            has_status=True,
            rules=ClaimRules(features),
        ),
        Resource(dra[0], _taint_rules(features), "devicetaintrules", "DeviceTaintRule", generation=True),
        Resource(
            "events.k8s.io",
            "v1",
            "events",
            "Event",
            namespaced=True,
            selectable=("reason", "type", "regarding.name", "regarding.kind"),
            rules=EventRules(),
        ),
    )


def _taint_rules(features: Features) -> str:
    """Return the newest version of that kind (KEP-5055)."""
    return {"1.37": "v1", "1.36": "v1beta2"}.get(features.version, "v1alpha3")
