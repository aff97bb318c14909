"""A claim record with something in every field."""

from __future__ import annotations

from dra_common.model import Allocated, ClaimRecord, ClaimRef, Phase, Plan, PlannedDevice, PreparedDevice

REF = ClaimRef("ns", "claim", "uid-1")
PLANNED = PlannedDevice(
    Allocated("r/s", "node", "dev", "share", admin_access=True, consumed_capacity={"memory": "1Gi"}),
    ("parent",),
    {"before": [1, {"x": None}], "name": "ü"},
)
RECORD = ClaimRecord(
    REF,
    Phase.PREPARED,
    "boot",
    Plan((PLANNED,)),
    (PreparedDevice(("r",), "node", "dev", ("v/c=uid-1-dev",), "share"),),
    "why",
)
