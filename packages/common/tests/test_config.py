"""Opaque configuration: strict decoding, precedence field by field, and what only an administrator may set."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import pytest
from dra_common.config import configure
from dra_common.driver import AdminOnly, ConfigKind, OpaqueParameters
from dra_common.errors import ConfigError
from dra_common.model import Allocated, Claim, ClaimRef, OpaqueConfig
from pydantic import Field

API = "gpu.example.com/v1"


class Mode(StrEnum):
    FAIR = "fair"
    FAST = "fast"


class Cut(OpaqueParameters):
    parts: int = Field(default=1, ge=1, le=8)
    name: str = ""
    tags: tuple[str, ...] = ()
    mode: Mode = Mode.FAIR
    trusted: Annotated[bool, AdminOnly()] = False


class Empty(OpaqueParameters):
    pass


KINDS = (
    ConfigKind(API, "Cut", Cut),
    ConfigKind(API, "Empty", Empty),
)
REF = ClaimRef("team", "train", "uid-1")


def entry(
    source: Any = "FromClaim",
    requests: tuple[str, ...] = (),
    kind: str = "Cut",
    api: str = API,
    **fields: Any,
) -> OpaqueConfig:
    return OpaqueConfig(source, requests, {"apiVersion": api, "kind": kind, **fields})


def claim(*configs: OpaqueConfig, requests: tuple[str, ...] = ("gpu",)) -> Claim:
    results = tuple(Allocated(request, "node-1", f"gpu-{number}") for number, request in enumerate(requests))
    return Claim(REF, results, configs)


def cuts(*configs: OpaqueConfig, requests: tuple[str, ...] = ("gpu",)) -> list[Any]:
    return [wanted.config["Cut"] for wanted in configure(claim(*configs, requests=requests), KINDS)]


def refusal(*configs: OpaqueConfig, kinds: tuple[ConfigKind, ...] = KINDS) -> str:
    with pytest.raises(ConfigError) as caught:
        configure(claim(*configs), kinds)
    assert f"claim {REF}" in str(caught.value)
    assert caught.value.cure
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_configuration_there_are_defaults_of_every_kind() -> None:
    (wanted,) = configure(claim(), KINDS)
    assert wanted.allocated.device == "gpu-0"
    assert wanted.config == {"Cut": Cut(), "Empty": Empty()}


def test_a_claim_without_devices_is_decoded_all_the_same() -> None:
    assert configure(claim(requests=()), KINDS) == ()
    with pytest.raises(ConfigError):
        configure(claim(entry(parts=99), requests=()), KINDS)


def test_the_later_wins_field_by_field() -> None:
    (cut,) = cuts(
        entry("FromClass", parts=2, name="class", trusted=True),
        entry("FromClaim", parts=4),
        entry("FromClaim", tags=["a"], mode="fast"),
    )
    assert cut == Cut(parts=4, name="class", trusted=True, tags=("a",), mode=Mode.FAST)


def test_a_value_equal_to_the_default_still_wins_over_an_earlier_one() -> None:
    assert cuts(entry("FromClass", parts=5), entry(parts=1)) == [Cut(parts=1)]


def test_entries_reach_the_requests_that_they_name() -> None:
    found = cuts(
        entry("FromClass", name="all"),
        entry(requests=("b",), parts=2),
        entry(requests=("c/small",), parts=3),
        requests=("a", "b", "c/small", "c/large", "b/any"),
    )
    assert [cut.parts for cut in found] == [1, 2, 3, 1, 2]
    assert {cut.name for cut in found} == {"all"}


def test_an_entry_for_no_request_of_ours_is_checked_and_ignored() -> None:
    assert cuts(entry(requests=("other",), parts=7)) == [Cut()]
    assert "parts" in refusal(entry(requests=("other",), parts=9))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"pats": 2}, "Cut field pats: unknown field"),
        ({"parts": 0}, "Cut field parts: "),
        ({"parts": "2"}, "Cut field parts: "),
        ({"parts": 2.0}, "Cut field parts: "),
        ({"parts": True}, "Cut field parts: "),
        ({"parts": None}, "Cut field parts: "),
        ({"name": 7}, "Cut field name: "),
        ({"tags": ["a", 7]}, "Cut field tags.1: "),
        ({"tags": "abc"}, "Cut field tags: "),
        ({"mode": "slow"}, "Cut field mode: "),
        ({"metadata": {}}, "Cut field metadata: unknown field"),
    ],
    ids=str,
)
def test_bad_fields_are_named_with_what_is_allowed(fields: dict[str, Any], says: str) -> None:
    said = refusal(entry(requests=("gpu",), **fields))
    assert "opaque configuration of the claim for request gpu" in said
    assert says in said
    assert "Cut has the fields mode, name, parts, tags, trusted" in said


def test_the_source_is_named() -> None:
    assert "opaque configuration of the DeviceClass: Cut field" in refusal(entry("FromClass", x=1))
    assert "Empty has no fields" in refusal(entry(kind="Empty", x=1))


@pytest.mark.parametrize(
    ("kind", "api"), [("Slice", API), ("Cut", "gpu.example.com/v2"), ("", ""), ("cut", API)]
)
def test_unknown_kinds_are_named_with_those_that_are_known(kind: str, api: str) -> None:
    said = refusal(entry(kind=kind, api=api))
    assert f"unknown opaque kind {kind!r} of apiVersion {api!r}" in said
    assert f"Cut ({API})" in said
    assert f"Empty ({API})" in said


def test_parameters_without_kind() -> None:
    assert "unknown opaque kind None" in refusal(OpaqueConfig("FromClaim", (), {"parts": 1}))
    assert "unknown opaque kind None" in refusal(OpaqueConfig("FromClaim", (), {}))


def test_a_driver_without_kinds_refuses_all() -> None:
    assert "this driver takes no opaque configuration" in refusal(entry(), kinds=())


@pytest.mark.parametrize("value", [True, False])
def test_admin_fields_are_refused_from_a_claim_even_at_their_default(value: bool) -> None:  # noqa: FBT001
    said = refusal(entry("FromClass", trusted=True), entry(trusted=value))
    assert "Cut field trusted may be set in the DeviceClass only" in said
    assert "administrator" in said
    assert cuts(entry("FromClass", trusted=True)) == [Cut(trusted=True)]
