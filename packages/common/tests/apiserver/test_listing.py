from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dra_common.testing.apiserver import FakeApiServer

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
Call = Callable[..., Any]


def names(body: dict[str, Any]) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


def test_a_list_is_ordered_and_its_items_carry_no_kind(call: Call, post_slice: Call) -> None:
    for name in ("b", "a", "c"):
        post_slice(name)
    body = call("GET", SLICES).body
    assert (body["kind"], body["apiVersion"]) == ("ResourceSliceList", "resource.k8s.io/v1")
    assert names(body) == ["a", "b", "c"]
    assert all("kind" not in item and "apiVersion" not in item for item in body["items"])
    newest = max(int(item["metadata"]["resourceVersion"]) for item in body["items"])
    assert int(body["metadata"]["resourceVersion"]) == newest


def test_an_empty_list_has_a_version(call: Call) -> None:
    body = call("GET", SLICES).body
    assert body["items"] == []
    assert int(body["metadata"]["resourceVersion"]) >= 1


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name=a", ["a"]),
        ("spec.nodeName=n1", ["a", "b"]),
        ("spec.driver=y.com", ["b", "c"]),
        ("spec.driver=y.com,spec.nodeName=", ["c"]),
        ("spec.pool.name=p", ["c"]),
        ("spec.nodeName!=n1", ["c"]),
    ],
)
def test_field_selectors(call: Call, post_slice: Call, selector: str, expected: list[str]) -> None:
    post_slice("a", driver="x.com")
    post_slice("b", driver="y.com")
    post_slice("c", driver="y.com", nodeName=None, allNodes=True, pool={"name": "p", "resourceSliceCount": 1})
    assert names(call("GET", f"{SLICES}?fieldSelector={selector.replace('=', '%3D')}").body) == expected


@pytest.mark.parametrize(
    "query",
    ["fieldSelector=spec.allNodes%3Dtrue", "labelSelector=a", "limit=x", "watch=1&sendInitialEvents=true"],
)
def test_queries_that_are_not_served(call: Call, query: str) -> None:
    reply = call("GET", f"{SLICES}?{query}")
    assert (reply.status, reply.body["reason"]) == (400, "BadRequest")


def test_pages_are_one_snapshot(server: FakeApiServer, call: Call, post_slice: Call) -> None:
    for name in "abcde":
        post_slice(name)
    first = call("GET", f"{SLICES}?limit=2").body
    assert (names(first), first["metadata"]["remainingItemCount"]) == (["a", "b"], 3)
    server.delete("ResourceSlice", "c")
    post_slice("z")
    second = call("GET", f"{SLICES}?limit=2&continue={first['metadata']['continue']}").body
    third = call("GET", f"{SLICES}?limit=2&continue={second['metadata']['continue']}").body
    assert (names(second), names(third)) == (["c", "d"], ["e"])
    assert "continue" not in third["metadata"]
    assert {page["metadata"]["resourceVersion"] for page in (first, second, third)} == {
        first["metadata"]["resourceVersion"]
    }


def test_a_limit_that_fits_makes_one_page(call: Call, post_slice: Call) -> None:
    post_slice("a")
    assert set(call("GET", f"{SLICES}?limit=1").body["metadata"]) == {"resourceVersion"}


def test_a_continue_of_an_expired_history_is_gone(
    server: FakeApiServer, call: Call, post_slice: Call
) -> None:
    for name in "abc":
        post_slice(name)
    token = call("GET", f"{SLICES}?limit=2").body["metadata"]["continue"]
    server.expire_history()
    reply = call("GET", f"{SLICES}?limit=2&continue={token}")
    assert (reply.status, reply.body["reason"]) == (410, "Expired")
