"""PCIe errors: their counters, and the uevents of recovery.

Sources: Documentation/ABI/testing/sysfs-bus-pci-devices-aer (the files), Documentation/PCI/pci-error-recovery.rst and
``drivers/pci/pcie/err.c`` (who is told, and when recovery fails). ``make test-kernel`` saw all of it on Linux 6.12.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dra_common.simulate.errnos import refuse
from dra_common.simulate.function import Function

if TYPE_CHECKING:
    from dra_common.simulate.machine import Machine

_CORRECTABLE = "RxErr BadTLP BadDLLP Rollover Timeout NonFatalErr CorrIntErr HeaderOF"
_UNCORRECTABLE = """
    Undefined DLP SDES TLP FCP CmpltTO CmpltAbrt UnxCmplt RxOF MalfTLP ECRC UnsupReq ACSViol UncorrIntErr BlockedTLP
    AtomicOpBlocked TLPBlockedErr PoisonTLPBlocked DMWrReqBlocked IDECheck MisIDETLP PCRC_CHECK TLPXlatBlocked
"""
_TOTALS = {
    "correctable": "TOTAL_ERR_COR",
    "nonfatal": "TOTAL_ERR_NONFATAL",
    "fatal": "TOTAL_ERR_FATAL",
}
ERRORS: Mapping[str, tuple[str, ...]] = {
    "correctable": tuple(_CORRECTABLE.split()),
    "nonfatal": tuple(_UNCORRECTABLE.split()),
    "fatal": tuple(_UNCORRECTABLE.split()),
}
"""Severity -> names of errors, in the order of the file ``aer_dev_<severity>``."""


def text(severity: str, counts: Mapping[str, int]) -> str:
    """Return what the file of a severity says: a line for each error, then one for all."""
    lines = [f"{name} {counts.get(name, 0)}" for name in ERRORS[severity]]
    return "\n".join([*lines, f"{_TOTALS[severity]} {sum(counts.values())}"])


def make(machine: Machine, function: Function) -> None:
    """Add the files of a function that has the capability."""
    if function.spec.aer:
        for severity in ERRORS:
            machine.add_file(f"{function.folder}/aer_dev_{severity}", text(severity, {}))


def report(machine: Machine, function: Function, severity: str, name: str) -> None:
    """Let a function report an error.

    A correctable one only counts. After any other all functions behind the same port are recovered, which their drivers
    must take part in: with one that cannot, or is not there, recovery fails for all.

    Raises OSError: EPROTONOSUPPORT (no such capability), EINVAL (no such error).
    """
    if not function.spec.aer:
        raise refuse(errno.EPROTONOSUPPORT, f"{function.bdf} has no AER capability")
    if name not in ERRORS.get(severity, ()):
        raise refuse(errno.EINVAL, f"no error {severity} {name}")
    counts = function.errors.setdefault(severity, Counter())
    counts[name] += 1
    machine.set_file(f"{function.folder}/aer_dev_{severity}", text(severity, counts))
    if severity != "correctable":
        _recover(machine, machine.beside(function))


def _recover(machine: Machine, functions: tuple[Function, ...]) -> None:
    able = [
        (function, function.driver) for function in functions if function.driver and function.driver.recovers
    ]
    for function, _ in able:
        _tell(machine, function, "BEGIN_RECOVERY", online=False)
    done = len(able) == len(functions)
    if done:
        for function, driver in able:
            driver.reset(machine, function)
    for function in functions:
        # A PF that started again has other VFs than before.
        if machine.functions.get(function.bdf) is function:
            _tell(machine, function, "SUCCESSFUL_RECOVERY" if done else "FAILED_RECOVERY", online=done)


def _tell(machine: Machine, function: Function, event: str, *, online: bool) -> None:
    machine.change_function(function, {"ERROR_EVENT": event, "DEVICE_ONLINE": str(int(online))})
