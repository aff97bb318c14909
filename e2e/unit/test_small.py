"""The small parts that need no root: switches, waiting, reasons in logs, checks of the machine, command lines."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from harness import checks
from harness.__main__ import split
from harness.checks import check_machine
from harness.components import GATED, NAMES, command, files
from harness.control import reason
from harness.errors import HarnessError
from harness.namespace import pod_manifest
from harness.sandbox import HARNESS
from harness.settings import Settings, joined, minors, switches, tools_folder
from harness.waiting import NotInTime, wait_for

SETTINGS = Settings(Path("/tools/bin"), Path("/tools/images"), Path("/logs"))


def test_the_command_line_needs_nothing_but_the_standard_library() -> None:
    """`make e2e-tools` runs before there is any environment."""
    command = [sys.executable, "-S", "-c", "import harness.__main__"]
    assert subprocess.run(command, env={"PYTHONPATH": str(HARNESS)}, check=False).returncode == 0


def test_switches_are_read_and_written() -> None:
    assert switches("") == {}
    text = "A=true,resource.k8s.io/v1beta1=false"
    assert switches(text) == {"A": True, "resource.k8s.io/v1beta1": False}
    assert joined(switches(text)) == text


@pytest.mark.parametrize("text", ["A", "A=yes", "A=true B", "A=TRUE"])
def test_what_is_no_switch_is_refused(text: str) -> None:
    with pytest.raises(HarnessError, match="is not a switch"):
        switches(text)


def test_every_version_has_its_pinned_tools() -> None:
    assert minors() == ["1.34", "1.37"]
    for minor in minors():
        assert f"k8s.io/kubernetes v{minor}." in (tools_folder(minor) / "go.mod").read_text()
        assert (tools_folder(minor) / "go.sum").exists()


def test_a_version_without_tools_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"no cluster of Kubernetes 1\.2 \(K8S is one of 1\.34, 1\.37\)"):
        tools_folder("1.2")


def test_waiting_returns_the_first_true_value() -> None:
    answers = iter([0, "", None, "here"])
    assert wait_for(lambda: next(answers), "an answer", interval=0.001) == "here"


def test_waiting_says_for_what_and_what_it_saw() -> None:
    with pytest.raises(NotInTime, match=r"^waited 0 s for the moon; last seen: \[\]$"):
        wait_for(lambda: [], "the moon", timeout=0)  # noqa: PIE807 # the value is the point

    def pending() -> bool:
        raise AssertionError("still Pending")

    with pytest.raises(NotInTime, match="for a pod; last seen: still Pending"):
        wait_for(pending, "a pod", timeout=0)


def test_waiting_sees_what_another_thread_does() -> None:
    done = threading.Event()
    timer = threading.Timer(0.05, done.set)
    timer.start()
    assert wait_for(done.is_set, "the timer", timeout=30)
    timer.join()


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (
            'I1121 18:00:00 server.go:1] starting\nE1121 18:00:01 run.go:72] "command failed" err="no gate"\nbye',
            'E1121 18:00:01 run.go:72] "command failed" err="no gate"',
        ),
        ("Error: unknown flag: --x\nUsage:\n  -v level", "Error: unknown flag: --x"),
        ('{"level":"warn"}\n{"level":"fatal","msg":"bind"}\n', '{"level":"fatal","msg":"bind"}'),
        ('time="1" level=info\ntime="1" level=fatal msg="x"\n', 'time="1" level=fatal msg="x"'),
        ("only this\n\n", "only this"),
        ("", "it said nothing"),
    ],
)
def test_the_line_that_says_why_a_component_ended_is_found(tmp_path: Path, log: str, why: str) -> None:
    (tmp_path / "log").write_text(log)
    assert reason(tmp_path / "log") == why


def test_gates_reach_every_component_that_knows_them_and_no_other() -> None:
    gated = replace(SETTINGS, gates={"A": True, "B": False})
    commands = {name: command(name, gated, {}) for name in NAMES}
    with_flag = {name for name, words in commands.items() if "--feature-gates=A=true,B=false" in words}
    kubelet = json.loads(next(text for path, text in files(gated).items() if path.name == "kubelet.json"))
    assert with_flag | {"kubelet"} == set(GATED)
    assert kubelet["featureGates"] == {"A": True, "B": False}
    assert not any("feature-gates" in word for name in NAMES for word in command(name, SETTINGS, {}))


def test_flags_of_a_test_win() -> None:
    words = command("kube-apiserver", SETTINGS, {"secure-port": "444", "v": "9"})
    assert "--secure-port=444" in words
    assert "--v=9" in words
    assert "--secure-port=443" not in words


@pytest.mark.parametrize(
    ("words", "parted"),
    [
        (["up"], (["up"], [])),
        (["up", "--k8s=1.34", "kubectl", "-n", "x"], (["up", "--k8s=1.34"], ["kubectl", "-n", "x"])),
        (["exec", "--", "sh", "-c", "a -- b"], (["exec"], ["sh", "-c", "a -- b"])),
        (["exec", "a", "--", "b"], (["exec"], ["a", "--", "b"])),
    ],
)
def test_a_command_for_the_cluster_is_parted_from_our_options(
    words: list[str], parted: tuple[list[str], list[str]]
) -> None:
    assert split(words) == parted


def test_what_is_missing_is_said_in_one_line_with_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = {"no-such-program": "one-package", "/no/such/file": "another", "sh": "dash"}
    monkeypatch.setattr(checks, "NEEDED", needed)
    with pytest.raises(HarnessError) as refused:
        check_machine()
    assert str(refused.value) == (
        "missing on this machine: no-such-program, /no/such/file "
        "(apt-get install -y --no-install-recommends another one-package)"
    )


def test_ci_installs_all_that_a_cluster_needs() -> None:
    script = (Path(__file__).parents[2] / ".ci" / "run").read_text()
    listed = " ".join(line.partition("=")[2] for line in script.splitlines() if "packages=" in line)
    assert set(checks.NEEDED.values()) <= set(listed.replace('"', "").split())


def test_a_pod_has_all_its_claims() -> None:
    pod = pod_manifest("p", claims={"gpu": {"resourceClaimTemplateName": "one"}}, hostNetwork=True)
    assert pod["spec"]["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": "one"}]
    assert pod["spec"]["containers"][0]["resources"] == {"claims": [{"name": "gpu"}]}
    assert pod["spec"]["hostNetwork"] is True
