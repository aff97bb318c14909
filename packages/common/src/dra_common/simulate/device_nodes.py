"""Numbers for real character devices of a machine that is not real.

A simulated card must never lead to the computer's own: its nodes have a major number that no driver of this kernel
serves, so that opening one is ENXIO to whoever may open it, and EPERM in a container that was not given it (container
runtimes allow nobody these numbers by default). What sysfs says of a device stays what the real driver would say.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from dra_common.errors import SettingsError

_EXPERIMENTAL: Final[tuple[int, ...]] = (*range(120, 128), *range(60, 64))
"""Character majors "for local and experimental use", which Linux gives to no driver (admin-guide/devices.txt)."""

_CURE = "run as root with CAP_MKNOD, or do without device nodes: plain files then stand for them"


def unserved_major(devices: Path = Path("/proc/devices")) -> int:
    """Return a major number of character devices that no driver serves here. Raises SettingsError: there is none.

    Args:
        devices: the kernel's list of the majors it serves (proc_devices(5)).
    """
    try:
        lines = devices.read_text(encoding="utf-8").partition("Block devices:")[0].splitlines()
    except OSError as error:
        raise SettingsError(f"cannot make device nodes: {devices}: {error.strerror}", cure=_CURE) from None
    served = {line.split()[0] for line in lines if line.split()}
    for major in _EXPERIMENTAL:
        if str(major) not in served:
            return major
    raise SettingsError(
        "cannot make device nodes: drivers of this kernel serve all majors for experimental use",
        cure="do without device nodes: plain files then stand for them",
    )


def require_device_nodes(folder: Path, major: int) -> None:
    """Make a node in ``folder`` and remove it again. Raises SettingsError: it is not permitted."""
    probe = folder / ".node"
    try:
        probe.unlink(missing_ok=True)
        os.mknod(probe, mode=stat.S_IFCHR | 0o600, device=os.makedev(major, 0))
        probe.unlink()
    except OSError as error:
        raise SettingsError(f"cannot make device nodes in {folder}: {error.strerror}", cure=_CURE) from None
