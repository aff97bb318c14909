"""What a cluster leaves on the host: nothing, however it ends. Each has an owner of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.daemon import Running, running
from harness.node import TUNABLES
from harness.sandbox import HARNESS, entering
from harness.waiting import wait_for

# Where a node would write, were it not kept from it.
FOLDERS = ("/etc", "/opt", "/root", "/run", "/usr/lib", "/usr/libexec", "/var", "/var/lib", "/var/log")


@dataclass(frozen=True, slots=True)
class Host:
    """Everything on this machine that a node could have changed."""

    mounts: tuple[str, ...]
    cgroups: frozenset[str]
    interfaces: frozenset[str]
    files: frozenset[str]
    kernel: tuple[str, ...]


def look() -> Host:
    """Take a picture of the host."""
    mounts = (" ".join(line.split()[2:6]) for line in Path("/proc/self/mountinfo").read_text().splitlines())
    # Of clusters, their own folders; below them other tests' pods come and go.
    cgroups = Path("/sys/fs/cgroup").glob("**/")
    temporary = (str(path) for path in Path("/tmp").glob("dra-e2e*"))
    files = (str(path) for folder in FOLDERS for path in Path(folder).iterdir())
    settings = (*TUNABLES, "net/ipv4/ip_forward", "kernel/random/boot_id", "kernel/hostname")
    return Host(
        tuple(mounts),
        frozenset(str(path) for path in cgroups if "dra-e2e" not in str(path.parent)),
        frozenset(path.name for path in Path("/sys/class/net").iterdir()),
        frozenset((*files, *temporary)),
        tuple(Path("/proc/sys", name).read_text() for name in settings),
    )


@dataclass(frozen=True, slots=True)
class Made:
    """A cluster that another process owns."""

    owner: "subprocess.Popen[str]"
    state: Path
    logs: Path
    before: Host

    def up(self) -> Running:
        found = wait_for(lambda: running(self.state) or self.owner.poll() is not None, "the cluster", 120)
        assert isinstance(found, Running), self.owner.communicate()
        return found


@pytest.fixture
def made(tmp_path: Path, minor: str, built: object) -> Iterator[Made]:
    options = [f"--k8s={minor}", f"--state={tmp_path}/state.json", f"--logs={tmp_path}/logs"]
    before = look()
    owner = subprocess.Popen(
        [sys.executable, "-m", "harness", "hold", *options],
        env=os.environ | {"PYTHONPATH": str(HARNESS)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with owner:
        yield Made(owner, tmp_path / "state.json", tmp_path / "logs", before)
        owner.kill()


def pid_namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def processes_in(namespace: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if pid_namespace(int(process.name)) == namespace:
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return found


def parent(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


def run_a_pod(found: Running) -> None:
    """Let there be what only a pod makes: an interface, cgroups, mounts, a shim."""
    command = ["kubectl", "run", "busy", "--image=e2e.local/busybox:1", "--image-pull-policy=Never"]
    for each in (
        [*command, "--", "sleep", "1000"],
        ["kubectl", "wait", "pod/busy", "--for=condition=Ready", "--timeout=60s"],
    ):
        done = subprocess.run(
            [*entering(found.init), *each], env=found.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def left_as(before: Host) -> bool:
    now = look()
    differences = [
        f"{name}: {set(getattr(now, name)) ^ set(getattr(before, name))}"
        for name in Host.__slots__
        if getattr(now, name) != getattr(before, name)
    ]
    assert not differences, differences
    return True


@pytest.mark.parametrize(
    ("victim", "number"),
    [
        ("owner", signal.SIGTERM),
        ("owner", signal.SIGKILL),
        ("keeper", signal.SIGKILL),
        ("process 1", signal.SIGKILL),
    ],
)
def test_nothing_is_left_whoever_of_the_three_processes_ends(
    made: Made, victim: str, number: signal.Signals
) -> None:
    found = made.up()
    run_a_pod(found)
    namespace = pid_namespace(found.init)
    assert {"containerd-shim", "kubelet", "pause"} <= {
        name[:15].rstrip("-") for name in processes_in(namespace)
    }
    pids = {"owner": found.owner, "keeper": parent(found.init), "process 1": found.init}
    os.kill(pids[victim], number)
    made.owner.wait(60)
    wait_for(lambda: not processes_in(namespace), "the processes of the cluster to end", 30)
    wait_for(lambda: left_as(made.before), "the host to be as it was", 30)


def test_nothing_is_left_if_the_owner_is_killed_while_the_cluster_comes_up(made: Made) -> None:
    log = made.logs / "kube-apiserver.log"
    wait_for(lambda: log.exists() and log.stat().st_size, "the API server to be starting", 60)
    made.owner.kill()
    wait_for(lambda: left_as(made.before), "the host to be as it was", 30)
    assert running(made.state) is None
