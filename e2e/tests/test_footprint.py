"""What a cluster leaves on the host: nothing, however it ends. Each has an owner of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.daemon import Running, running
from harness.node import NAME, TUNABLES
from harness.sandbox import HARNESS, SYSTEM_PATH, Sandbox, entering
from harness.waiting import wait_for

# Where a node would write, were it not kept from it.
FOLDERS = ("/etc", "/opt", "/root", "/run", "/usr/lib", "/usr/libexec", "/var", "/var/lib", "/var/log")
# Where it mounts; elsewhere (an image builder's folders, say) others may do so meanwhile.
MOUNTED = ("/dev", "/etc", "/opt", "/proc", "/run", "/sys", "/var")


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
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mounts = (" ".join(line[2:6]) for line in lines if line[4].startswith(MOUNTED))
    # What belongs to clusters is looked at by name: others may come and go.
    cgroups = Path("/sys/fs/cgroup").glob("**/")
    files = (str(path) for folder in FOLDERS for path in Path(folder).iterdir())
    settings = (*TUNABLES, "net/ipv4/ip_forward", "kernel/random/boot_id", "kernel/hostname")
    return Host(
        tuple(mounts),
        frozenset(str(path) for path in cgroups if "dra-e2e" not in str(path)),
        frozenset(path.name for path in Path("/sys/class/net").iterdir()),
        frozenset(files),
        tuple(Path("/proc/sys", name).read_text() for name in settings),
    )


@dataclass(frozen=True, slots=True)
class Made:
    """A cluster that another process owns."""

    owner: "subprocess.Popen[str]"
    state: Path
    logs: Path
    before: Host

    def cluster(self) -> str:
        """Give the name of its cgroups, which its keeper made before anything else."""
        return f"dra-e2e-{wait_for(lambda: keeper_of(self.owner.pid), 'its keeper to start', 30)}"

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
        env=os.environ | {"PYTHONPATH": str(HARNESS), "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with owner:
        yield Made(owner, tmp_path / "state.json", tmp_path / "logs", before)
        owner.kill()


def keeper_of(owner: int) -> int | None:
    for child in Path(f"/proc/{owner}/task/{owner}/children").read_text().split():
        with suppress(OSError):
            if b"harness.keeper" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def processes_in(cluster: str) -> set[str]:
    """Give the names of the processes in a cluster's cgroups: those of pods are in namespaces of their own."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if cluster in (process / "cgroup").read_text():
                found.add((process / "comm").read_text().strip())
    return found


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


def nothing_is_left(cluster: str, before: Host, temporary: Path) -> bool:
    assert left_as(before)
    assert not processes_in(cluster), processes_in(cluster)
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{cluster}"))
    assert {path.name for path in temporary.iterdir()} <= {"logs", "state.json"}
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
    made: Made, tmp_path: Path, victim: str, number: signal.Signals
) -> None:
    found = made.up()
    run_a_pod(found)
    cluster = made.cluster()
    assert {"containerd", "containerd-shim", "kubelet", "pause", "sleep"} <= processes_in(cluster)
    keeper = keeper_of(found.owner)
    assert keeper is not None
    os.kill({"owner": found.owner, "keeper": keeper, "process 1": found.init}[victim], number)
    made.owner.wait(60)
    wait_for(lambda: nothing_is_left(cluster, made.before, tmp_path), "the host to be as it was", 30)


def test_nothing_is_left_if_the_owner_is_killed_while_the_cluster_comes_up(
    made: Made, tmp_path: Path
) -> None:
    cluster = made.cluster()
    log = made.logs / "kube-apiserver.log"
    wait_for(lambda: log.exists() and log.stat().st_size, "the API server to be starting", 60)
    assert "kube-apiserver" in processes_in(cluster)
    made.owner.kill()
    wait_for(lambda: nothing_is_left(cluster, made.before, tmp_path), "the host to be as it was", 30)
    assert running(made.state) is None


def test_what_is_left_when_owner_and_keeper_are_killed_at_once_goes_with_the_next_cluster(
    made: Made, tmp_path: Path
) -> None:
    cluster = made.cluster()
    log = made.logs / "kube-apiserver.log"
    wait_for(lambda: log.exists() and log.stat().st_size, "the API server to be starting", 60)
    keeper = keeper_of(made.owner.pid)
    assert keeper is not None
    made.owner.send_signal(signal.SIGSTOP)  # it would clean up after its keeper
    os.kill(keeper, signal.SIGKILL)
    made.owner.kill()
    wait_for(lambda: not processes_in(cluster), "the processes of the cluster to end", 30)
    with Sandbox(tmp_path / "logs", SYSTEM_PATH) as sandbox:
        assert sandbox.run(["hostname"]).stdout == "e2e-node\n"
        assert not list(Path("/sys/fs/cgroup").glob(f"**/{cluster}"))


# Of version 2 alone, as newer systems have it. Where the controllers belong to version 1 it has none to give to pods,
# so none is run; all else is as there.
UNIFIED = """
mount --make-rprivate /
for each in $(awk '$5 ~ "^/sys/fs/cgroup/" { print $5 }' /proc/self/mountinfo); do umount "$each"; done
umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"
"""


def test_cgroups_of_version_2_alone_will_do(tmp_path: Path, minor: str, built: object) -> None:
    before = look()
    state = f"--state={tmp_path}/state.json"
    script = f"""
{sys.executable} -m harness up --k8s={minor} {state} --logs={tmp_path}/logs kubectl get nodes -o name
init=$(sed 's/.*"init": \\([0-9]*\\).*/\\1/' {tmp_path}/state.json)
ours=/sys/fs/cgroup/$(grep -o "dra-e2e-[0-9]*" /proc/$init/cgroup | head -n 1)
stat -f -c %T /sys/fs/cgroup && ls -d $ours/system $ours/kubepods
{sys.executable} -m harness down {state}
ls -d $ours 2>&1
"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", UNIFIED, "sh", "sh", "-c", script],
        env=os.environ | {"PYTHONPATH": str(HARNESS)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    node, kind, *folders = done.stdout.splitlines()
    assert (node, kind) == (f"node/{NAME}", "cgroup2fs"), done
    assert [Path(each).name for each in folders[:2]] == ["kubepods", "system"]
    assert "No such file" in folders[-1]
    assert left_as(before)
