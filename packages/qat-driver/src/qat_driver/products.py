"""Which QAT has which PCI device ids, drivers and limits.

Sources: the id tables of ``drivers/crypto/intel/qat`` and of Intel's drivers that are built beside the kernel, those of
the QAT device plugin, and for the numbers of VFs the capabilities of real devices. Generations are counted as the
kernel does (its c62x, c3xxx and dh895xcc are "gen2"). To add a product, add a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """What a PCI device id stands for, the PF's and the VF's alike.

    Args:
        family: value of the attribute ``family``, ``4xxx``.
        generation: value of the attribute ``generation``.
        pf_id: device id of the physical function as sysfs prints it; empty = only its VFs are known.
        vf_id: device id of the virtual functions.
        pf_driver: kernel driver of the PF, the folder in ``bus/pci/drivers``.
        vf_driver: kernel driver of a VF for use on this machine instead of in a container; empty = there is none.
        vfs: how many VFs a PF has: all of them, or none.
        most_services: how many services a PF can offer at a time; 0 = there is nothing to choose.
        decompression: whether it has the service ``decomp``.
        services_since: first kernel that lets one choose services; empty where there is nothing to choose.
    """

    family: str
    generation: int
    pf_id: str
    vf_id: str
    pf_driver: str
    vf_driver: str = ""
    vfs: int = 16
    most_services: int = 0
    decompression: bool = False
    services_since: tuple[int, int] | None = None

    @property
    def configurable(self) -> bool:
        """Whether services can be chosen."""
        return self.most_services > 0


def _fourth(family: str, pf_id: str, vf_id: str) -> Product:
    return Product(family, 4, pf_id, vf_id, "4xxx", "4xxxvf", most_services=2, services_since=(6, 0))


PRODUCTS = (
    Product("dh89xxcc", 1, "", "0x0442", "dh89xxcc", "dh895xccvf", vfs=16),
    Product("dh895xcc", 2, "0x0435", "0x0443", "dh895xcc", "dh895xccvf", vfs=32),
    Product("c62x", 2, "0x37c8", "0x37c9", "c6xx", "c6xxvf"),
    Product("c3xxx", 2, "0x19e2", "0x19e3", "c3xxx", "c3xxxvf"),
    Product("d15xx", 2, "0x6f54", "0x6f55", "d15xx", "d15xxvf"),
    Product("200xx", 2, "0x18ee", "0x18ef", "200xx", "200xxvf"),
    Product("c4xxx", 3, "0x18a0", "0x18a1", "c4xxx", "c4xxxvf", vfs=128),
    _fourth("4xxx", "0x4940", "0x4941"),
    _fourth("401xx", "0x4942", "0x4943"),
    _fourth("402xx", "0x4944", "0x4945"),
    Product("420xx", 4, "0x4946", "0x4947", "420xx", "420xxvf", most_services=2, services_since=(6, 8)),
    Product(
        "6xxx",
        6,
        "0x4948",
        "0x4949",
        "6xxx",
        "6xxxvf",
        most_services=3,
        decompression=True,
        services_since=(6, 16),
    ),
)
"""All of them, oldest first."""

PFS: Mapping[str, Product] = {product.pf_id: product for product in PRODUCTS if product.pf_id}
"""Device id of a PF -> product."""

VFS: Mapping[str, Product] = {product.vf_id: product for product in PRODUCTS}
"""Device id of a VF -> product."""
