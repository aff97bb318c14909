"""Rules that another driver left: told of, removed where that is wanted, and nobody else's touched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.cluster import connect
from dra_common.pacing import Backoff
from dra_common.taintrules import OldTaintRules
from dra_common.telemetry import Reason
from dra_common.testing.apiserver import FakeApiServer
from notebook import Notebook

DRIVER, NODE = "gaudi.intel.com", "node-1"
LIST = "/devicetaintrules"
OURS = f"{DRIVER}-{NODE}-0000-43-00-0-0x1020"


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        yield server


def make(
    server: FakeApiServer, name: str = OURS, *, key: str = f"{DRIVER}/unhealthy", **selector: str
) -> None:
    chosen = {"driver": DRIVER, "pool": NODE, "device": "0000-43-00-0-0x1020", **selector}
    taint = {"key": key, "value": "CriticalError", "effect": "NoExecute"}
    spec = {"deviceSelector": chosen, "taint": taint}
    server.create("DeviceTaintRule", {"metadata": {"name": name}, "spec": spec})


def left(server: FakeApiServer) -> list[str]:
    return sorted(rule["metadata"]["name"] for rule in server.objects("DeviceTaintRule"))


def look(server: FakeApiServer, folder: Path, *, remove: bool) -> Notebook:
    told = Notebook()
    api = connect(str(server.kubeconfig(folder / "kubeconfig")))
    backoff = Backoff(0.01, 0.01)
    OldTaintRules(api, DRIVER, NODE, remove=lambda: remove, tells=told, backoff=backoff).run()
    api.close()
    return told


@pytest.mark.parametrize("version", ["1.34", "1.36", "1.37"])
def test_a_rule_is_told_of_with_what_to_do_and_stays(tmp_path: Path, version: str) -> None:
    with FakeApiServer(version=version) as server:
        make(server)
        ((reason, text),) = look(server, tmp_path, remove=False).events
        assert reason is Reason.OLD_TAINT_RULE
        assert f"`kubectl delete devicetaintrule {OURS}`" in text
        assert left(server) == [OURS]


@pytest.mark.defect(15)
def test_a_rule_is_removed_where_that_is_wanted_and_no_other(server: FakeApiServer, tmp_path: Path) -> None:
    make(server)
    others: dict[str, dict[str, str]] = {
        "an-administrators": {},
        f"{DRIVER}-{NODE}-other-pool": {"pool": f"{NODE}-other"},
        f"{DRIVER}-{NODE}-other-driver": {"driver": "gpu.intel.com"},
        f"{DRIVER}-{NODE}-other-key": {"key": "example.com/maintenance"},
    }
    for name, more in others.items():
        make(server, name, **more)
    assert look(server, tmp_path, remove=True).events == []
    assert left(server) == sorted(others)


def test_without_the_right_to_remove_it_is_told(server: FakeApiServer, tmp_path: Path) -> None:
    make(server)
    server.faults.add(status=403, method="DELETE")
    ((_, text),) = look(server, tmp_path, remove=True).events
    assert "cannot be removed" in text
    assert left(server) == [OURS]


def test_one_that_somebody_else_has_just_removed_is_fine(server: FakeApiServer, tmp_path: Path) -> None:
    make(server)
    server.faults.add(status=404, method="DELETE")
    assert look(server, tmp_path, remove=True).events == []


def test_without_the_right_to_look_nothing_more_is_asked(
    server: FakeApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refused = server.faults.add(status=403, path=LIST)
    assert look(server, tmp_path, remove=True).events == []
    assert "not looked for" in caplog.text
    assert refused.hits == 1


def test_a_server_that_does_not_answer_is_asked_again(server: FakeApiServer, tmp_path: Path) -> None:
    make(server)
    trouble = server.faults.add(status=503, path=LIST, count=3)
    assert len(look(server, tmp_path, remove=False).events) == 1
    assert trouble.hits == 3


def test_a_server_without_such_rules_has_none(tmp_path: Path) -> None:
    with FakeApiServer(version="1.33") as server:
        assert look(server, tmp_path, remove=True).events == []


def test_a_stop_ends_the_waiting(server: FakeApiServer, tmp_path: Path) -> None:
    server.faults.add(status=503, path=LIST)
    api = connect(str(server.kubeconfig(tmp_path / "kubeconfig")))
    rules = OldTaintRules(api, DRIVER, NODE, remove=lambda: True, backoff=Backoff(3600.0, 3600.0))
    rules.start()
    server.wait_for(lambda: any("devicetaintrules" in each.path for each in server.requests))
    rules.stop()
    rules.stop()
    assert not any(thread.name == "old-taint-rules" for thread in threading.enumerate())
    api.close()
