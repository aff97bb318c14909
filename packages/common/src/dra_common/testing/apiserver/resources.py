"""The table of resources that the fake API server serves; a further one is one more entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dra_common.testing.apiserver.status import Cause

Json = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped objects."""


class Rules:
    """What is particular to a resource: how its objects are made canonical, and what they must satisfy.

    This base accepts everything.
    """

    def admit(self, new: Json, old: Json | None) -> Json:
        """Return ``new`` as it would be stored: unknown and gated fields gone, defaults set, quantities canonical.

        Raises Refusal (400) if it cannot be decoded.
        """
        del old
        return new

    def check(self, new: Json, old: Json | None) -> Sequence[Cause]:
        """Return every rule that ``new`` breaks; ``old`` is what it replaces."""
        del new, old
        return ()


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One kind of object.

    Args:
        group: API group, empty for the core group.
        selectable: field selectors beside ``metadata.name`` and ``metadata.namespace``; any other one is a 400.
        generation: whether ``metadata.generation`` counts changes of the spec.
        has_status: whether there is a ``/status`` subresource: a write to the object then keeps the stored status, a
            write to the status keeps everything else.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = False
    selectable: tuple[str, ...] = ()
    generation: bool = False
    has_status: bool = False
    rules: Rules = field(default_factory=Rules)

    @property
    def api_version(self) -> str:
        """``resource.k8s.io/v1``, or ``v1`` in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """``resourceslices.resource.k8s.io``: how messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def root(self) -> str:
        """The path before ``namespaces/…`` or the plural, without a trailing slash."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


@dataclass(frozen=True, slots=True)
class Target:
    """What a request path means."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        """The object's place in the store."""
        return (self.namespace, self.name)


def find(resources: Mapping[str, Resource], path: str) -> Target | None:
    """Return what ``path`` addresses, or None if nothing is served there."""
    for resource in resources.values():
        if path.startswith(resource.root + "/"):
            target = _match(resource, path[len(resource.root) + 1 :].split("/"))
            if target is not None:
                return target
    return None


def _match(resource: Resource, parts: list[str]) -> Target | None:
    namespace = ""
    if resource.namespaced and len(parts) > 2 and parts[0] == "namespaces":  # noqa: PLR2004 (namespaces/NS/plural)
        namespace, parts = parts[1], parts[2:]
    if parts[0] != resource.plural or "" in parts:
        return None
    match parts[1:]:
        case []:
            return Target(resource, namespace)
        case [name]:
            return Target(resource, namespace, name)
        case [name, "status"] if resource.has_status:
            return Target(resource, namespace, name, "status")
    return None
