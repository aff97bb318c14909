"""PCI hardware: finding functions and reading their facts, and changing how they are bound and divided.

.. code-block:: python

    with Bus(host) as bus:              # inside the parents' locks, as in Driver.apply
        before = bus.setting(pf)        # goes into the claim's record
        bus.bring(pf, Setting(Binding("xe"), autoprobe=True, vfs=(Binding("vfio-pci", "vfio-pci"),) * 2))
        bus.bring(pf, before)           # and back, from wherever a crash has left it
"""

from dra_common.pci.bus import Bus
from dra_common.pci.facts import DRIVERS, PCI_DEVICES, Facts, first, number, numbered
from dra_common.pci.function import Function, group_members, group_node, look
from dra_common.pci.names import address, dashed, device_name, is_bdf, split_name, undashed
from dra_common.pci.scan import Scan
from dra_common.pci.setting import Binding, Setting

__all__ = [
    "DRIVERS",
    "PCI_DEVICES",
    "Binding",
    "Bus",
    "Facts",
    "Function",
    "Scan",
    "Setting",
    "address",
    "dashed",
    "device_name",
    "first",
    "group_members",
    "group_node",
    "is_bdf",
    "look",
    "number",
    "numbered",
    "split_name",
    "undashed",
]
