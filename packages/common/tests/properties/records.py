"""Bytes where a claim's record should be: refused with a reason, or a record that loses nothing when written again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from dra_common.codec import decode, encode
from dra_common.errors import CorruptRecord, NewerRecord
from properties.base import DEEP, Property, damaged, parsed

GOLDEN = Path(__file__).parent.parent / "golden"
SEEDS = (*(path.read_bytes() for path in sorted(GOLDEN.glob("claim-schema-*.json"))), DEEP)


def check(data: bytes) -> None:
    """As they are, and once more with a checksum that is right: nothing but the content stands in the way then."""
    check_decoding(data)
    whole = parsed(data)
    if isinstance(whole, dict) and isinstance(whole.get("record"), dict):
        check_decoding(sealed(whole))


def check_decoding(data: bytes) -> None:
    try:
        record = decode(data, name="file")
    except (CorruptRecord, NewerRecord) as error:
        assert "file" in error.message
        return
    again = encode(record)
    assert decode(again, name="again") == record
    assert encode(decode(again, name="again")) == again
    assert not missing(parsed(data)["record"], json.loads(again)["record"])


def missing(before: Any, after: Any) -> list[str]:
    """Names of ``before`` that ``after`` has not, at any depth."""
    if isinstance(before, dict) and isinstance(after, dict):
        below = (missing(value, after.get(name)) for name, value in before.items())
        return sorted(set(before) - set(after)) + [name for names in below for name in names]
    if isinstance(before, list) and isinstance(after, list):
        return [name for pair in zip(before, after, strict=True) for name in missing(*pair)]
    return []


def sealed(whole: dict[str, Any]) -> bytes:
    canonical = json.dumps(whole["record"], sort_keys=True, separators=(",", ":"))
    return json.dumps({**whole, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}).encode()


PROPERTY = Property("records", damaged(SEEDS), check, seeds=SEEDS, raw=True)
