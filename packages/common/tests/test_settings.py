"""Settings: what is allowed passes, what is not is refused with a line that says what is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dra_common.errors import SettingsError
from dra_common.settings import HostSettings, Settings, parse_endpoint


@pytest.fixture
def host(tmp_path: Path) -> HostSettings:
    for folder in ("sys", "dev", "proc"):
        (tmp_path / folder).mkdir()
    return HostSettings(tmp_path / "sys", tmp_path / "dev", tmp_path / "proc")


@pytest.fixture
def settings(host: HostSettings) -> Settings:
    return Settings(node_name="node-1", host=host)


def refusal(settings: Settings | HostSettings) -> str:
    with pytest.raises(SettingsError) as caught:
        settings.check()
    assert caught.value.cure
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_defaults_are_the_kubelets_and_the_go_drivers(settings: Settings) -> None:
    settings.check()
    assert settings.kubelet_plugins_dir == Path("/var/lib/kubelet/plugins")
    assert settings.kubelet_registry_dir == Path("/var/lib/kubelet/plugins_registry")
    assert settings.cdi_root == Path("/etc/cdi")
    assert settings.cdi_dynamic_root == Path("/var/run/cdi")
    assert settings.healthcheck_port == 51516
    assert HostSettings() == HostSettings(Path("/sys"), Path("/dev"), Path("/proc"), None, None)


@pytest.mark.parametrize(
    "name", ["n", "node-1", "ip-10-0-0-1.eu.compute.internal", "0", "a" * 63, ".".join(["a" * 62] * 4)]
)
def test_node_names_that_kubernetes_allows(settings: Settings, name: str) -> None:
    replace(settings, node_name=name).check()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Node-1",
        "node_1",
        "-node",
        "node-",
        "node.",
        ".node",
        "a..b",
        "node 1",
        "node-1\n",
        "nöde",
        "a" * 254,
    ],
)
def test_other_node_names_are_refused(settings: Settings, name: str) -> None:
    said = refusal(replace(settings, node_name=name))
    for part in ("--node-name", "NODE_NAME", "DNS-1123 subdomain"):
        assert part in said


@pytest.mark.parametrize("port", [-1, -2000, 0, 1, 51516, 65535])
def test_ports_that_can_be(settings: Settings, port: int) -> None:
    replace(settings, healthcheck_port=port).check()


def test_a_port_that_cannot_be(settings: Settings) -> None:
    said = refusal(replace(settings, healthcheck_port=65536))
    for part in ("--healthcheck-port", "HEALTHCHECK_PORT", "65536", "0 to 65535", "negative"):
        assert part in said


PERIODS = ("rescan_seconds", "gc_seconds")


@pytest.mark.parametrize("name", PERIODS)
@pytest.mark.parametrize("seconds", [1.0, 1.5, 60.0, 86400.0])
def test_periods_that_can_be(settings: Settings, name: str, seconds: float) -> None:
    replace(settings, **{name: seconds}).check()  # type: ignore[arg-type]  # a field of its type


@pytest.mark.parametrize("name", PERIODS)
@pytest.mark.parametrize("seconds", [0.0, 0.99, -5.0, 86401.0, float("inf"), float("-inf"), float("nan")])
def test_periods_that_cannot_be(settings: Settings, name: str, seconds: float) -> None:
    said = refusal(replace(settings, **{name: seconds}))  # type: ignore[arg-type]  # a field of its type
    option = f"--{name.replace('_', '-')}"
    for part in (option, name.upper(), f"{seconds:g}", "1 to 86400"):
        assert part in said


def test_a_kubeconfig_has_to_be_a_file(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    for path in (file, tmp_path):
        said = refusal(replace(settings, kubeconfig=path))
        for part in ("--kubeconfig", "KUBECONFIG", str(path), "inside a cluster"):
            assert part in said
    file.write_text("{}")
    replace(settings, kubeconfig=file).check()


@pytest.mark.parametrize("name", ["sysfs", "devfs", "procfs"])
def test_roots_have_to_be_there(host: HostSettings, tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path / "gone", file):
        said = refusal(replace(host, **{f"{name}_root": path}))
        for part in (f"{name.upper()}_ROOT", str(path), "is not a folder"):
            assert part in said


def test_a_simulated_root_replaces_the_others(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    simulated = HostSettings(nowhere, nowhere, nowhere, None, tmp_path)
    said = refusal(simulated)
    for part in ("--simulated-root", str(tmp_path / "sys"), "simulate command"):
        assert part in said
    (tmp_path / "sys").mkdir()
    simulated.check()


def test_the_host_is_checked_with_the_rest(settings: Settings, tmp_path: Path) -> None:
    host = replace(settings.host, sysfs_root=tmp_path / "gone")
    assert "SYSFS_ROOT" in refusal(replace(settings, host=host))


@pytest.mark.parametrize(
    "uid", ["", "3f9f1a52-6f0a-4c37-9f0e-5d1f6f0d9c11", "a" * 63, "d7f0e5b5c0f64a5c9f1d4c6b8a3e2f10"]
)
def test_uids_of_pods(settings: Settings, uid: str) -> None:
    """Pods of the API server have RFC 4122 UUIDs, static pods a hash."""
    replace(settings, pod_uid=uid).check()


@pytest.mark.parametrize("uid", ["../x", "a/b", ".", "-a", "a-", "a b", "a\n", "a" * 64, "é"])
def test_a_pod_uid_that_could_be_a_path_is_refused(settings: Settings, uid: str) -> None:
    assert "--pod-uid (POD_UID)" in refusal(replace(settings, pod_uid=uid))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9090", ("", 9090)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("[::]:80", ("::", 80)),
    ],
)
def test_http_endpoints(text: str, address: tuple[str, int]) -> None:
    assert parse_endpoint(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "9090",
        "localhost:9090",
        "::1:9090",
        "[127.0.0.1]:1",
        "[]:1",
        ":",
        "1.2.3.4:",
        ":65536",
        ":-1",
        ":9x",
        ":²",
        " :1",
    ],
)
def test_what_is_no_http_endpoint_is_refused(text: str, tmp_path: Path) -> None:
    for folder in ("sys", "dev", "proc"):
        (tmp_path / folder).mkdir()
    host = HostSettings(tmp_path / "sys", tmp_path / "dev", tmp_path / "proc")
    with pytest.raises(SettingsError, match="--http-endpoint") as caught:
        Settings(node_name="node-1", host=host, http_endpoint=text).check()
    assert repr(text) in str(caught.value)
    assert ":9090" in caught.value.cure
