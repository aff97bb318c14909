"""From what this node has to what goes into ResourceSlices: pure, and every limit of the API kept before it is asked.

.. code-block:: text

    Snapshot -> rules (refuse, naming the device) -> degrade (what this server cannot express) -> encode -> pack

Source: resource.k8s.io/v1 types and validation, KEP-4381, KEP-4815 (counters), KEP-5055 (taints), KEP-5075 (sharing).
"""

from __future__ import annotations

from dra_common.model import Snapshot
from dra_common.slices.content import SliceContent, Slices, Withdrawn
from dra_common.slices.degrade import degrade
from dra_common.slices.features import COSTS, GATES, FeatureName, ServerFeatures, parse_features
from dra_common.slices.pack import pack
from dra_common.slices.rules import check

__all__ = [
    "COSTS",
    "GATES",
    "FeatureName",
    "ServerFeatures",
    "SliceContent",
    "Slices",
    "Withdrawn",
    "parse_features",
    "to_slices",
]


def to_slices(snapshot: Snapshot, *, driver: str, features: ServerFeatures) -> Slices:
    """Return the contents of the pool's slices, in index order, and what had to be withdrawn.

    Equal devices, counter sets, holds and features give equal slices. There is always at least one slice: an empty
    pool says that the driver is alive. Raises SliceError for the first rule that a device or counter set breaks;
    whether something is refused never depends on what this server can express, except the number of taints.
    """
    check(snapshot, driver=driver, features=features)
    devices, counter_sets, withdrawn = degrade(snapshot, features)
    return Slices(pack(devices, counter_sets, features), withdrawn)
