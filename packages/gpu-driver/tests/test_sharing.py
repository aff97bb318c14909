"""What the policy ``sharing`` makes of a GPU: what the scheduler is told, and that it is never told nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dra_common.model import Capacity, Device, Quantity, Snapshot
from dra_common.policy import file_model
from dra_common.slices import ServerFeatures, to_slices
from gpu_driver.policy import KIND
from gpu_driver.sharing import Sharing, share
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

GIB = 1 << 30
WHOLE = {"memory": Capacity(Quantity(16 * GIB, "binary")), "millicores": Capacity(Quantity(1000))}


def sharing(**fields: Any) -> Sharing:
    """As it comes out of a file."""
    rule = {"match": {}, "sharing": fields}
    text = json.dumps({"apiVersion": KIND.api_version, "kind": KIND.kind, "devices": [rule]})
    file = file_model(KIND).model_validate_json(text, by_alias=True, by_name=False)
    found: Sharing = file.devices[0].sharing  # type: ignore[attr-defined]
    return found


def published(device: Device, *off: Any) -> dict[str, Any]:
    features = ServerFeatures.of((1, 37)).without(*off)
    ((found,),) = [
        part.devices
        for part in to_slices(Snapshot(1, (device,)), driver="g.example", features=features).contents
    ]
    return dict(found)


def capacity(total: int = 16 * GIB, **fields: Any) -> dict[str, Any]:
    whole = {**WHOLE, "memory": Capacity(Quantity(total, "binary"))}
    found: dict[str, Any] = published(share(Device("gpu", capacity=whole), sharing(**fields)))["capacity"]
    return found


def test_without_more_than_a_number_of_clients_each_gets_an_equal_part() -> None:
    assert capacity(maxClients=3) == {
        "clients": {"value": "3", "requestPolicy": {"default": "1", "validRange": {"min": "1", "step": "1"}}},
        "memory": {
            "value": "16Gi",
            "requestPolicy": {"default": "5461Mi", "validRange": {"min": "1Mi"}},
        },
        "millicores": {"value": "1k", "requestPolicy": {"default": "333", "validRange": {"min": "1"}}},
    }


def test_one_client_at_a_time_is_a_device_that_is_counted() -> None:
    found = capacity(maxClients=1)
    assert found["clients"] == {"value": "1", "requestPolicy": {"default": "1", "validValues": ["1"]}}
    assert found["memory"]["requestPolicy"]["default"] == "16Gi"


@pytest.mark.parametrize(
    ("portion", "policy"),
    [
        ({"default": "2Gi"}, {"default": "2Gi", "validRange": {"min": "1Mi"}}),
        (
            {"min": "1Gi", "max": "6Gi", "step": "1Gi"},
            {"default": "4Gi", "validRange": {"min": "1Gi", "max": "6Gi", "step": "1Gi"}},
        ),
        ({"step": "3Gi"}, {"default": "3Gi", "validRange": {"min": "3Gi", "step": "3Gi"}}),
        ({"max": "2Gi"}, {"default": "2Gi", "validRange": {"min": "1Mi", "max": "2Gi"}}),
        ({"min": "5Gi"}, {"default": "5Gi", "validRange": {"min": "5Gi"}}),
        ({"max": "64Gi"}, {"default": "4Gi", "validRange": {"min": "1Mi"}}),
        ({"min": "12Gi", "step": "12Gi"}, {"default": "12Gi", "validValues": ["12Gi"]}),
        ({"values": ["2Gi", "4Gi", "8Gi"]}, {"default": "4Gi", "validValues": ["2Gi", "4Gi", "8Gi"]}),
        ({"values": ["2Gi", "32Gi"], "default": "2Gi"}, {"default": "2Gi", "validValues": ["2Gi"]}),
        ({"values": ["8Gi", "12Gi"]}, {"default": "8Gi", "validValues": ["8Gi", "12Gi"]}),
        ({"values": [1024]}, {"default": "1Ki", "validValues": ["1Ki"]}),
    ],
)
def test_what_a_claim_may_have_of_memory(portion: dict[str, Any], policy: dict[str, Any]) -> None:
    assert capacity(maxClients=4, memory=portion)["memory"]["requestPolicy"] == policy


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "maxClients"),
        ({"maxClients": 0}, "greater than or equal to 1"),
        ({"maxClients": 1001}, "less than or equal to 1000"),
        (
            {"maxClients": 2, "memory": {"min": "4Gi", "default": "2Gi"}},
            "`min` <= `default` <= `max` must hold",
        ),
        ({"maxClients": 2, "memory": {"min": "4Gi", "max": "2Gi"}}, "`min` <= `default` <= `max` must hold"),
        ({"maxClients": 2, "memory": {"min": "1Gi", "max": "4Gi", "step": "2Gi"}}, "a multiple of `step`"),
        ({"maxClients": 2, "memory": {"step": 0}}, "greater than 0"),
        ({"maxClients": 2, "memory": {"values": [1, 2], "max": 2}}, "excludes `min`, `max` and `step`"),
        ({"maxClients": 2, "memory": {"values": [2, 1]}}, "must ascend"),
        ({"maxClients": 2, "memory": {"values": [1, 2], "default": 3}}, "must be one of `values`"),
        ({"maxClients": 2, "memory": {"values": list(range(11))}}, "at most 10"),
        ({"maxClients": 2, "memory": {"default": "1.5Gi"}}, "'1.5Gi' is no whole amount"),
        ({"maxClients": 2, "memory": {"default": "4GiB"}}, "'4GiB' is no whole amount"),
        ({"maxClients": 2, "memory": {"default": -1}}, "greater than or equal to 0"),
        ({"maxClients": 2, "cores": {}}, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        sharing(**fields)


@pytest.mark.parametrize(
    ("portion", "why"),
    [
        ({"default": "32Gi"}, "memory: a claim would get 32Gi, and there is 16Gi"),
        ({"min": "17Gi"}, "memory: a claim would get 17Gi, and there is 16Gi"),
        ({"values": ["32Gi", "64Gi"]}, "memory: a claim would get 32Gi, and there is 16Gi"),
    ],
)
def test_a_gpu_that_is_too_small_for_the_policy_is_not_shared(portion: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        capacity(maxClients=2, memory=portion)


def test_less_than_a_mebibyte_is_no_mistake_if_it_is_said() -> None:
    assert capacity(maxClients=2, memory={"default": 4000})["memory"]["requestPolicy"]["default"] == "4k"


def test_what_a_gpu_does_not_have_is_not_divided() -> None:
    found = capacity(0, maxClients=2)
    assert found["memory"] == {"value": "0"}
    unknown = share(Device("gpu", capacity={"millicores": WHOLE["millicores"]}), sharing(maxClients=2))
    assert sorted(unknown.capacity) == ["clients", "millicores"]


def test_a_server_that_cannot_share_gets_the_gpu_as_if_it_were_not_shared() -> None:
    whole = Device("gpu", {"model": "x"}, WHOLE)
    shared = share(whole, sharing(maxClients=2))
    assert published(shared)["allowMultipleAllocations"]
    assert published(shared, "consumable_capacity") == published(whole)


amounts = st.one_of(st.none(), st.integers(0, 40))
portions = st.one_of(
    st.fixed_dictionaries({}, optional={"default": amounts, "min": amounts, "max": amounts, "step": amounts}),
    st.fixed_dictionaries(
        {"values": st.lists(st.integers(0, 40), unique=True, max_size=10).map(sorted)},
        optional={"default": amounts},
    ),
)


@example({"default": 0}, 1, 1)
@example({"default": 0, "step": 3}, 7, 1)
@example({"max": 0}, 7, 1)
@given(portions, st.integers(0, 40), st.integers(1, 12))
def test_whatever_is_decided_either_it_is_refused_or_the_api_server_takes_it(
    portion: dict[str, Any], total: int, clients: int
) -> None:
    try:
        wanted = sharing(maxClients=clients, millicores=portion)
    except ValidationError:
        return
    whole = Device("gpu", capacity={"millicores": Capacity(Quantity(total))})
    try:
        device = share(whole, wanted)
    except ValueError:
        given = wanted.millicores
        # Only what is more than there is does not fit; and a step is the least, if nothing else is said.
        assert max(given.default or 0, given.min or 0, given.step or 0, *given.values, 0) > total
        return
    found = published(device)["capacity"]["millicores"]
    assert found["value"] == str(total)
    if total and wanted.millicores.default is not None:
        assert found["requestPolicy"]["default"] == str(wanted.millicores.default)
