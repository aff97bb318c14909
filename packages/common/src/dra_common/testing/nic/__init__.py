"""A network card with SR-IOV: the only hardware whose PF and VFs every machine can have, simulated or in QEMU (igb)."""

from dra_common.testing.nic.simulation import PF, SIMULATION, SPARE

__all__ = ["PF", "SIMULATION", "SPARE"]
