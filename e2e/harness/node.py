"""What makes a few namespaces look like a machine: mounts, network, boot id. Runs as process 1 inside them.

Nothing of it is on the host. ``/run`` is a new tmpfs, whose folder ``disk`` plays the disk that survives a reboot;
``/etc``, ``/opt`` and ``/var`` are overlays that keep on that tmpfs what is written; kernel settings that a kubelet
would change are files over them.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from harness import linux
from harness.cgroups import Hierarchy, hierarchies, remove_all
from harness.errors import HarnessError

NAME = "e2e-node"
ADDRESS = "172.31.255.1"
# The first address of the Service range: the API server listens on it itself, so no kube-proxy is needed.
SERVICE = "10.96.0.1"
RUN = Path("/run")
DISK = RUN / "disk"
LOGS = RUN / "logs"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# On the disk itself and not on an overlay: snapshots of containers are overlays, and those cannot be stacked.
OWN_FOLDERS = {"/var/lib/kubelet": DISK / "kubelet", "/var/lib/containerd": DISK / "containerd"}
OVERLAYS = ("/etc", "/opt", "/var")
# As the kubelet wants them (its setupKernelTunables); it would set them for the whole host.
TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def isolate(cgroups: Sequence[Hierarchy], name: str) -> None:
    """Move this process, 1 in its namespace of processes, into namespaces of every other kind."""
    for hierarchy in cgroups:
        hierarchy.join(name)
    kinds = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
    linux.unshare(kinds | linux.CLONE_NEWCGROUP)
    socket.sethostname(NAME)
    # From here on mounts of the host are still seen, and ours are not seen there.
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SLAVE)


def furnish(cgroups: Sequence[Hierarchy], logs: Path) -> None:
    """Make mounts, boot id and network; ``logs`` is the folder on the host that becomes ``/run/logs``."""
    # Below a new mount it would be out of sight; in another mount namespace it could not be bound.
    opened = os.open(logs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    linux.mount("proc", "/proc", kind="proc")
    for hierarchy in cgroups:
        hierarchy.mount_again()
    linux.mount("tmpfs", str(RUN), kind="tmpfs", options="mode=755")
    LOGS.mkdir()
    linux.bind(f"/proc/self/fd/{opened}", str(LOGS))
    os.close(opened)
    for path in OVERLAYS:
        _overlay(path)
    for path, own in OWN_FOLDERS.items():
        own.mkdir()
        Path(path).mkdir(exist_ok=True)
        linux.bind(str(own), path)
    for name, value in TUNABLES.items():
        _cover(f"/proc/sys/{name}", DISK / "tunables" / name, value)
    new_boot()
    # What a container mounts below a volume that it shares with the node is seen on the node.
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SHARED)
    _network()


def _overlay(path: str) -> None:
    upper, work = (DISK / kind / path.strip("/") for kind in ("upper", "work"))
    upper.mkdir(parents=True)
    work.mkdir(parents=True)
    linux.mount(
        "overlay", path, kind="overlay", options=f"lowerdir={path},upperdir={upper},workdir={work},xino=off"
    )


def _cover(path: str, with_file: Path, content: str) -> None:
    with_file.parent.mkdir(parents=True, exist_ok=True)
    with_file.write_text(f"{content}\n")
    linux.bind(str(with_file), path)


def _network() -> None:
    for command in (
        "link set lo up",
        f"address add {SERVICE}/32 dev lo",
        f"address add {ADDRESS}/32 dev lo",
    ):
        done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise HarnessError(f"ip {command}: {done.stderr.strip()}")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def new_boot() -> None:
    """Give the node another boot id, and the folders that a boot makes in ``/run``."""
    with contextlib.suppress(OSError):  # none at the first boot
        linux.umount(BOOT_ID)
    _cover(BOOT_ID, DISK / "boot_id", str(uuid.uuid4()))
    for folder in ("tmp", "home", "cdi", "lock"):
        (RUN / folder).mkdir(exist_ok=True)


def reboot() -> None:
    """Lose what a machine loses when it boots: cgroups, mounts of containers and volumes, and ``/run``."""
    # A kubelet that found those of dead containers would look for each in containerd for seconds.
    remove_all(hierarchies(), "kubepods")
    for path in reversed(_mounts_of_containers()):
        linux.umount(path, detach=True)
    for entry in RUN.iterdir():
        if entry in (DISK, LOGS):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    new_boot()


def _mounts_of_containers() -> list[str]:
    paths = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = (f"{RUN}/", *(f"{path}/" for path in OWN_FOLDERS))
    return [path for path in paths if path.startswith(below) and not path.startswith((str(DISK), str(LOGS)))]
