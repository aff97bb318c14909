"""PCIe errors that no hardware made: the kernel's own module aer_inject puts them where the hardware would.

Source: Documentation/PCI/pcieaer-howto.rst, ``struct aer_error_inj`` of drivers/pci/pcie/aer_inject.c.
"""

from __future__ import annotations

import os
import select
import struct
import time
from pathlib import Path

DEVICE = Path("/dev/aer_inject")
KMSG = "/dev/kmsg"
DONE = b"AER: device recovery "
SECONDS = 60.0
STATUS = {("correctable", "RxErr"): (0, 1 << 0), ("nonfatal", "CmpltTO"): (1 << 14, 0)}
"""What a device puts into its status registers, uncorrectable and correctable (PCIe Base Specification, AER)."""


def report(bdf: str, severity: str, name: str) -> int:
    """Let a function report an error, and wait until the kernel has dealt with it; return an errno, or 0."""
    before = _total(bdf, severity)
    log = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.lseek(log, 0, os.SEEK_END)
        code = _inject(bdf, *STATUS[severity, name])
        if not code:
            _wait_counted(bdf, severity, before)
            if severity != "correctable":
                _wait_recovered(log)
    finally:
        os.close(log)
    return code


def _inject(bdf: str, uncorrectable: int, correctable: int) -> int:
    domain, bus, device, function = (int(part, 16) for part in bdf.replace(".", ":").split(":"))
    no_header = (0, 0, 0, 0)
    error = struct.pack("4B7I", bus, device, function, 0, uncorrectable, correctable, *no_header, domain)
    try:
        with DEVICE.open("wb", buffering=0) as file:
            file.write(error)
    except OSError as refused:
        return refused.errno or -1
    return 0


def _total(bdf: str, severity: str) -> str:
    try:
        return Path(f"/sys/bus/pci/devices/{bdf}/aer_dev_{severity}").read_text().split()[-1]
    except FileNotFoundError:
        return ""


def _wait_counted(bdf: str, severity: str, before: str) -> None:
    deadline = time.monotonic() + SECONDS
    while _total(bdf, severity) == before:
        assert time.monotonic() < deadline, f"the error of {bdf} was not counted"
        time.sleep(0.02)


def _wait_recovered(log: int) -> None:
    ready = select.poll()
    ready.register(log, select.POLLIN)
    while ready.poll(SECONDS * 1000):
        try:
            if DONE in os.read(log, 8192):
                return
        except BrokenPipeError:
            continue  # messages were overwritten before they were read
    raise TimeoutError("the kernel did not end the recovery")
