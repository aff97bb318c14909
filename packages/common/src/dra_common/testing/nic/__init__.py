"""A network card with SR-IOV: the only hardware whose PF and VFs every machine can have, simulated or in QEMU (igb).

``driver`` is a driver for it, ``simulation`` the simulated machine, ``node`` a simulated node. This module imports none
of them: QEMU's guest is slow.
"""

PF = "0000:01:00.0"
"""A card behind an IOMMU, in both."""

SPARE = "0000:02:00.0"
"""The first port of a card whose second, which has no VFs, is in the same IOMMU group: they are not isolated."""
