"""A simulated node whose devices are two network cards with SR-IOV: the whole driver process, and its hardware.

.. code-block:: python

    with NicNode(root) as node:
        node.start_driver()
        ref = node.nic_claim("one", PF, vfs=2, binding="vfio")
        node.prepare(ref)
        assert len(node.setting(PF).vfs) == 2
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef
from dra_common.pci import Bus, Setting
from dra_common.simulate import SimulatedHost
from dra_common.testing.forks import Forker
from dra_common.testing.nic.driver import DRIVER, device_name, opaque
from dra_common.testing.node import SimulatedNode


class NicNode(SimulatedNode):
    """A :class:`SimulatedNode` with the machine ``nic``.

    Args:
        root: an empty folder with a short path.
        forker: what the driver's processes come out of; None: each is started from nothing, which takes longer.
    """

    def __init__(self, root: Path, forker: Forker | None = None) -> None:
        module = "dra_common.testing.nic.program"
        super().__init__(root, module=module, driver=DRIVER, profile="nic", forker=forker)

    @property
    def host(self) -> SimulatedHost:
        """The machine, past the driver."""
        return SimulatedHost(self.machine)

    def setting(self, bdf: str) -> Setting:
        """Return how a PF and its VFs are set now."""
        with Bus(self.host) as bus:
            return bus.setting(bdf)

    def nic_claim(self, name: str, bdf: str, **config: object) -> ClaimRef:
        """Create a claim that has this PF, allocated past the scheduler; ``config`` is a ``NicConfig``."""
        request = {"name": "r", "exactly": {"deviceClassName": DRIVER}}
        ref = self.create_claim(name, {"devices": {"requests": [request]}})
        result = {"request": "r", "driver": DRIVER, "pool": self.name, "device": device_name(bdf)}
        stored: dict[str, Any] = {**(self.api.get("ResourceClaim", name, ref.namespace) or {})}
        allocated = {"devices": {"results": [result], "config": [opaque(**config)]}}
        self.api.put("ResourceClaim", {**stored, "status": {"allocation": allocated}})
        return ref
