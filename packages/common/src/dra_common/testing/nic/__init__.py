"""A network card with SR-IOV: the only hardware whose PF and VFs every machine can have, simulated or in QEMU (igb)."""

from dra_common.testing.nic.driver import DRIVER, NicDriver
from dra_common.testing.nic.node import NicNode
from dra_common.testing.nic.simulation import PF, SIMULATION, SPARE

__all__ = ["DRIVER", "PF", "SIMULATION", "SPARE", "NicDriver", "NicNode"]
