"""Reading a ResourceClaim: what is ours is kept whole, what is others' is ignored, what cannot be is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from dra_common.allocation import check_uid, read_allocation
from dra_common.errors import ClaimError, ClaimMismatch, DeviceUnknown
from dra_common.model import Allocated, Claim, ClaimRef, OpaqueConfig
from hypothesis import given, settings
from hypothesis import strategies as st

DRIVER, NODE = "gpu.intel.com", "node-1"
REF = ClaimRef("team", "train", "7b0b0f2e-5a2e-4c59-8f51-6a3b9f5f0d11")
SHARE = "0a1b2c3d-0000-4000-8000-00000000000f"


def result(**fields: Any) -> dict[str, Any]:
    return {"request": "gpu", "driver": DRIVER, "pool": NODE, "device": "gpu-0", **fields}


def opaque(driver: str = DRIVER, source: str = "FromClaim", **more: Any) -> dict[str, Any]:
    parameters = {"apiVersion": f"{DRIVER}/v1", "kind": "GpuConfig", "size": 1}
    return {"source": source, "opaque": {"driver": driver, "parameters": parameters}, **more}


def claim(*results: Any, config: Any = (), uid: str = REF.uid) -> dict[str, Any]:
    devices = {"results": list(results), "config": list(config)}
    return {"metadata": {"uid": uid}, "status": {"allocation": {"devices": devices}}}


def read(raw: dict[str, Any]) -> Claim:
    return read_allocation(raw, REF, driver=DRIVER, pool=NODE)


def test_a_result_with_all_that_the_api_knows() -> None:
    raw = claim(
        result(
            request="gpu/large",
            shareID=SHARE,
            adminAccess=True,
            consumedCapacity={"memory": "4Gi", f"{DRIVER}/cores": 2},
            tolerations=[{"key": "x", "operator": "Exists"}],
        )
    )
    assert read(raw).results == (
        Allocated("gpu/large", NODE, "gpu-0", SHARE, True, {"memory": "4Gi", f"{DRIVER}/cores": "2"}),  # noqa: FBT003
    )


def test_order_is_kept_and_others_are_ignored() -> None:
    raw = claim(
        result(device="b"),
        result(driver="nic.example.com", pool="fabric", device="eth1"),
        result(device="a"),
        config=[opaque("nic.example.com"), opaque(), {"source": "FromClaim"}],
    )
    found = read(raw)
    assert [each.device for each in found.results] == ["b", "a"]
    assert len(found.configs) == 1
    assert found.ref == REF


def test_admin_access_is_only_what_is_literally_true() -> None:
    for value in (False, None, "true", 1, "yes"):
        assert not read(claim(result(adminAccess=value))).results[0].admin_access
    assert not read(claim(result())).results[0].admin_access


def test_configuration_with_and_without_requests() -> None:
    raw = claim(
        result(),
        config=[
            opaque(source="FromClass"),
            opaque(requests=["gpu", "gpu/large"]),
            opaque(requests=None),
        ],
    )
    body = {"apiVersion": f"{DRIVER}/v1", "kind": "GpuConfig", "size": 1}
    assert read(raw).configs == (
        OpaqueConfig("FromClass", (), body),
        OpaqueConfig("FromClaim", ("gpu", "gpu/large"), body),
        OpaqueConfig("FromClaim", (), body),
    )


def test_no_results_of_ours_is_a_claim_without_devices() -> None:
    assert read(claim()).results == ()
    assert read(claim(result(driver="nic.example.com"))).results == ()
    assert read({"metadata": {"uid": REF.uid}, "status": {"allocation": {"nodeSelector": {}}}}).results == ()


def refused(raw: dict[str, Any], kind: type[ClaimError]) -> str:
    with pytest.raises(kind) as caught:
        read(raw)
    assert str(REF) in str(caught.value)
    assert caught.value.cure
    return str(caught.value)


def test_another_uid_is_another_claim() -> None:
    said = refused(claim(result(), uid="other"), ClaimMismatch)
    assert "it was replaced, the API server now has UID other" in said


@pytest.mark.parametrize(
    "status", [None, {}, {"allocation": None}, {"allocation": {}}, {"allocation": []}, [], "text"]
)
def test_a_claim_that_is_not_allocated(status: Any) -> None:
    raw = {"metadata": {"uid": REF.uid}, "status": status}
    assert "it is not allocated" in refused(raw, ClaimMismatch)


def test_a_pool_of_another_node() -> None:
    said = refused(claim(result(pool="node-2")), DeviceUnknown)
    for part in ("gpu-0", "pool node-2", f"pool {NODE} only", "--node-name"):
        assert part in said


@pytest.mark.parametrize("requests", [5, "gpu", {"gpu": 1}, [5], [None], False, ""])
def test_what_is_no_list_of_requests_never_means_all_of_them(requests: Any) -> None:
    raw = claim(result())
    entry = {"source": "FromClass", "requests": requests, "opaque": {"driver": DRIVER, "parameters": {}}}
    raw["status"]["allocation"]["devices"]["config"] = [entry]
    assert f"malformed requests {requests!r}" in refused(raw, ClaimMismatch)


@pytest.mark.parametrize(
    "fields",
    [
        {"device": ""},
        {"device": None},
        {"device": ".."},
        {"device": "a/b"},
        {"device": "A"},
        {"device": "a@b"},
        {"device": "-a"},
        {"device": "a" * 64},
        {"device": "a\n"},
        {"request": ""},
        {"shareID": ""},
        {"shareID": "../x"},
        {"shareID": "UPPER"},
        {"shareID": "a" * 65},
        {"shareID": 7.5},
    ],
    ids=str,
)
def test_what_could_not_be_a_file_name_is_refused(fields: dict[str, Any]) -> None:
    assert "malformed" in refused(claim(result(**fields)), ClaimMismatch)


@pytest.mark.parametrize("source", [None, "", "fromclass", "FromNamespace"])
def test_an_unknown_source_is_refused(source: Any) -> None:
    assert f"unknown source {source!r}" in refused(claim(config=[opaque(source=source)]), ClaimMismatch)


@pytest.mark.parametrize("uid", [REF.uid, "a", "A1-b2", "0" * 128, "11111111-2222-3333-4444-555555555555"])
def test_uids_that_an_api_server_gives(uid: str) -> None:
    check_uid(ClaimRef("n", "c", uid))


@pytest.mark.parametrize("uid", ["", ".", "..", "a/b", "-a", "a-", "a b", "a\n", "ä", "a" * 129, "a\0b"])
def test_uids_that_could_not_be_a_file_name(uid: str) -> None:
    with pytest.raises(ClaimMismatch, match="is not one that an API server gives"):
        check_uid(ClaimRef("n", "c", uid))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["request", "driver", "pool", "device", "shareID", "adminAccess", "consumedCapacity"]
)


@settings(deadline=None)
@given(st.lists(JSON | st.dictionaries(FIELDS, JSON | st.just(DRIVER)), max_size=3), JSON)
def test_whatever_stands_in_a_claim_it_is_read_or_refused(results: Any, config: Any) -> None:
    raw = claim()
    raw["status"]["allocation"]["devices"] = {"results": results, "config": config}
    found: Claim | None = None
    with suppress(ClaimError):
        found = read(raw)
    assert found is None or all(each.pool == NODE for each in found.results)
