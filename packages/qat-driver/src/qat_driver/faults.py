"""Why a function cannot be used, one reason for each thing that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from qat_driver.device import (
    NO_GROUP_TAINT,
    SERVICES_TAINT,
    STATE_TAINT,
    UNBOUND_TAINT,
    UNEXPECTED_DRIVER_TAINT,
    VFIO_DRIVERS,
    Fault,
    Pf,
    Vf,
)


def of_pf(pf: Pf) -> Iterator[Fault]:
    """Yield why no VF of a PF can be used, the gravest first."""
    if pf.driver != pf.product.pf_driver:
        yield _driver(pf.driver, f"its kernel driver {pf.product.pf_driver} is not bound", who="PF")
        return
    if pf.product.configurable:
        yield from _of_state(pf.state)
        yield from _of_services(pf)


def of_vf(vf: Vf) -> Iterator[Fault]:
    """Yield why a VF cannot be used, of what is its own."""
    if not vf.iommu_group:
        yield Fault(NO_GROUP_TAINT, "", "it has no IOMMU group: VFIO cannot hand it out")
    if vf.driver not in VFIO_DRIVERS:
        yield _driver(vf.driver, "it is not bound to vfio-pci", who="VF")


def _of_state(state: str) -> Iterator[Fault]:
    if state == "down":
        yield Fault(STATE_TAINT, "down", "its PF is down")
    elif state != "up":
        said = f"its PF's state is {state!r}" if state else "its PF does not say its state"
        yield Fault(STATE_TAINT, "unknown", f"{said}, neither up nor down")


def _of_services(pf: Pf) -> Iterator[Fault]:
    if pf.services.unknown:
        names = ", ".join(pf.services.unknown)
        yield Fault(SERVICES_TAINT, "unknown", f"its PF offers services that are not known: {names}")
    elif not pf.services.known:
        yield Fault(SERVICES_TAINT, "none", "its PF does not say what it offers (cfg_services)")


def _driver(bound: str, why: str, *, who: str) -> Fault:
    if not bound:
        return Fault(UNBOUND_TAINT, who, f"{why}; nothing is")
    return Fault(UNEXPECTED_DRIVER_TAINT, bound, f"{why}, but {bound}")
