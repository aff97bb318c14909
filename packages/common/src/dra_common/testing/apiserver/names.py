"""The forms of names that the rules of resource.k8s.io ask for."""

from __future__ import annotations

import re

from dra_common.testing.apiserver.status import Cause, invalid, required, too_long

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_C_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)
_LABEL_MAX = 63
_SUBDOMAIN_MAX = 253
_DOMAIN_MAX = 63
_IDENTIFIER_MAX = 32


def check_label(path: str, value: str) -> list[Cause]:
    """A DNS-1123 label, at most 63 bytes."""
    if not value:
        return [required(path)]
    if len(value) > _LABEL_MAX or not _LABEL.fullmatch(value):
        detail = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start"
        return [invalid(path, value, f"{detail} and end with an alphanumeric character (at most 63)")]
    return []


def check_driver(path: str, value: str) -> list[Cause]:
    """A driver name: a DNS-1123 subdomain in any case, at most 63 bytes."""
    if not value:
        return [required(path)]
    causes = [too_long(path, _DOMAIN_MAX)] if len(value) > _DOMAIN_MAX else []
    return causes + _subdomain(path, value.lower())


def check_pool(path: str, value: str) -> list[Cause]:
    """DNS-1123 subdomains joined by ``/``, at most 253 bytes."""
    if not value:
        return [required(path)]
    causes = [too_long(path, _SUBDOMAIN_MAX)] if len(value) > _SUBDOMAIN_MAX else []
    return causes + [cause for part in value.split("/") for cause in _subdomain(path, part)]


def _subdomain(path: str, value: str) -> list[Cause]:
    if _SUBDOMAIN.fullmatch(value):
        return []
    return [
        invalid(
            path, value, "a lowercase RFC 1123 subdomain must consist of lower case alphanumerics, '-' or '.'"
        )
    ]


def check_qualified(path: str, value: str) -> list[Cause]:
    """``identifier`` or ``domain/identifier``: the names of attributes and capacities."""
    if not value:
        return [required(path, "name required")]
    domain, slash, identifier = value.rpartition("/")
    causes = []
    if slash and (not domain or "/" in domain):
        return [invalid(path, value, "a qualified name is `identifier` or `domain/identifier`")]
    if domain:
        causes += [too_long(path, _DOMAIN_MAX)] if len(domain) > _DOMAIN_MAX else []
        causes += _subdomain(path, domain)
    if len(identifier) > _IDENTIFIER_MAX:
        causes.append(too_long(path, _IDENTIFIER_MAX))
    if not _C_IDENTIFIER.fullmatch(identifier):
        causes.append(
            invalid(path, identifier, "a valid C identifier must start with alphabetic character or '_'")
        )
    return causes


def check_fully_qualified(path: str, value: str) -> list[Cause]:
    """``domain/identifier``, the domain mandatory."""
    if "/" not in value:
        return [invalid(path, value, "must include a domain")]
    return check_qualified(path, value)


def check_label_name(path: str, value: str) -> list[Cause]:
    """A label key: ``name`` or ``domain/name``."""
    domain, slash, name = value.rpartition("/")
    if not value:
        return [required(path)]
    good = bool(_LABEL_NAME.fullmatch(name)) and len(name) <= _LABEL_MAX
    if slash:
        good = good and bool(_SUBDOMAIN.fullmatch(domain)) and len(domain) <= _SUBDOMAIN_MAX
    return (
        []
        if good
        else [invalid(path, value, "name part must consist of alphanumeric characters, '-', '_' or '.'")]
    )


def check_label_value(path: str, value: str) -> list[Cause]:
    """A label value; may be empty."""
    if not value or (len(value) <= _LABEL_MAX and _LABEL_NAME.fullmatch(value)):
        return []
    return [
        invalid(
            path, value, "a valid label must consist of alphanumeric characters, '-', '_' or '.' (at most 63)"
        )
    ]


def is_semver(value: str) -> bool:
    """Whether ``value`` is a semantic version 2.0.0."""
    return bool(_SEMVER.fullmatch(value))
