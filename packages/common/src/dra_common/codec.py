"""Records as bytes, whole and checkable: of claims, and of parents in a mode.

.. code-block:: text

    {"schema": 1, "sha256": "<of the record, canonical JSON>", "record": {...}}

The checksum tells a damaged file from a good one; the schema tells an older release that it must not guess. What a
newer release with the same schema added is kept wherever it stands, and written again: a step back loses nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError

from dra_common.errors import CorruptRecord, NewerRecord
from dra_common.model import SCHEMA, ClaimRecord, ParentMode

_UNKNOWN = "unknown"

_ADDED = ("use", "options")

R = TypeVar("R", ClaimRecord, ParentMode)


class Codec(Generic[R]):
    """The bytes of one kind of record.

    Args:
        kind: the record; what a release does not know of it goes into its field ``unknown``.
        silent: what is not written of a record, as pydantic's ``exclude``.
    """

    def __init__(self, kind: type[R], silent: Callable[[R], Mapping[str, Any]]) -> None:
        self._adapter: TypeAdapter[R] = TypeAdapter(kind)
        self._exclude: Callable[[R], Mapping[str, Any]] = silent

    def encode(self, record: R) -> bytes:
        """Return the bytes of a record's file."""
        whole = _overlaid({"schema": SCHEMA, "sha256": "", "record": self.to_json(record)}, record.unknown)
        return json.dumps({**whole, "sha256": _checksum(whole["record"])}).encode() + b"\n"

    def decode(self, data: bytes, *, name: str) -> R:
        """Return the record in ``data``; fields that this release does not know are kept in it.

        Raises CorruptRecord (not JSON, wrong checksum, fields missing), NewerRecord (written by a newer release).
        """
        try:
            envelope = _envelope(data, name)
            record = self._record(envelope, name)
            known: dict[str, JsonValue] = {"schema": SCHEMA, "sha256": "", "record": self.to_json(record)}
            return replace(record, unknown=_beyond(envelope, known))
        except RecursionError as error:
            msg = f"record {name} is not JSON of ours: {error}"
            raise CorruptRecord(msg) from error

    def to_json(self, record: R) -> dict[str, Any]:
        """Return what a record says, for people and tools, without what this release does not know."""
        dumped: dict[str, Any] = self._adapter.dump_python(record, mode="json", exclude=self._exclude(record))
        return dumped

    def _record(self, envelope: Mapping[str, Any], name: str) -> R:
        body = envelope["record"]
        if envelope["sha256"] != _checksum(body):
            msg = f"record {name} fails its checksum"
            raise CorruptRecord(msg)
        try:
            return self._adapter.validate_python(
                {key: value for key, value in body.items() if key != _UNKNOWN}
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            msg = f"record {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise CorruptRecord(msg) from error


def _silent(record: ClaimRecord) -> Mapping[str, Any]:
    """Say of few claims what no release before knew: it need not be in every record."""
    silent: dict[str, Any] = {_UNKNOWN: True}
    silent |= {name: True for name in ("adopted", "pod_claim") if not getattr(record, name)}
    added = {name for name in _ADDED if not any(getattr(device, name) for device in record.plan.devices)}
    if added:
        silent["plan"] = {"devices": {"__all__": added}}
    return silent


CLAIMS = Codec(ClaimRecord, _silent)
PARENTS = Codec(ParentMode, lambda _: {_UNKNOWN: True})
encode, decode, to_json = CLAIMS.encode, CLAIMS.decode, CLAIMS.to_json


def _envelope(data: bytes, name: str) -> dict[str, Any]:
    """Return the outermost object, whose three fields mean the same in every schema."""
    try:
        envelope = json.loads(data)
    except ValueError as error:
        msg = f"record {name} is not JSON: {error}"
        raise CorruptRecord(msg) from error
    if not isinstance(envelope, dict) or type(schema := envelope.get("schema")) is not int or schema < 1:
        msg = f"record {name} has no schema number"
        raise CorruptRecord(msg)
    if schema > SCHEMA:
        msg = f"record {name} has schema {schema}, this release reads up to {SCHEMA}"
        raise NewerRecord(
            msg, cure="install the release that wrote it, or a newer one; until then it is left alone"
        )
    if not isinstance(envelope.get("record"), dict) or not isinstance(envelope.get("sha256"), str):
        msg = f"record {name} has no content or no checksum"
        raise CorruptRecord(msg)
    return envelope


def _beyond(whole: Mapping[str, JsonValue], known: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what ``whole`` has and ``known`` has not, at any depth; what lies deeper keeps the way to it."""
    beyond: dict[str, JsonValue] = {}
    for key, value in whole.items():
        if key not in known:
            beyond[key] = value
        elif deeper := _beyond(_children(value), _children(known[key])):
            beyond[key] = deeper
    return beyond


def _children(value: JsonValue) -> Mapping[str, JsonValue]:
    """What is below a value: by name, or by number; nothing below text and numbers."""
    if isinstance(value, list):
        return {str(number): entry for number, entry in enumerate(value)}
    return value if isinstance(value, dict) else {}


def _overlaid(known: Any, beyond: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Undo :func:`_beyond`; what was beside an entry that is no more goes with it."""
    if isinstance(known, dict) and isinstance(beyond, Mapping):
        below = {key: _overlaid(value, beyond.get(key)) for key, value in known.items()}
        return {**below, **{key: value for key, value in beyond.items() if key not in known}}
    if isinstance(known, Sequence) and not isinstance(known, str) and isinstance(beyond, Mapping):
        return [_overlaid(entry, beyond.get(str(number))) for number, entry in enumerate(known)]
    return known


def _checksum(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
