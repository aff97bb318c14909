"""Versions of kernel drivers."""

from __future__ import annotations

import re
from collections.abc import Callable

from dra_common.errors import HostError, HostNotFound
from dra_common.ports import Host

_RELEASE = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9})(?![0-9])|(?![0-9.]))", re.ASCII)


def driver_version(host: Host, driver: str) -> str:
    """Return the version of a kernel driver as ``major.minor.patch``, empty if it is unknown.

    A module of the kernel's own tree has the kernel's version; one that was built beside it may say its own
    (``/sys/module/<name>/version``, sysfs ABI ``sysfs-module``), and else is unknown.
    """
    module = f"bus/pci/drivers/{driver}/module"
    own = _text(lambda: host.sysfs.read(f"{module}/version"))
    if own is None and "O" not in (_text(lambda: host.sysfs.read(f"{module}/taint")) or ""):
        own = _text(lambda: host.procfs.read("sys/kernel/osrelease"))
    release = _RELEASE.match(own or "")
    return ".".join(str(int(part or 0)) for part in release.groups()) if release else ""


def _text(read: Callable[[], str]) -> str | None:
    try:
        return read().strip()
    except HostNotFound:
        return None
    except HostError:
        return ""
