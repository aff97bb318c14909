"""Device health: who says it, what becomes of it, and who is told.

.. code-block:: text

    sources (xpumd, sysfs, file) -> findings -> verdict of each device -> ResourceSlice: taint, attribute `health`
                                                                       -> kubelet: health stream, so pod status
                                                                       -> log, Event, metrics on change
"""

from dra_common.health.board import Board
from dra_common.health.file import FileSource
from dra_common.health.kernel import KernelSource
from dra_common.health.monitor import HealthMonitor
from dra_common.health.verdicts import Policy, verdict

__all__ = ["Board", "FileSource", "HealthMonitor", "KernelSource", "Policy", "verdict"]
