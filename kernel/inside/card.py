"""The guest's SR-IOV network card and its kernel, asked through real files and a real netlink socket."""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from pathlib import Path

SYSFS = Path("/sys")
DEVICES = SYSFS / "bus" / "pci" / "devices"
DRIVERS = SYSFS / "bus" / "pci" / "drivers"
MODULES = ("igb", "igbvf", "vfio-pci", "pci-stub", "aer_inject")
IGB = "0x10c9\n"
KOBJECT_UEVENT = 15
# Thousands of events. SO_RCVBUFFORCE (asm-generic/socket.h) may pass the limit of the system (socket(7)).
SO_RCVBUFFORCE = 33
BUFFER = 8 * 1024 * 1024
# Any device that nobody else speaks of.
MARKER = SYSFS / "devices" / "virtual" / "mem" / "null" / "uevent"


def put(path: Path, text: str) -> int:
    """Write in one call, as a shell's echo does; return the errno of the refusal, or 0."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or -1
    return 0


def must(path: Path, text: str) -> None:
    """Write; a refusal is an ``OSError``."""
    code = put(path, text)
    if code:
        raise OSError(code, os.strerror(code), str(path), None, text)


class Uevents:
    """What the kernel multicasts (NETLINK_KOBJECT_UEVENT, group 1): ``action@devpath``, then KEY=VALUE."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, KOBJECT_UEVENT)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.settimeout(60)
        self._socket.bind((0, 1))

    def close(self) -> None:
        self._socket.close()

    def take(self) -> list[dict[str, str]]:
        """Give all events so far: up to one that is asked for now (Documentation/ABI/testing/sysfs-uevent)."""
        mark = str(uuid.uuid4())
        must(MARKER, f"change {mark}")
        events: list[dict[str, str]] = []
        while True:
            parts = self._socket.recv(65536).decode().split("\0")
            event = dict(part.partition("=")[::2] for part in parts[1:] if part)
            if event.get("SYNTH_UUID") == mark:
                return events
            events.append(event)


class Card:
    """The PF as it is found: igb bound, no VFs, VF probing on, no overrides.

    Args:
        index: 0 is behind a port with access control, 1 is not: port and card are one IOMMU group.
    """

    def __init__(self, index: int = 0) -> None:
        subprocess.run(["/sbin/modprobe", "-a", *MODULES], check=True)
        cards = sorted(path.name for path in DEVICES.iterdir() if (path / "device").read_text() == IGB)
        self.name = cards[index]
        self.folder = DEVICES / self.name

    def vf(self, index: int) -> str:
        """Name a VF that need not exist: its routing id follows from offset and stride (SR-IOV 1.1, 2.1.2)."""
        bus, device, function = (int(part, 16) for part in self.name[5:].replace(".", ":").split(":"))
        offset, stride = (int((self.folder / f"sriov_{name}").read_text()) for name in ("offset", "stride"))
        route = (bus << 8 | device << 3 | function) + offset + stride * index
        return f"{self.name[:5]}{route >> 8:02x}:{route >> 3 & 31:02x}.{route & 7}"

    @property
    def driver(self) -> str:
        """Name of the bound driver, or nothing."""
        link = self.folder / "driver"
        return link.readlink().name if link.is_symlink() else ""

    def restore(self) -> None:
        """Make it as it was found, whatever a test did."""
        if self.folder.exists() and self._has_errors():
            # Counts last as long as the device.
            must(self.folder / "remove", "1")
        if not self.folder.exists():
            must(SYSFS / "bus" / "pci" / "rescan", "1")
        if (self.folder / "sriov_numvfs").read_text() != "0\n":
            must(self.folder / "sriov_numvfs", "0")
        must(SYSFS / "bus" / "pci" / "drivers_autoprobe", "1")
        for id_ in ("8086 10c9", "dead beef"):
            put(DRIVERS / "vfio-pci" / "remove_id", id_)
        must(self.folder / "driver_override", "\n")
        must(self.folder / "sriov_drivers_autoprobe", "1")
        must(self.folder / "reset_method", "default")
        if self.driver != "igb":
            if self.driver:
                must(DRIVERS / self.driver / "unbind", self.name)
            must(DRIVERS / "igb" / "bind", self.name)

    def _has_errors(self) -> bool:
        files = (self.folder / f"aer_dev_{severity}" for severity in ("correctable", "nonfatal", "fatal"))
        return any(not file.read_text().endswith(" 0\n") for file in files)
