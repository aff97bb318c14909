"""A driver's process for the tests: takes the parent's lock, changes one function, and is killed while it waits.

.. code-block:: text

    python driver_process.py ROOT MACHINE ADDRESS
"""

from __future__ import annotations

import sys
from pathlib import Path

from dra_common.deadline import Deadline
from dra_common.host import RealHost, Roots
from dra_common.locks import FileLocks
from dra_common.pci import Binding, Bus
from dra_common.ports import Host


def host(machine: str) -> Host:
    """The simulated machine in that folder; / is the real one."""
    if machine == "/":
        return RealHost(Roots())
    from dra_common.simulate import SimulatedHost  # noqa: PLC0415 - takes seconds where Python is slow

    return SimulatedHost(Path(machine))


if __name__ == "__main__":
    root = Path(sys.argv[1])
    locks = FileLocks(root / "claims", root / "hardware")
    with locks.parents(["nic"], Deadline.after(60)), Bus(host(sys.argv[2])) as bus:
        bus.rebind(sys.argv[3], Binding("igb"))
