"""A simulated node with the real ``gaudi-driver run``: what the tests of whole processes have in common."""

from __future__ import annotations

from typing import Any

from driver_program import NODE, Program
from gaudi_driver.driver import NAME

__all__ = [
    "NAME",
    "NODE",
    "allocated",
    "by_address",
    "gaudi_cli",
    "machine_only",
    "program",
    "running",
    "spec",
]

program = Program("gaudi_driver", NAME, "gaudi")
machine_only, running, gaudi_cli = program.machine_only, program.running, program.cli
spec, allocated = program.spec, program.allocated

FIRST, SECOND, THIRD = "0000-43-00-0-0x1020", "0000-44-00-0-0x1020", "0000-19-00-0-0x1020"


def by_address(bdf: str, **exactly: Any) -> dict[str, Any]:
    """A claim for the device at one PCI address."""
    return spec(f'device.attributes["resource.kubernetes.io"].pciBusID == "{bdf}"', **exactly)
