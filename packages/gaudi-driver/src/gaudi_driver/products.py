"""Which Gaudi has which PCI device id.

Sources: the ids that DeviceClass selectors of existing manifests were written against (ten of them), and the tables of
the kernel driver habanalabs (``drivers/accel/habanalabs/common/habanalabs_drv.c``, and those of the module that is
built beside the kernel). To add a product, add a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN = "Unknown"

MODELS = frozenset({"Gaudi", "Gaudi2", "Gaudi3", UNKNOWN})
"""Every value that the attribute ``model`` may have."""


@dataclass(frozen=True, slots=True)
class Product:
    """What a PCI device id stands for.

    Args:
        model: value of the attribute ``model``.
        memory_mib: high bandwidth memory in MiB; None = not known.
        internal_ports: network ports by which a module of a server board is connected to the seven others; 0 = a PCIe
            card, which no board connects, or not known.
    """

    model: str = UNKNOWN
    memory_mib: int | None = None
    internal_ports: int = 0


UNKNOWN_PRODUCT = Product()

_GAUDI = Product("Gaudi", 32 << 10, 7)
_GAUDI2, _GAUDI2_CARD = Product("Gaudi2", 96 << 10, 21), Product("Gaudi2", 96 << 10)
_GAUDI3, _GAUDI3_CARD = Product("Gaudi3", 128 << 10, 21), Product("Gaudi3", 128 << 10)

PRODUCTS: Mapping[str, Product] = {
    "0x1000": _GAUDI,
    "0x1001": _GAUDI,
    "0x1010": _GAUDI,
    "0x1011": _GAUDI,
    "0x1020": _GAUDI2,
    "0x1021": _GAUDI2_CARD,
    # Some ids of Gaudi3 are known by their model only.
    "0x1030": Product("Gaudi3"),
    "0x1060": _GAUDI3,
    "0x1061": Product("Gaudi3"),
    "0x1062": Product("Gaudi3"),
    "0x1063": _GAUDI3_CARD,
}
"""Device id as sysfs prints it -> product."""


def product(device_id: str) -> Product:
    """Return what a device id stands for; an unknown one is a Gaudi all the same."""
    return PRODUCTS.get(device_id, UNKNOWN_PRODUCT)
