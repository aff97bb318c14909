"""Refusals of the API server, as ``metav1.Status`` objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """One broken rule: which field, which kind of rule (``FieldValueInvalid`` …), and in words."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"

    def as_json(self) -> dict[str, str]:
        """Return the cause as it stands in ``Status.details.causes``."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


def required(field: str, detail: str = "") -> Cause:
    """Say that a value is missing."""
    return Cause(field, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")


def invalid(field: str, value: object, detail: str) -> Cause:
    """Say that a value has the wrong form."""
    return Cause(field, "FieldValueInvalid", f"Invalid value: {_quoted(value)}: {detail}")


def too_many(field: str, count: int, limit: int) -> Cause:
    """Say that a list or map has more entries than allowed."""
    return Cause(field, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items")


def too_long(field: str, limit: int) -> Cause:
    """Say that a text has more bytes than allowed."""
    return Cause(field, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def duplicate(field: str, value: object) -> Cause:
    """Say that a value that must be unique stands twice."""
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {_quoted(value)}")


def forbidden(field: str, detail: str) -> Cause:
    """Say that a value may not be set here."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {detail}")


def not_supported(field: str, value: object, allowed: Sequence[str]) -> Cause:
    """Say that a value is none of those allowed."""
    choices = ", ".join(f'"{choice}"' for choice in allowed)
    return Cause(
        field, "FieldValueNotSupported", f"Unsupported value: {_quoted(value)}: supported values: {choices}"
    )


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


class Refusal(Exception):
    """The API server says no; :meth:`body` is what it answers."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        details: dict[str, Any] | None = None,
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or REASONS.get(code, "")
        self.details = details or {}
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """Return the ``Status`` object."""
        details = dict(self.details)
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if details:
            status["details"] = details
        return {**status, "code": self.code}
