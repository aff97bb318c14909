"""What the simulated QAT drivers ask of machine and function."""

from __future__ import annotations

from dra_common.simulate import DEBUGFS, Function, Machine

from qat_driver.kernels import parse_kernel
from qat_driver.products import PFS, Product

RING_PAIRS = 64
"""Of a PF of the fourth generation and later."""
_NEWEST = (9999, 0)


def product_of(function: Function) -> Product:
    """Return what a physical function is."""
    return PFS[function.spec.device]


def since(machine: Machine, *kernel: int) -> bool:
    """Whether the machine's kernel is this one or newer."""
    return (parse_kernel(machine.profile.kernel) or _NEWEST) >= kernel


def has_qat_folder(machine: Machine, function: Function) -> bool:
    """Whether state and services can be seen and set, in a folder ``qat``."""
    first = product_of(function).services_since
    return first is not None and since(machine, *first)


def debug_folder(function: Function) -> str:
    """Return the function's folder of debugfs, which is there while it is up."""
    return f"{DEBUGFS}/qat_{product_of(function).pf_driver}_{function.bdf}"


def is_up(machine: Machine, function: Function) -> bool:
    """Whether it runs, whatever its attributes say."""
    return machine.sys.exists(debug_folder(function))


def services_of(machine: Machine, function: Function) -> str:
    """Return the services that it is set to, as stored; empty for a product without a choice."""
    path = f"{function.folder}/qat/cfg_services"
    return machine.sys.read(path) if machine.sys.exists(path) else ""
