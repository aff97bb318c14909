"""`python -m harness`, as `make cluster` and `make e2e` call it: what a user sees, also when something is missing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.sandbox import HARNESS

Done = subprocess.CompletedProcess[str]


def harness(*arguments: str, before: tuple[str, ...] = (), **environment: str) -> Done:
    return subprocess.run(
        [*before, sys.executable, "-m", "harness", *arguments],
        env=os.environ | {"PYTHONPATH": str(HARNESS)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def places(tmp_path: Path, minor: str, built: object) -> Iterator[list[str]]:
    options = [f"--k8s={minor}", f"--state={tmp_path}/state.json", f"--logs={tmp_path}/logs"]
    yield options
    harness("down", *options)


def test_a_user_makes_a_cluster_uses_it_and_takes_it_down(places: list[str], minor: str) -> None:
    first = harness("up", *places)
    assert first.returncode == 0, first.stderr
    assert "the node is Ready after" in first.stderr
    assert f"Kubernetes {minor}, one node" in first.stderr
    nodes = harness("exec", *places, "--", "kubectl", "get", "nodes", "--no-headers")
    assert nodes.stdout.split()[:2] == ["e2e-node", "Ready"]
    again = harness("up", *places, "--", "sh", "-c", "helm list -q && pwd && exit 7")
    assert again.returncode == 7
    assert again.stdout == f"{Path.cwd()}\n"
    other = harness("up", *places, "--k8s=9.99")
    said = f"e2e: a cluster of Kubernetes {minor} is running (end it with `make cluster-down`)\n"
    assert (other.returncode, other.stderr) == (1, said)
    assert harness("down", *places).stderr == "e2e: the cluster is gone.\n"
    assert harness("down", *places).stderr == "e2e: no cluster was running.\n"


def test_without_a_cluster_nothing_can_be_run_in_it(places: list[str]) -> None:
    done = harness("exec", *places, "--", "true")
    assert (done.returncode, done.stderr) == (
        1,
        "e2e: no cluster is running (start one with `make cluster`)\n",
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--k8s=9.99"], "e2e: no cluster of Kubernetes 9.99 (K8S is one of 1.34, 1.37)\n"),
        (["--gates=DRAThing"], "e2e: 'DRAThing' is not a switch (write NAME=true or NAME=false)\n"),
    ],
)
def test_a_wrong_option_is_one_line(places: list[str], options: list[str], said: str) -> None:
    done = harness("up", *places, *options)
    assert (done.returncode, done.stderr) == (1, said)


def test_a_component_that_dies_is_one_line_with_its_log(places: list[str], tmp_path: Path) -> None:
    done = harness("up", *places, "--gates=NoSuchGate=true")
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()
    assert line.startswith("e2e: kube-apiserver died at start, exit code 1: ")
    assert "NoSuchGate" in line
    assert line.endswith(f"(its log is {tmp_path}/logs/kube-apiserver.log)")
    assert "unrecognized feature gate" in (tmp_path / "logs" / "kube-apiserver.log").read_text()


def test_who_is_not_root_is_told_so(places: list[str]) -> None:
    # An interpreter below /root is out of reach for nobody, unless it runs already.
    script = "import os, sys, harness.__main__ as it; os.setuid(65534); sys.exit(it.main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "build", *places],
        env=os.environ | {"PYTHONPATH": str(HARNESS)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = "e2e: a cluster needs root: it makes namespaces and mounts (run it with sudo)\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_root_without_its_powers_is_told_so(places: list[str]) -> None:
    done = harness("build", *places, before=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"))
    assert done.returncode == 1
    assert done.stderr == (
        "e2e: this root may not make namespaces (no CAP_SYS_ADMIN) (leave the container, or start it privileged)\n"
    )


def test_a_full_disk_is_one_line(tmp_path: Path, minor: str) -> None:
    script = 'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"'
    full = ("unshare", "--mount", "sh", "-c", script, str(tmp_path))
    places = {"XDG_CACHE_HOME": str(tmp_path), "GOCACHE": f"{tmp_path}/go", "GOTMPDIR": str(tmp_path)}
    done = harness("build", f"--k8s={minor}", before=full, **places)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "full" in last
    assert "free about 6 GB there" in last
