from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dra_common.cluster import config, connect
from dra_common.errors import SettingsError, Unauthorized
from dra_common.testing.apiserver import FakeApiServer


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ServiceAccount folder of a pod; returns the token file."""
    (tmp_path / "token").write_text("first")
    (tmp_path / "ca.crt").write_text("a certificate")
    monkeypatch.setattr(config, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return tmp_path / "token"


def headers(client: Any) -> dict[str, Any]:
    """The headers that the next request would carry."""
    request = client._transport._client.param_serialize("GET", "/version", auth_settings=["BearerToken"])
    return dict(request[2])


def test_a_kubeconfig(server: FakeApiServer, tmp_path: Path) -> None:
    client = connect(str(server.kubeconfig(tmp_path / "kubeconfig")))
    assert client.address == server.url
    assert client.get("/version")["major"] == "1"
    client.close()


@pytest.mark.parametrize("nothing", [None, ""])
def test_in_a_pod(pod: Path, nothing: str | None) -> None:
    client = connect(nothing)
    assert client.address == "https://[fd00::1]:443"
    assert headers(client)["authorization"] == "bearer first"


def test_the_token_is_read_for_each_request_whatever_the_clock_says(pod: Path) -> None:
    """The library reads it again once the wall clock has moved on by a minute, which one that was set back does not."""
    client = connect()
    pod.write_text("second")
    assert headers(client)["authorization"] == "bearer second"


@pytest.mark.parametrize("content", [None, ""])
def test_a_token_that_vanished_is_unauthorized(pod: Path, content: str | None) -> None:
    client = connect()
    pod.unlink() if content is None else pod.write_text(content)
    with pytest.raises(Unauthorized, match="GET /version: the credentials cannot be read") as caught:
        client.get("/version")
    assert "token file" in caught.value.cure


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("token", None, "token file does not exist"),
        ("token", "", "Token file exists but empty"),
        ("ca.crt", None, "certification file does not exist"),
        ("ca.crt", "", "Cert file exists but empty"),
    ],
)
def test_a_pod_without_service_account(pod: Path, name: str, content: str | None, words: str) -> None:
    path = pod.parent / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(SettingsError, match=words) as caught:
        connect()
    assert "automountServiceAccountToken" in caught.value.cure


def test_neither_pod_nor_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SettingsError, match="there is no --kubeconfig, and this is not a pod") as caught:
        connect()
    assert "give --kubeconfig FILE" in caught.value.cure


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"kubeconfig .*/none cannot be read: No such file or directory"
    ) as caught:
        connect(str(tmp_path / "none"))
    assert "--kubeconfig" in caught.value.cure


def test_a_kubeconfig_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Is a directory"):
        connect(str(tmp_path))


GOOD: dict[str, Any] = {
    "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1"}}],
    "users": [{"name": "u", "user": {}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "x",
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is not a mapping"),
        (b"- a\n- b", "it is not a mapping"),
        (b"a: [1", "it is not YAML"),
        (b"\xff\xfe\x00", "it is not YAML"),
        (b"{}", "cannot be used"),
        (json.dumps({**GOOD, "current-context": "y"}).encode(), "y"),
        (json.dumps({**GOOD, "clusters": None}).encode(), "clusters"),
        (json.dumps({**GOOD, "clusters": [{"name": "c", "cluster": "text"}]}).encode(), "no server"),
        (json.dumps({**GOOD, "clusters": [{"name": "c", "cluster": {}}]}).encode(), "no server"),
        (
            json.dumps(
                {**GOOD, "clusters": [{"name": "c", "cluster": {"server": "10.0.0.1:6443"}}]}
            ).encode(),
            "10.0.0.1",
        ),
        (
            json.dumps({**GOOD, "users": [{"name": "u", "user": {"client-certificate": "/none"}}]}).encode(),
            "/none",
        ),
        (
            json.dumps(
                {
                    **GOOD,
                    "clusters": [
                        {"name": "c", "cluster": {"server": "https://x", "certificate-authority": "/no"}}
                    ],
                }
            ).encode(),
            "/no",
        ),
    ],
)
def test_a_broken_kubeconfig_is_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=words) as caught:
        connect(str(path))
    assert str(path) in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.cure
