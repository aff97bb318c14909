from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dra_common.testing.apiserver import FakeApiServer, Refusal

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
NODE = {"metadata": {"name": "n1"}}
Call = Callable[..., Any]


def test_stop_is_away_and_start_returns_on_the_same_port_with_the_same_objects(
    server: FakeApiServer, call: Any
) -> None:
    server.create("Node", NODE)
    url = server.url
    assert call("GET", "/api/v1/nodes/n1").status == 200
    server.stop()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        call("GET", "/api/v1/nodes/n1")
    call.close()
    with pytest.raises(ConnectionRefusedError):
        call("GET", "/api/v1/nodes/n1")
    call.close()
    server.stop()
    server.start()
    assert server.url == url
    assert call("GET", "/api/v1/nodes/n1").status == 200


def test_stop_leaves_no_thread_and_no_watch(call: Any, server: FakeApiServer) -> None:
    call.send("GET", f"{SLICES}?watch=1")
    server.wait_for(lambda: server.watches == 1)
    handlers = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    server.stop()
    assert handlers
    assert not any(thread.is_alive() for thread in handlers)
    assert server.watches == 0


def test_kubeconfig_names_the_server_and_the_token(tmp_path: Path) -> None:
    server = FakeApiServer(token="secret")
    config = json.loads(server.kubeconfig(tmp_path / "config").read_text())
    assert config["clusters"][0]["cluster"]["server"] == server.url
    assert config["users"][0]["user"] == {"token": "secret"}
    assert config["current-context"] == config["contexts"][0]["name"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic secret"}, 401),
        ({"Authorization": "Bearer secret"}, 200),
        ({"Authorization": "bearer secret"}, 200),
    ],
)
def test_a_token_is_required_if_there_is_one(dial: Call, headers: dict[str, str], status: int) -> None:
    with FakeApiServer(token="secret") as server:
        reply = dial(server)("GET", SLICES, **headers)
        assert reply.status == status
        assert status == 200 or reply.body["reason"] == "Unauthorized"


# ---------------------------------------------------------------------- objects


def test_objects_by_kind_or_plural_are_copies(server: FakeApiServer) -> None:
    server.create("nodes", NODE)
    (node,) = server.objects("Node")
    node["metadata"]["name"] = "changed"
    assert server.objects("nodes")[0]["metadata"]["name"] == "n1"
    stored = server.get("Node", "n1")
    assert stored is not None
    assert stored["metadata"]["uid"] == node["metadata"]["uid"]
    assert server.get("Node", "n2") is None


def test_an_unknown_kind_is_an_error(server: FakeApiServer) -> None:
    with pytest.raises(ValueError, match="Secret is not served; one of Node, Pod"):
        server.objects("Secret")


def test_create_refuses_what_exists_put_overwrites_and_keeps_the_uid(server: FakeApiServer) -> None:
    first = server.create("Node", NODE)
    with pytest.raises(Refusal, match="already exists"):
        server.create("Node", NODE)
    second = server.put("Node", {"metadata": {"name": "n1", "labels": {"a": "b"}}})
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert server.put("Node", {"metadata": {"name": "n1", "uid": "new"}})["metadata"]["uid"] == "new"


def test_put_rewrites_an_allocation_but_not_past_the_rules(server: FakeApiServer) -> None:
    def claim(device: str) -> dict[str, Any]:
        result = {"request": "r", "driver": "d.com", "pool": "p", "device": device}
        metadata = {"name": "c", "namespace": "default"}
        return {"metadata": metadata, "status": {"allocation": {"devices": {"results": [result]}}}}

    server.create("ResourceClaim", claim("d0"))
    stored = server.put("ResourceClaim", claim("d1"))
    assert stored["status"]["allocation"]["devices"]["results"][0]["device"] == "d1"
    with pytest.raises(Refusal, match="Required value"):
        server.put("ResourceClaim", claim(""))


def test_put_counts_generations(server: FakeApiServer) -> None:
    body: dict[str, Any] = {"metadata": {"name": "gpu"}, "spec": {"selectors": []}}
    server.put("DeviceClass", body)
    assert server.put("DeviceClass", body)["metadata"]["generation"] == 1
    assert server.put("DeviceClass", {**body, "spec": {}})["metadata"]["generation"] == 2


def test_delete_ignores_finalizers_and_tells_watches(server: FakeApiServer, dial: Call) -> None:
    server.create("Node", {"metadata": {"name": "n1", "finalizers": ["x/y"]}})
    lines = dial(server).lines("/api/v1/nodes?watch=1")
    server.delete("Node", "n1")
    assert [next(lines)["type"], next(lines)["type"]] == ["ADDED", "DELETED"]
    with pytest.raises(Refusal, match="not found"):
        server.delete("Node", "n1")


# ---------------------------------------------------------------------- observation


def test_requests_are_logged_with_query_body_and_time(server: FakeApiServer, call: Call) -> None:
    begun = time.time()
    call("GET", f"{SLICES}?limit=5")
    call("POST", SLICES, {"metadata": {"name": "a"}})
    first, second = server.requests
    assert (first.method, first.path, first.query, first.body) == ("GET", SLICES, {"limit": "5"}, None)
    assert second.body == {"metadata": {"name": "a"}}
    assert begun <= first.at <= second.at <= time.time()
    assert server.writes == (second,)
    server.forget_requests()
    assert (len(server.requests), len(server.writes)) == (0, 0)


def test_wait_for_returns_the_value_as_soon_as_it_is_there(server: FakeApiServer) -> None:
    timer = threading.Timer(0.1, server.create, ("Node", NODE))
    timer.start()
    (node,) = server.wait_for(lambda: server.objects("Node"))
    assert node["metadata"]["name"] == "n1"
    timer.join()


def test_wait_for_may_ask_the_server_itself(server: FakeApiServer, call: Call) -> None:
    assert server.wait_for(lambda: call("GET", "/version").body)["major"] == "1"


def test_wait_for_gives_up_and_says_what_was_asked_last(server: FakeApiServer, call: Call) -> None:
    call("GET", SLICES)
    with pytest.raises(TimeoutError, match=rf"waited 0\.1 s for a node; last requests: GET {SLICES}"):
        server.wait_for(lambda: server.objects("Node"), timeout=0.1, what="a node")


# ---------------------------------------------------------------------- bad moods


def test_latency_delays_every_answer(server: FakeApiServer, call: Call) -> None:
    server.latency(0.2)
    begun = time.monotonic()
    assert call("GET", SLICES).status == 200
    assert time.monotonic() - begun >= 0.2
    server.latency(0)
    assert call("GET", SLICES).status == 200


def test_pause_accepts_and_says_nothing_until_resume(server: FakeApiServer, dial: Call) -> None:
    watching, asking = dial(server), dial(server)
    lines = watching.lines("/api/v1/nodes?watch=1")
    server.pause()
    asking.send("GET", "/version")
    server.wait_for(lambda: server.requests[-1].path == "/version")
    server.create("Node", NODE)
    asking.connection.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        asking.connection.sock.recv(1)
    server.resume()
    assert next(lines)["object"]["metadata"]["name"] == "n1"


def test_a_paused_server_can_be_stopped(server: FakeApiServer, call: Any) -> None:
    server.pause()
    call.send("GET", "/version")
    server.wait_for(lambda: server.requests)
    server.stop()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        call.connection.getresponse()


def test_drop_watches_cuts_watches_only(server: FakeApiServer, call: Call, dial: Call) -> None:
    watching = dial(server)
    watching.send("GET", f"{SLICES}?watch=1")
    response = watching.connection.getresponse()
    assert call("GET", SLICES).status == 200
    server.wait_for(lambda: server.drop_watches() == 1)
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        response.read()
    assert call("GET", SLICES).status == 200
    server.wait_for(lambda: server.watches == 0)
    assert server.drop_watches() == 0


def test_many_clients_at_once_get_versions_of_their_own(server: FakeApiServer, dial: Call) -> None:
    def work(number: int) -> None:
        http = dial(server)
        for round_ in range(10):
            body = {"metadata": {"name": f"c{number}-{round_}"}}
            reply = http("POST", "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims", body)
            versions.append(reply.body["metadata"]["resourceVersion"])

    versions: list[str] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(versions)) == 80


def test_an_upgrade_keeps_objects_address_and_nothing_of_the_history(
    server: FakeApiServer, call: Any
) -> None:
    taint = {"key": "a/b", "effect": "NoSchedule"}
    spec = {
        "driver": "d",
        "nodeName": "n1",
        "pool": {"name": "n1", "resourceSliceCount": 1},
        "devices": [{"name": "a", "taints": [taint]}],
    }
    before = call("POST", SLICES, {"metadata": {"name": "one"}, "spec": spec}).body
    url, version = server.url, before["metadata"]["resourceVersion"]
    server.upgrade("1.35")
    assert server.url == url
    call.close()
    assert call("GET", "/version").body["minor"] == "35"
    assert call("GET", f"{SLICES}/one").body == before
    assert (
        "taints"
        not in call("POST", SLICES, {"metadata": {"name": "two"}, "spec": spec}).body["spec"]["devices"][0]
    )
    (line,) = call.lines(f"{SLICES}?watch=1&resourceVersion={version}")
    assert line["object"]["code"] == 410


def test_a_rollback_to_before_dra_takes_the_group_away_until_the_next_upgrade(
    server: FakeApiServer, call: Any
) -> None:
    spec = {"driver": "d", "nodeName": "n1", "pool": {"name": "n1", "resourceSliceCount": 1}}
    server.create("ResourceSlice", {"metadata": {"name": "one"}, "spec": spec})
    server.create("Node", NODE)
    server.upgrade("1.33")
    assert (call("GET", SLICES).status, call("GET", "/api/v1/nodes/n1").status) == (404, 200)
    server.upgrade("1.36")
    call.close()
    assert [item["metadata"]["name"] for item in call("GET", SLICES).body["items"]] == ["one"]


def test_a_dry_run_says_what_would_be_stored_and_keeps_nothing(server: FakeApiServer, call: Any) -> None:
    spec = {"driver": "d", "nodeName": "n1", "pool": {"name": "n1", "resourceSliceCount": 1}}
    reply = call(
        "POST", f"{SLICES}?dryRun=All", {"metadata": {"name": "one"}, "spec": {**spec, "unknown": 1}}
    )
    assert reply.status == 201
    assert reply.body["spec"].keys() == {*spec}
    bad = {"metadata": {"name": "one"}, "spec": {**spec, "devices": [{"name": "A B"}]}}
    assert call("POST", f"{SLICES}?dryRun=All", bad).status == 422
    assert server.objects("ResourceSlice") == ()
    assert server.writes == ()
