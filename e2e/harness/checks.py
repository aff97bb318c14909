"""What a machine needs for a cluster, asked before anything is made."""

import os
import shutil
import subprocess
from pathlib import Path

from harness.building import Say
from harness.components import CNI_PLUGINS
from harness.errors import HarnessError
from harness.images import BUSYBOX, is_static
from harness.sandbox import SYSTEM_PATH

# Program or file -> Debian package.
NEEDED = {
    "buildah": "buildah",
    "gcc": "gcc",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
    "setpriv": "util-linux",
    f"{CNI_PLUGINS}/host-local": "containernetworking-plugins",
    f"{CNI_PLUGINS}/ptp": "containernetworking-plugins",
    BUSYBOX: "busybox-static",
    # What gcc -static links with.
    "libc.a": "libc6-dev",
}
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
CAP_SYS_ADMIN = 1 << 21


def install_missing(say: Say) -> None:
    """Install what is missing, where that can be done: as root, with apt-get. Raises ``HarnessError`` if that fails."""
    packages = sorted(set(missing_here().values()))
    if not packages or os.geteuid() or not shutil.which("apt-get"):
        return
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        say(f"apt-get {' '.join(command)}")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            ["apt-get", *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise HarnessError(f"apt-get {' '.join(command)}: {(done.stderr or done.stdout).strip()[-300:]}")


def missing_here() -> dict[str, str]:
    """Map what is missing to the package that has it."""
    return {name: package for name, package in NEEDED.items() if not _there(name)}


def check_machine() -> None:
    """Raise ``HarnessError``, with everything that is missing in one line and how to get it."""
    missing = missing_here()
    if missing:
        names = ", ".join(missing)
        packages = " ".join(sorted(set(missing.values())))
        raise HarnessError(
            f"missing on this machine: {names}", cure=f"apt-get install -y --no-install-recommends {packages}"
        )
    if os.geteuid():
        raise HarnessError("a cluster needs root: it makes namespaces and mounts", cure="run it with sudo")
    lacking = [name for name in NAMESPACES if not Path("/proc/self/ns", name).exists()]
    if lacking:
        raise HarnessError(f"this kernel has no namespaces of kind {', '.join(lacking)}")
    if not _capabilities() & CAP_SYS_ADMIN:
        raise HarnessError(
            "this root may not make namespaces (no CAP_SYS_ADMIN)",
            cure="leave the container, or start it privileged",
        )


def _there(name: str) -> bool:
    if name == "libc.a":
        return any(Path("/usr").glob("lib*/libc.a")) or any(Path("/usr").glob("lib/*/libc.a"))
    if name == BUSYBOX:
        return is_static()
    return Path(name).exists() if name.startswith("/") else bool(shutil.which(name, path=SYSTEM_PATH))


def _capabilities() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("CapEff:")), 16)
