"""The QAT part of the simulated kernel: drivers of PFs and VFs, and machines to try this driver on."""

from __future__ import annotations

from dra_common.simulate import IdDriver, Simulation, VfioPci, profiles_of

from qat_driver.products import PRODUCTS
from qat_driver.simulation.details import DETAILS_KEY, QatDetails
from qat_driver.simulation.qat import Qat

__all__ = ["SIMULATION", "QatDetails"]

_VF_MODULES = {"dh895xccvf": "qat_dh895xccvf", "c6xxvf": "qat_c62xvf", "c3xxxvf": "qat_c3xxxvf"}


def _vf_driver(name: str) -> IdDriver:
    ids = [f"8086:{product.vf_id[2:]}" for product in PRODUCTS if product.vf_driver == name]
    return IdDriver(name, ids, module=_VF_MODULES.get(name, f"qat_{name}"))


SIMULATION = Simulation(
    profiles=profiles_of("qat_driver"),
    kernel_drivers=(
        Qat("4xxx", "qat_4xxx"),
        Qat("420xx", "qat_420xx"),
        Qat("6xxx", "qat_6xxx"),
        Qat("c6xx", "qat_c62x"),
        Qat("c3xxx", "qat_c3xxx"),
        Qat("dh895xcc", "qat_dh895xcc"),
        *(_vf_driver(name) for name in (*_VF_MODULES, "4xxxvf")),
        VfioPci("qat_vfio_pci"),
    ),
    details={DETAILS_KEY: QatDetails},
)
"""Kernel drivers for profiles: those of Linux, and ``4xxxvf``, which is built beside it."""
