"""Field selectors: ``spec.nodeName=n1,spec.driver!=x``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dra_common.testing.apiserver.resources import Json, Resource
from dra_common.testing.apiserver.status import Refusal

_TERM = re.compile(r"^([^=!]+)(==|=|!=)(.*)$")


@dataclass(frozen=True, slots=True)
class Selector:
    """A conjunction of comparisons; an absent field counts as the empty string."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    def matches(self, item: Json | None) -> bool:
        """Whether ``item`` is there and satisfies every term."""
        return item is not None and all(
            (_field(item, path) == value) is equal for path, equal, value in self.terms
        )


def parse(text: str, resource: Resource) -> Selector:
    """Read a ``fieldSelector``. Raises Refusal (400) for a field that this resource cannot be selected by."""
    return Selector(tuple(_term(term, resource) for term in text.split(",") if term))


def _term(term: str, resource: Resource) -> tuple[str, bool, str]:
    found = _TERM.match(term)
    if not found:
        raise Refusal(400, f"invalid selector: '{term}'; can't understand '{term}'")
    path, operator, value = found.groups()
    known = ("metadata.name", *(("metadata.namespace",) if resource.namespaced else ()), *resource.selectable)
    if path not in known:
        message = (
            f'Unable to find "{resource.api_version}, Resource={resource.plural}" that match field selector'
        )
        raise Refusal(400, f'{message} "{term}": field label not supported: {path}')
    return path, operator != "!=", value


def _field(item: Json, path: str) -> str:
    value: Any = item
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)
