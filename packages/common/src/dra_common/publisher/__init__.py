"""Keeps this node's ResourceSlices on the API server as they should be.

.. code-block:: text

    publish(contents) --+                                       +-> delete, update, create
                        +-> Publisher: LIST -> plan_sync (pure) +
    Watcher: events ----+                                       +-> nothing, when nothing differs

The watch is a doorbell only: what to do is always decided from a fresh LIST. So there is no cache of our own writes
that could hide that somebody deleted a slice right after we wrote it.
"""

from __future__ import annotations

from dra_common.publisher.drops import Dropped, Drops
from dra_common.publisher.loop import Publisher
from dra_common.publisher.probe import Probe
from dra_common.publisher.session import selector_of
from dra_common.publisher.status import PublisherStatus
from dra_common.publisher.sync import SLICES, Owner, SyncPlan, plan_sync
from dra_common.publisher.timing import Timing
from dra_common.publisher.turns import PublisherInTurn

__all__ = [
    "SLICES",
    "Dropped",
    "Drops",
    "Owner",
    "Probe",
    "Publisher",
    "PublisherInTurn",
    "PublisherStatus",
    "SyncPlan",
    "Timing",
    "plan_sync",
    "selector_of",
]
