"""A driver's process for the tests: takes the parent's lock, changes one function, and is killed while it waits.

.. code-block:: text

    python driver_process.py ROOT ADDRESS
"""

from __future__ import annotations

import sys
from pathlib import Path

from dra_common.deadline import Deadline
from dra_common.locks import FileLocks
from dra_common.pci import Binding, Bus
from dra_common.simulate import SimulatedHost

if __name__ == "__main__":
    root = Path(sys.argv[1])
    locks = FileLocks(root / "claims", root / "hardware")
    with locks.parents(["nic"], Deadline.after(60)), Bus(SimulatedHost(root / "m")) as bus:
        bus.rebind(sys.argv[2], Binding("igb"))
