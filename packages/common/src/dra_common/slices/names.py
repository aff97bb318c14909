"""The name formats of the API, as checks that raise SliceError (source: resource.k8s.io/v1 validation)."""

from __future__ import annotations

import re

from dra_common.errors import SliceError

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_TEXT = re.compile(_QUALIFIED)
_PRERELEASE = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){{2}}"
    rf"(?:-{_PRERELEASE}(?:\.{_PRERELEASE})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


def dns_label(value: str, what: str) -> None:
    """A DNS-1123 label of at most 63 characters."""
    _match(_DNS_LABEL, value, 63, what, "a DNS-1123 label (a-z, 0-9 and - inside)")


def subdomain(value: str, what: str, limit: int = 63) -> None:
    """A lower-case DNS-1123 subdomain."""
    _match(_SUBDOMAIN, value, limit, what, "a lower-case DNS-1123 subdomain")


def qualified_name(value: str, what: str) -> None:
    """``ident`` or ``domain/ident``: a C identifier of at most 32 and a domain of at most 63 characters."""
    domain, slash, identifier = value.rpartition("/")
    if slash:
        subdomain(domain, f"{what}: domain {domain!r}")
    _match(_IDENTIFIER, identifier, 32, what, "a C identifier")


def label_key(value: str, what: str) -> None:
    """A label name: ``name`` or ``domain/name``, name at most 63 and domain at most 253 characters."""
    domain, slash, name = value.rpartition("/")
    if slash:
        subdomain(domain, f"{what}: domain {domain!r}", 253)
    _match(_LABEL_TEXT, name, 63, what, "a label name (letters, digits and -_. inside)")


def label_value(value: str, what: str) -> None:
    """A label value, which may be empty."""
    if value:
        _match(_LABEL_TEXT, value, 63, what, "a label value (letters, digits and -_. inside)")


def version(value: str, what: str) -> None:
    """A semantic version 2.0.0 of at most 64 bytes."""
    _match(_SEMVER, value, 64, what, "a semantic version 2.0.0 (1.2.3)")


def _match(pattern: re.Pattern[str], value: str, limit: int, what: str, kind: str) -> None:
    if len(value) > limit:
        raise SliceError(f"{what} has {len(value)} characters, {limit} are allowed")
    if not pattern.fullmatch(value):
        raise SliceError(f"{what} is not {kind}")
