"""The bytes of a record: what any release wrote is read, kept whole, or refused; nothing damaged is taken for good."""

from __future__ import annotations

import hashlib
import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dra_common.codec import decode, encode
from dra_common.errors import CorruptRecord, NewerRecord, StateError
from dra_common.model import Allocated, ClaimRecord, ClaimRef, Phase, Plan, PlannedDevice, PreparedDevice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import PLANNED, RECORD

GOLDEN = Path(__file__).parent / "golden"
# Written by the first release with schema 1; later releases must read it for ever. Never edit it: add others.
SCHEMA_1 = (GOLDEN / "claim-schema-1.json").read_bytes()
# The same from a later release of schema 1, with optional fields of its own at every level.
LATER = (GOLDEN / "claim-schema-1-later.json").read_bytes()
# From a release with another schema: only the three outermost names mean what they mean here.
SCHEMA_2 = (GOLDEN / "claim-schema-2.json").read_bytes()


# --------------------------------------------------------------------------- releases


def test_a_record_of_the_first_schema_is_read() -> None:
    assert decode(SCHEMA_1, name="golden") == RECORD


def test_what_the_first_release_needs_is_still_written() -> None:
    """Each release writes what the one before it reads: nothing it knew is missing, renamed or of another type."""
    assert lacking(json.loads(SCHEMA_1), json.loads(encode(RECORD)), skip="sha256") == []


def lacking(needed: Any, written: Any, path: str = "", skip: str = "") -> list[str]:
    if isinstance(needed, dict) and isinstance(written, dict):
        below = [(key, value, written.get(key)) for key, value in needed.items() if key != skip]
    elif isinstance(needed, list) and isinstance(written, list):
        below = [(str(at), *pair) for at, pair in enumerate(zip(needed, written, strict=True))]
    else:
        return [] if needed == written else [path]
    return [each for key, value, has in below for each in lacking(value, has, f"{path}/{key}")]


def test_what_a_later_release_added_is_read_over_and_written_again() -> None:
    found = decode(LATER, name="golden")
    assert replace(found, unknown={}) == RECORD
    assert json.loads(encode(found)) == json.loads(LATER)


def test_what_a_later_release_added_stays_when_the_claim_moves_on() -> None:
    moved = replace(decode(LATER, name="golden"), phase=Phase.UNPREPARING, error="other")
    written, golden = json.loads(encode(moved)), json.loads(LATER)
    golden["record"] |= {"phase": "unpreparing", "error": "other"}
    assert written == {**golden, "sha256": sha(golden["record"])}
    assert decode(encode(moved), name="again") == moved


def test_what_was_noted_about_a_device_goes_with_the_device() -> None:
    emptied = replace(decode(LATER, name="golden"), answer=(), plan=Plan())
    written = json.loads(encode(emptied))["record"]
    assert written["answer"] == []
    assert written["plan"] == {"devices": [], "added": "p"}
    assert written["added"] == {"later": [True, None, 1.5]}


def test_in_another_boot_only_what_was_noted_about_the_old_plan_is_dropped() -> None:
    again = decode(LATER, name="golden").planned_again(Plan((PLANNED,)), "boot-2")
    assert (again.phase, again.boot_id, again.answer, again.error) == (
        Phase.PREPARING,
        "boot-2",
        RECORD.answer,
        "",
    )
    written, golden = json.loads(encode(again)), json.loads(LATER)
    assert written["minor"] == 4
    assert (written["record"]["ref"], written["record"]["answer"]) == (
        golden["record"]["ref"],
        golden["record"]["answer"],
    )
    assert written["record"]["added"] == golden["record"]["added"]
    assert "added" not in json.dumps(written["record"]["plan"])


busy = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Nested values are slow to make up on a busy machine."""

NAMES = st.text(string.ascii_letters, min_size=1, max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@busy
@given(st.data())
def test_unknown_fields_of_any_shape_at_any_place_are_kept(data: st.DataObject) -> None:
    envelope = json.loads(SCHEMA_1)
    body = envelope["record"]
    device = body["plan"]["devices"][0]
    places = (envelope, body, body["ref"], body["plan"], device, device["allocated"], body["answer"][0])
    for place in places:
        added = data.draw(st.dictionaries(NAMES, JSON, max_size=2))
        place.update({key: value for key, value in added.items() if key not in place})
    envelope["sha256"] = sha(body)
    found = decode(json.dumps(envelope).encode(), name="name")
    assert replace(found, unknown={}) == RECORD
    assert json.loads(encode(found)) == envelope
    assert decode(encode(found), name="again") == found


REFS = st.builds(ClaimRef, st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
ALLOCATED = st.builds(
    Allocated,
    *[st.text(max_size=5)] * 3,
    share_id=st.none() | st.text(max_size=5),
    admin_access=st.booleans(),
    consumed_capacity=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)
PLANS = st.builds(
    Plan,
    st.lists(
        st.builds(
            PlannedDevice,
            ALLOCATED,
            st.lists(st.text(max_size=3), max_size=2).map(tuple),
            st.none() | st.dictionaries(NAMES, JSON, max_size=3),
        ),
        max_size=3,
    ).map(tuple),
)
ANSWERS = st.lists(
    st.builds(
        PreparedDevice,
        st.lists(st.text(max_size=3), max_size=2).map(tuple),
        st.text(max_size=3),
        st.text(max_size=3),
        st.lists(st.text(max_size=3), max_size=2).map(tuple),
        st.none() | st.text(max_size=3),
    ),
    max_size=3,
).map(tuple)


@busy
@given(
    st.builds(
        ClaimRecord,
        REFS,
        st.sampled_from(Phase),
        st.text(max_size=5),
        PLANS,
        ANSWERS,
        st.text(max_size=5),
    )
)
def test_every_record_is_read_back_as_it_was_written(record: ClaimRecord) -> None:
    assert decode(encode(record), name="name") == record


@pytest.mark.scenario(52)
def test_a_newer_schema_is_refused_but_not_corrupt() -> None:
    with pytest.raises(NewerRecord, match="golden has schema 2, this release reads up to 1") as caught:
        decode(SCHEMA_2, name="golden")
    assert not isinstance(caught.value, CorruptRecord)
    assert "install the release that wrote it" in caught.value.cure


@pytest.mark.parametrize("change", [{"record": None}, {"sha256": 7}, {"added": 1}])
def test_a_newer_schema_may_look_like_anything(change: dict[str, Any]) -> None:
    with pytest.raises(NewerRecord):
        decode(json.dumps({**json.loads(SCHEMA_2), **change}).encode(), name="name")


# --------------------------------------------------------------------------- damage


@pytest.mark.scenario(52)
@given(cut=st.integers(0, len(encode(RECORD)) - 2))
def test_a_truncated_record_is_always_noticed(cut: int) -> None:
    with pytest.raises(CorruptRecord, match="record name"):
        decode(encode(RECORD)[:cut], name="name")


@pytest.mark.scenario(52)
@given(at=st.integers(0, len(encode(RECORD)) - 2), byte=st.integers(0, 255))
def test_a_changed_byte_is_noticed_or_harmless(at: int, byte: int) -> None:
    data = bytearray(encode(RECORD))
    data[at] = byte
    said = ""
    try:
        found = decode(bytes(data), name="the-file")
    except StateError as error:
        said, found = str(error), RECORD
    assert found == RECORD
    assert not said or "the-file" in said


@given(st.binary(max_size=300))
def test_garbage_is_corrupt_never_something_else(data: bytes) -> None:
    with pytest.raises(CorruptRecord):
        decode(data, name="name")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"schema": "1", "sha256": "", "record": {}}',
        '{"schema": 0, "sha256": "", "record": {}}',
        '{"schema": -1, "sha256": "", "record": {}}',
        '{"schema": true, "sha256": "", "record": {}}',
        '{"schema": 1, "sha256": 1, "record": {}}',
        '{"schema": 1, "sha256": "x", "record": []}',
        '{"schema": 1, "sha256": "x", "record": {}}',
        "[" * 100_000,
        '{"schema": 1, "sha256": "x", "record": {"a":' + "[" * 900 + "]" * 900 + "}}",
    ],
)
def test_shapes_that_are_no_record(text: str) -> None:
    with pytest.raises(CorruptRecord):
        decode(text.encode(), name="name")


def test_missing_fields_are_named() -> None:
    envelope = json.loads(encode(RECORD))
    del envelope["record"]["phase"]
    envelope["sha256"] = sha(envelope["record"])
    with pytest.raises(CorruptRecord, match="phase"):
        decode(json.dumps(envelope).encode(), name="name")


def sha(body: object) -> str:
    """An independent look at the documented checksum."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
