"""Changes of PCI hardware: drivers bound and unbound, virtual functions made and removed, functions reset.

.. code-block:: python

    with Bus(host) as bus:              # inside the parents' locks, as in Driver.apply
        before = bus.setting(pf)        # goes into the claim's record
        bus.bring(pf, Setting(Binding("xe"), autoprobe=True, vfs=(Binding("vfio-pci", "vfio-pci"),) * 2))
        bus.bring(pf, before)           # and back, from wherever a crash has left it
"""

from dra_common.pci.bus import Bus
from dra_common.pci.function import Function, group_members, group_node, look
from dra_common.pci.setting import Binding, Setting

__all__ = ["Binding", "Bus", "Function", "Setting", "group_members", "group_node", "look"]
