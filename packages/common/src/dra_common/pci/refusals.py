"""What the kernel means by an errno, and what to do about it (``drivers/base/bus.c``, ``drivers/pci/iov.c``)."""

from __future__ import annotations

import errno
import os
from typing import Literal, TypeAlias

from dra_common.errors import HardwareRefused, HostError, HostNotFound

Operation: TypeAlias = Literal[
    "bind", "unbind", "probe", "override", "numvfs", "autoprobe", "reset", "attribute"
]

_LOG = "look into the kernel log for what the device or its driver reports"
_OUTSIDER = "something else on this node changes its driver: stop that"
_MODULE = "load its kernel module on this node"

_REFUSALS: dict[tuple[Operation, int], tuple[str, str]] = {
    ("bind", errno.ENOENT): ("this kernel driver is not loaded", _MODULE),
    ("bind", errno.ENODEV): (
        "the driver does not take this device: it does not know its ids, or driver_override names another driver",
        "load a driver that supports it",
    ),
    ("bind", errno.EBUSY): ("another driver is bound to it", _OUTSIDER),
    ("bind", errno.EAGAIN): ("the driver waits for something else and is probed later", _LOG),
    ("bind", errno.EINVAL): (
        "the driver's probe failed",
        "for a VFIO driver enable the IOMMU in firmware and kernel (intel_iommu=on); else look into the kernel log",
    ),
    ("unbind", errno.ENOENT): ("this kernel driver is not loaded", _OUTSIDER),
    ("unbind", errno.ENODEV): ("it is not bound to this driver any more", _OUTSIDER),
    ("probe", errno.ENODEV): (
        "there is no such device any more",
        "see whether it fell off the bus: kernel log",
    ),
    ("probe", errno.EINVAL): ("the look for a driver failed", _LOG),
    ("override", errno.EINVAL): ("the name is too long", "use the name of a kernel driver"),
    ("numvfs", errno.ENOENT): (
        "no driver is bound to it, or its driver cannot make VFs",
        "load a driver that supports SR-IOV on this device",
    ),
    ("numvfs", errno.EINVAL): ("the kernel does not take this number", "ask for fewer VFs"),
    ("numvfs", errno.ERANGE): ("it has fewer VFs (sriov_totalvfs)", "ask for fewer VFs"),
    ("numvfs", errno.EBUSY): ("it has VFs already, which are in use or of somebody else", _OUTSIDER),
    ("numvfs", errno.ENOMEM): (
        "there is no room for the VFs' memory or bus numbers",
        "enable SR-IOV and 64-bit BARs in the firmware, or boot with pci=realloc",
    ),
    ("numvfs", errno.ENODEV): (
        "its driver does not run as PF",
        "allow VFs in the options of the kernel driver",
    ),
    ("numvfs", errno.ENOSPC): ("its driver has no resources left for so many VFs", "ask for fewer VFs"),
    ("numvfs", errno.EUCLEAN): (
        "its provisioning for VFs is not clean",
        "reset what was provisioned by hand",
    ),
    ("numvfs", errno.EIO): ("the device or its firmware failed", _LOG),
    ("autoprobe", errno.ENOENT): ("it has no SR-IOV capability", "enable SR-IOV in the firmware"),
    ("autoprobe", errno.EINVAL): ("the kernel does not take this value", _LOG),
    ("attribute", errno.ENOENT): ("its kernel driver has no such setting", "use a newer kernel"),
    ("attribute", errno.EINVAL): ("its kernel driver does not take this value", "use another value"),
    ("attribute", errno.EPERM): ("its kernel driver does not let this be set", "leave this setting out"),
    ("attribute", errno.EOPNOTSUPP): ("its kernel driver does not let this be set", "leave this setting out"),
    ("attribute", errno.EIO): ("the device or its firmware failed, or refused", _LOG),
    ("reset", errno.ENOENT): ("the kernel knows no way to reset it", "do without a reset"),
    ("reset", errno.ENOTTY): (
        "no reset method of it works or is allowed",
        "write `default` to its reset_method",
    ),
    ("reset", errno.EINVAL): ("the kernel does not take this value", _LOG),
}


def explain(operation: Operation, doing: str, error: HostError, *, present: bool) -> HostError:
    """Return what a refusal means; ``doing`` names the function and the step, ``present`` whether it is there."""
    number = error.errno or (errno.ENOENT if isinstance(error, HostNotFound) else 0)
    if not present:
        return HostNotFound(f"{doing}: there is no such PCI function (any more)", cure=_GONE, errno=number)
    cause, cure = _REFUSALS.get((operation, number), (_word(number, error), error.cure or _LOG))
    code = errno.errorcode.get(number, f"errno {number}")
    return HardwareRefused(f"{doing}: {cause} ({code})", cure=cure, errno=number)


def _word(number: int, error: HostError) -> str:
    """Say what is not in the table: the kernel's word for it, or why it was not even asked."""
    return os.strerror(number) if number else error.message


_GONE = "see whether it was unplugged or fell off the bus: kernel log"
