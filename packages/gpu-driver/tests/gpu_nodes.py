"""A simulated node with the real ``gpu-driver run``: what the tests of whole processes have in common."""

from __future__ import annotations

from typing import Any

from driver_program import NODE, Program
from gpu_driver.driver import NAME

__all__ = ["NAME", "NODE", "allocated", "by_address", "gpu_cli", "machine_only", "program", "running", "spec"]

program = Program("gpu_driver", NAME, "gpu")
machine_only, running, gpu_cli = program.machine_only, program.running, program.cli
spec, allocated = program.spec, program.allocated


def by_address(bdf: str, **exactly: Any) -> dict[str, Any]:
    """A claim for the device at one PCI address."""
    return spec(f'device.attributes["{NAME}"].pciAddress == "{bdf}"', **exactly)
