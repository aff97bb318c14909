from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from dra_common.testing.apiserver import FakeApiServer

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
Call = Callable[..., Any]
Spec = Callable[..., dict[str, Any]]


def test_create_fills_the_metadata(call: Call, slice_spec: Spec) -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    reply = call("POST", SLICES, {"metadata": {"name": "s1", "labels": {"a": "b"}}, "spec": slice_spec()})
    assert reply.status == 201
    metadata = reply.body["metadata"]
    assert (reply.body["kind"], reply.body["apiVersion"]) == ("ResourceSlice", "resource.k8s.io/v1")
    assert metadata["labels"] == {"a": "b"}
    assert metadata["generation"] == 1
    assert len(metadata["uid"]) == 36
    assert int(metadata["resourceVersion"]) > 0
    assert before <= dt.datetime.fromisoformat(metadata["creationTimestamp"]) <= dt.datetime.now(dt.UTC)
    assert call("GET", f"{SLICES}/s1").body == reply.body


def test_versions_rise_across_all_resources(server: FakeApiServer, call: Call, slice_spec: Spec) -> None:
    node = server.create("Node", {"metadata": {"name": "n1"}})
    created = call("POST", SLICES, {"metadata": {"name": "s1"}, "spec": slice_spec()}).body
    claim = server.create("ResourceClaim", {"metadata": {"name": "c", "namespace": "default"}})
    versions = [int(item["metadata"]["resourceVersion"]) for item in (node, created, claim)]
    assert versions == sorted(set(versions))


def test_generate_name_adds_five_letters_and_never_repeats(call: Call, slice_spec: Spec) -> None:
    body = {"metadata": {"generateName": "00000-gpu-"}, "spec": slice_spec()}
    names = set()
    for _ in range(30):
        name = call("POST", SLICES, body).body["metadata"]["name"]
        assert call("DELETE", f"{SLICES}/{name}").status == 200
        names.add(name)
    assert len(names) == 30
    assert all(name.startswith("00000-gpu-") and len(name) == len("00000-gpu-") + 5 for name in names)


def test_generate_name_is_cut_to_fit(call: Call, slice_spec: Spec) -> None:
    name = call("POST", SLICES, {"metadata": {"generateName": "a" * 80}, "spec": slice_spec()}).body[
        "metadata"
    ]["name"]
    assert len(name) == 63


def test_create_needs_a_name(call: Call, slice_spec: Spec) -> None:
    reply = call("POST", SLICES, {"spec": slice_spec()})
    assert (reply.status, reply.body["details"]["causes"][0]["field"]) == (422, "metadata.name")


def test_create_of_an_existing_name_is_a_conflict(call: Call, post_slice: Call) -> None:
    post_slice("s1")
    reply = post_slice("s1")
    assert (reply.status, reply.body["reason"]) == (409, "AlreadyExists")
    assert reply.body["message"] == 'resourceslices.resource.k8s.io "s1" already exists'
    assert reply.body["details"] == {"name": "s1", "group": "resource.k8s.io", "kind": "resourceslices"}


def test_put_bumps_the_generation_only_when_the_spec_changes(call: Call, post_slice: Call) -> None:
    item = post_slice().body
    item["metadata"]["labels"] = {"x": "y"}
    labelled = call("PUT", f"{SLICES}/s1", item).body
    assert labelled["metadata"]["generation"] == 1
    assert labelled["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]
    labelled["spec"]["pool"]["generation"] = 7
    changed = call("PUT", f"{SLICES}/s1", labelled).body
    assert changed["metadata"]["generation"] == 2
    assert changed["metadata"]["uid"] == item["metadata"]["uid"]


def test_put_that_changes_nothing_writes_nothing(server: FakeApiServer, call: Call, post_slice: Call) -> None:
    item = post_slice(devices=[{"name": "a", "capacity": {"memory": {"value": "1024Mi"}}}]).body
    item["spec"]["devices"][0]["capacity"]["memory"]["value"] = "1Gi"
    assert call("PUT", f"{SLICES}/s1", item).body == item
    assert server.objects("ResourceSlice") == (item,)


def test_put_cannot_move_what_belongs_to_the_server(call: Call, post_slice: Call) -> None:
    item = post_slice().body
    theirs = {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 99}
    body = {**item, "metadata": {**item["metadata"], **theirs}}
    assert call("PUT", f"{SLICES}/s1", body).body == item


def test_put_with_a_stale_version_is_a_conflict(call: Call, post_slice: Call) -> None:
    item = post_slice().body
    fresh = {**item, "spec": {**item["spec"], "pool": {**item["spec"]["pool"], "generation": 2}}}
    assert call("PUT", f"{SLICES}/s1", fresh).status == 200
    reply = call("PUT", f"{SLICES}/s1", fresh)
    assert (reply.status, reply.body["reason"]) == (409, "Conflict")
    assert "the object has been modified" in reply.body["message"]


def test_put_without_a_version_overwrites(call: Call, post_slice: Call, slice_spec: Spec) -> None:
    post_slice()
    pool = {"name": "n1", "generation": 3, "resourceSliceCount": 1}
    reply = call("PUT", f"{SLICES}/s1", {"metadata": {"name": "s1"}, "spec": slice_spec(pool=pool)})
    assert (reply.status, reply.body["spec"]["pool"]["generation"]) == (200, 3)


def test_put_with_another_uid_is_a_conflict(call: Call, post_slice: Call) -> None:
    item = post_slice().body
    item["metadata"]["uid"] = "other"
    reply = call("PUT", f"{SLICES}/s1", item)
    assert reply.status == 409
    assert "Precondition failed: UID in precondition: other" in reply.body["message"]


def test_put_of_nothing_is_not_found(call: Call, slice_spec: Spec) -> None:
    reply = call("PUT", f"{SLICES}/s1", {"metadata": {"name": "s1"}, "spec": slice_spec()})
    assert (reply.status, reply.body["message"]) == (404, 'resourceslices.resource.k8s.io "s1" not found')


def test_put_under_another_name_is_a_bad_request(call: Call, post_slice: Call) -> None:
    item = post_slice().body
    item["metadata"]["name"] = "s2"
    reply = call("PUT", f"{SLICES}/s1", item)
    assert reply.status == 400
    assert "does not match the name on the URL (s1)" in reply.body["message"]


@pytest.mark.parametrize(
    "change", [{"kind": "Pod"}, {"apiVersion": "resource.k8s.io/v1beta1"}, {"metadata": "x"}]
)
def test_another_kind_is_a_bad_request(call: Call, slice_spec: Spec, change: dict[str, Any]) -> None:
    reply = call("POST", SLICES, {"metadata": {"name": "s1"}, "spec": slice_spec(), **change})
    assert (reply.status, reply.body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize("payload", [b"{", b"[1]", b""])
def test_a_body_that_is_no_object_is_a_bad_request(call: Any, payload: bytes) -> None:
    call.connection.request("POST", SLICES, payload)
    response = call.connection.getresponse()
    assert (response.status, b"BadRequest" in response.read()) == (400, True)


# ---------------------------------------------------------------------- deletion


def test_delete_answers_with_a_status(call: Call, post_slice: Call) -> None:
    uid = post_slice().body["metadata"]["uid"]
    reply = call("DELETE", f"{SLICES}/s1")
    assert (reply.status, reply.body["status"], reply.body["details"]["uid"]) == (200, "Success", uid)
    assert call("GET", f"{SLICES}/s1").status == 404
    assert call("DELETE", f"{SLICES}/s1").status == 404


@pytest.mark.parametrize("field", ["uid", "resourceVersion"])
def test_delete_keeps_its_preconditions(call: Call, post_slice: Call, field: str) -> None:
    item = post_slice().body
    reply = call("DELETE", f"{SLICES}/s1", {"preconditions": {field: "1"}})
    assert reply.status == 409
    assert "Precondition failed" in reply.body["message"]
    good = {field: item["metadata"][field]}
    assert call("DELETE", f"{SLICES}/s1", {"preconditions": good}).status == 200


def test_delete_collection_wipes_what_is_selected(
    server: FakeApiServer, call: Call, post_slice: Call
) -> None:
    for name, node, driver in (("a", "n1", "x.com"), ("b", "n1", "y.com"), ("c", "n2", "x.com")):
        post_slice(name, nodeName=node, driver=driver)
    reply = call("DELETE", f"{SLICES}?fieldSelector=spec.nodeName%3Dn1,spec.driver%3Dx.com")
    assert [item["metadata"]["name"] for item in reply.body["items"]] == ["a"]
    assert call("DELETE", f"{SLICES}?fieldSelector=spec.nodeName%3Dn1").status == 200
    assert [item["metadata"]["name"] for item in server.objects("ResourceSlice")] == ["c"]


def test_finalizers_hold_an_object_back(server: FakeApiServer, call: Call) -> None:
    finalizer = "resource.kubernetes.io/delete-protection"
    metadata = {"name": "c", "namespace": "default", "finalizers": [finalizer]}
    server.create("ResourceClaim", {"metadata": metadata})
    marked = call("DELETE", f"{CLAIMS}/c").body
    assert marked["metadata"]["deletionTimestamp"]
    assert call("DELETE", f"{CLAIMS}/c").body == marked
    del marked["metadata"]["finalizers"]
    assert call("PUT", f"{CLAIMS}/c", marked).status == 200
    assert call("GET", f"{CLAIMS}/c").status == 404


# ---------------------------------------------------------------------- namespaces, unknown paths, verbs


def test_claims_live_in_namespaces(server: FakeApiServer, call: Call) -> None:
    assert call("POST", CLAIMS, {"metadata": {"name": "c"}}).body["metadata"]["namespace"] == "default"
    server.create("ResourceClaim", {"metadata": {"name": "c", "namespace": "other"}})
    assert len(call("GET", "/apis/resource.k8s.io/v1/resourceclaims").body["items"]) == 2
    assert [item["metadata"]["namespace"] for item in call("GET", CLAIMS).body["items"]] == ["default"]
    assert call("GET", CLAIMS.replace("default", "third") + "/c").status == 404


def test_a_body_of_another_namespace_is_a_bad_request(call: Call) -> None:
    reply = call("POST", CLAIMS, {"metadata": {"name": "c", "namespace": "other"}})
    assert (reply.status, "does not match the namespace" in reply.body["message"]) == (400, True)
    reply = call("POST", "/apis/resource.k8s.io/v1/resourceclaims", {"metadata": {"name": "c"}})
    assert reply.status == 400


@pytest.mark.parametrize(
    "path", ["/apis/resource.k8s.io/v1beta1/resourceslices", "/api/v1/secrets", "/", f"{SLICES}/a/status"]
)
def test_what_is_not_served_is_plain_text(call: Call, path: str) -> None:
    reply = call("GET", path)
    assert (reply.status, reply.body) == (404, "404 page not found\n")


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", f"{SLICES}/a"), ("PUT", SLICES), ("POST", f"{SLICES}/a")]
)
def test_verbs_that_are_not_served(call: Call, method: str, path: str) -> None:
    assert call(method, path, {}).status == 405


def test_version_and_health(call: Call) -> None:
    version = call("GET", "/version").body
    assert (version["major"], version["minor"], version["gitVersion"]) == ("1", "36", "v1.36.0")
    assert [call("GET", path).body for path in ("/healthz", "/livez", "/readyz")] == ["ok"] * 3
